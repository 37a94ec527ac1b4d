"""Omniglot (Lake, Salakhutdinov, Tenenbaum, Science 350, 2015) from its official zips.

1,623 characters of 50 alphabets, each drawn once by 20 people, as uint8 28 x 28 images
with ink 255. Class ``i`` is the character with running number ``i + 1``, so classes 0
to 963 are the background set and 964 to 1622 the evaluation set.
"""

import hashlib
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np

from nmn_jax.data import files, types

DRAWERS = 20
_RECIPE = "omniglot-28-lanczos-2"
_MEMBER = re.compile(r"(\w+)/([^/]+)/(character\d\d)/(\d{4})_(\d\d)\.png")


class Archive(NamedTuple):
    """What one official zip must contain."""

    first: int  # class number of its first character
    characters: int
    alphabets: int
    md5: str  # of the authors' own zip
    blobs: str  # files.blob_digest of its PNGs, for zips packed anew


ARCHIVES = {
    "images_background": Archive(
        first=0,
        characters=964,
        alphabets=30,
        md5="68d2efa1b9178cc56df9314c21c6e718",
        blobs="686c9ef948aafc6b6e446691303697a1961ea4d2786b5ea329a2abb6e73c175a",
    ),
    "images_evaluation": Archive(
        first=964,
        characters=659,
        alphabets=20,
        md5="6b91aef0f799c5bb55b94e3f2daec811",
        blobs="fb139d8cb538a59ec46f91e4a666c4fbd63a5118984adc6eb04a204554c2ca68",
    ),
}


def load(directory: str | os.PathLike | None = None) -> types.Characters:
    """Read Omniglot, from the cache if these very files were read before.

    Args:
        directory: folder of the two zips; by default ``NMN_DATA_DIR/omniglot``.

    Returns:
        ``Characters`` with images ``[1623, 20, 28, 28]``.

    Raises:
        FileNotFoundError: a zip is missing; the message says how to get it.
        ValueError: a zip is damaged or has other content than the official one.
    """
    zips = paths(directory)
    key = files.content_key(zips, _RECIPE)
    stored = files.read_cache(key, _forms())
    if stored is None:
        stored = _read(zips)
        files.write_cache(key, stored)
    images = stored["images"]
    images.flags.writeable = False
    characters = tuple(str(name) for name in stored["characters"])
    alphabets = tuple(name.split("/")[0] for name in characters)
    return types.Characters(images, alphabets, characters, np.arange(1, DRAWERS + 1))


def cache_path(directory: str | os.PathLike | None = None) -> pathlib.Path:
    """File in which ``load`` keeps its arrays for these zips."""
    return files.cache_path(files.content_key(paths(directory), _RECIPE))


def read_archive(path: pathlib.Path, expected: Archive) -> dict[str, bytes]:
    """PNGs of one zip by name, after the content checks.

    Raises:
        ValueError: the counts or the content differ from the official ones.
    """
    members = files.read_zip(path, ".png")
    _check_counts(path, members, expected)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if md5 != expected.md5 and files.blob_digest(members) != expected.blobs:
        raise files.damaged(path, "its images differ from the official ones")
    return members


def parse_member(name: str) -> tuple[str, str, int, int]:
    """Archive, ``Alphabet/characterNN``, class number and column of one PNG.

    Raises:
        ValueError: the name is not of the official form.
    """
    match = _MEMBER.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{name}: not of the form <archive>/<alphabet>/characterNN/NNNN_MM.png"
        )
    archive, alphabet, character, number, drawer = match.groups()
    return archive, f"{alphabet}/{character}", int(number) - 1, int(drawer) - 1


def paths(directory: str | os.PathLike | None = None) -> list[pathlib.Path]:
    """The two zips, without reading them.

    Raises:
        FileNotFoundError: a zip is missing; the message says how to get it.
    """
    return files.require(
        "omniglot",
        [f"{name}.zip" for name in ARCHIVES],
        directory=directory,
        offline="--config.data.source=glyphs (characters made in code)",
    )


def _check_counts(path: pathlib.Path, members, expected: Archive) -> None:
    try:
        parsed = [parse_member(name) for name in members]
    except ValueError as error:
        raise files.damaged(path, str(error)) from error
    places = {(number, drawer) for _, _, number, drawer in parsed}
    alphabets = {character.split("/")[0] for _, character, _, _ in parsed}
    last = expected.first + expected.characters
    wanted = {(n, d) for n in range(expected.first, last) for d in range(DRAWERS)}
    if len(parsed) != len(wanted) or places != wanted:
        raise files.damaged(
            path,
            f"{len(parsed)} images where {len(wanted)} belong, {DRAWERS} a character",
        )
    if len(alphabets) != expected.alphabets:
        raise files.damaged(
            path, f"{len(alphabets)} alphabets where {expected.alphabets} belong"
        )


def _forms() -> dict[str, files.Form]:
    classes = sum(archive.characters for archive in ARCHIVES.values())
    images = ((classes, DRAWERS, 28, 28), "u1")
    return {"images": images, "characters": ((classes,), "U")}


def _read(paths: list[pathlib.Path]) -> dict[str, np.ndarray]:
    images = np.zeros(_forms()["images"][0], np.uint8)
    characters = [""] * len(images)
    for path, expected in zip(paths, ARCHIVES.values(), strict=True):
        for name, png in read_archive(path, expected).items():
            _, character, number, drawer = parse_member(name)
            characters[number] = character
            images[number, drawer] = files.decode_ink(png)
    return {"images": images, "characters": np.array(characters)}
