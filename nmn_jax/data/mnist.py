"""MNIST (LeCun, Cortes, Burges) from its four idx files, and a small embedded stand-in.

The files are checked by their unpacked content, so a file gzipped anew is accepted.
"""

import gzip
import hashlib
import math
import os
import pathlib
import zlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from nmn_jax.data import files


class Digits(NamedTuple):
    """Handwritten digits with labels 0 to 9; ink is 255."""

    train_images: UInt8[np.ndarray, "train 28 28"]
    train_labels: Int[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test 28 28"]
    test_labels: Int[np.ndarray, " test"]


class IdxFile(NamedTuple):
    """What one official file must contain once unpacked."""

    shape: tuple[int, ...]
    md5: str


FILES = {
    "train-images-idx3-ubyte.gz": IdxFile(
        (60_000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"
    ),
    "train-labels-idx1-ubyte.gz": IdxFile(
        (60_000,), "a25bea736e30d166cdddb491f175f624"
    ),
    "t10k-images-idx3-ubyte.gz": IdxFile(
        (10_000, 28, 28), "2646ac647ad5339dbf082846283269ea"
    ),
    "t10k-labels-idx1-ubyte.gz": IdxFile((10_000,), "27ae3e4e09519cfbb04c329615203637"),
}


def load(directory: str | os.PathLike | None = None) -> Digits:
    """Read MNIST.

    Args:
        directory: folder of the four files; by default ``NMN_DATA_DIR/mnist``.

    Raises:
        FileNotFoundError: a file is missing; the message says how to get it.
        ValueError: a file is damaged or has other content than the official one.
    """
    paths = files.require(
        "mnist", FILES, directory=directory, offline="nmn_jax.data.mnist.digits()"
    )
    train_images, train_labels, test_images, test_labels = map(
        read_idx, paths, FILES.values()
    )
    return Digits(
        train_images,
        train_labels.astype(np.int32),
        test_images,
        test_labels.astype(np.int32),
    )


def read_idx(path: pathlib.Path, expected: IdxFile) -> UInt8[np.ndarray, "..."]:
    """One official file, after checks of header, size and content.

    Raises:
        ValueError: the file is damaged or has other content than the official one.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise files.damaged(path, f"not a readable gzip file ({error})") from error
    magic = 0x800 + len(expected.shape)  # unsigned bytes, and the number of axes
    header = np.array([magic, *expected.shape], ">i4").tobytes()
    if not content.startswith(header):
        found = content[: len(header)].hex()
        raise files.damaged(path, f"idx header {found} where {header.hex()} belongs")
    values = np.frombuffer(content, np.uint8, offset=len(header))
    size = math.prod(expected.shape)
    if values.size != size:
        raise files.damaged(path, f"{values.size} values where {size} belong")
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != expected.md5:
        raise files.damaged(path, "its content differs from the official one")
    return values.reshape(expected.shape)


def digits() -> Digits:
    """The 1,797 digits that come with scikit-learn, for use without any files.

    Enlarged from 8 x 8 to 20 x 20 and framed to 28 x 28, as in MNIST. The last 360 in
    the set's own order are the test: neighbours share a writer, so a shuffled test
    would be too easy.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "the embedded digits come with scikit-learn, which is not installed: "
            "`pip install scikit-learn`, or use MNIST itself"
        ) from error
    bundled = datasets.load_digits()
    images = np.stack([_enlarge(image) for image in bundled.images])
    labels = bundled.target.astype(np.int32)
    return Digits(images[:-360], labels[:-360], images[-360:], labels[-360:])


def _enlarge(image: np.ndarray) -> np.ndarray:
    """Values 0 to 16 on ``[8, 8]`` to uint8 ``[28, 28]``."""
    pixels = Image.fromarray(np.minimum(image * 16, 255).astype(np.uint8))
    large = pixels.resize((20, 20), Image.Resampling.BICUBIC)
    return np.pad(np.asarray(large), 4)
