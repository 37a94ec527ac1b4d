"""The official one-shot benchmark of Omniglot (Lake et al., Science 350, 2015).

Twenty runs; in each, 20 characters of one alphabet drawn once by one person are to be
found again among the drawings of another. Ten alphabets of the evaluation set occur,
so it tests models trained on the background alphabets only (split ``official``).
"""

import hashlib
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from nmn_jax.data import files

RUNS = 20
ITEMS = 20
FILE = "all_runs.zip"
SHA256 = "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325"
# files.blob_digest of its images and labels, for zips packed anew
BLOBS = "73ce88f9574854d2ee0a80c8f1494d7012f2b6c613385ff7e514e13d19105e05"
_LINE = re.compile(r"run\d\d/test/item(\d\d)\.png run\d\d/training/class(\d\d)\.png")


class Runs(NamedTuple):
    """The 20 runs; ink is 255."""

    training: UInt8[np.ndarray, "runs classes 28 28"]
    test: UInt8[np.ndarray, "runs items 28 28"]
    answers: Int[np.ndarray, "runs items"]  # the training image of the same character


def load(directory: str | os.PathLike | None = None) -> Runs:
    """Read the benchmark.

    Args:
        directory: folder of ``all_runs.zip``; by default ``NMN_DATA_DIR/omniglot``.

    Raises:
        FileNotFoundError: the zip is missing; the message says how to get it.
        ValueError: the zip is damaged or has other content than the official one.
    """
    (path,) = files.require(
        "omniglot",
        [FILE],
        directory=directory,
        offline="another evaluation than lake",
    )
    members = read_archive(path)
    runs = [f"run{number:02d}" for number in range(1, RUNS + 1)]
    return Runs(
        training=np.stack([_images(members, f"{run}/training/class") for run in runs]),
        test=np.stack([_images(members, f"{run}/test/item") for run in runs]),
        answers=np.stack([_answers(members, run) for run in runs]),
    )


def read_archive(path: pathlib.Path) -> dict[str, bytes]:
    """Images and labels by name, after the content check.

    Raises:
        ValueError: the content differs from the official one.
    """
    members = files.read_zip(path, (".png", ".txt"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != SHA256 and files.blob_digest(members) != BLOBS:
        raise files.damaged(path, "its runs differ from the official ones")
    return members


def _images(members: dict[str, bytes], prefix: str) -> np.ndarray:
    numbers = range(1, ITEMS + 1)
    return np.stack(
        [files.decode_ink(members[f"{prefix}{n:02d}.png"]) for n in numbers]
    )


def _answers(members: dict[str, bytes], run: str) -> np.ndarray:
    pairs = _LINE.findall(members[f"{run}/class_labels.txt"].decode())
    answers = np.full(ITEMS, -1, np.int32)
    for item, training in pairs:
        answers[int(item) - 1] = int(training) - 1
    return answers
