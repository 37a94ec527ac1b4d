"""Which characters train, validate and test: committed class lists with hashes.

``paper``: 1,200 characters of all 50 alphabets against 423 for the test, as in the
paper; 100 of the 1,200 are kept for validation. Drawn at random once and committed.
``official``: the authors' background and evaluation sets (964 and 659 characters,
separated by alphabet); validation takes whole alphabets out of the background set.
"""

import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8

from nmn_jax.data import types

Name = Literal["paper", "official"]

# Classes made of one by turning it by right angles.
ROTATIONS = 4
# sha256 of lists/<name>.txt with "\n" line ends.
SHA256 = {
    "paper": "d3014f7d729ba31d5cfd233c770a17b984aecc99033d9b40de9452b8e41a9047",
    "official": "05f8fc738921df42e8076a0f059e223e82800b95b2241c2657876395455393c2",
}


def load(name: Name, characters: Sequence[str]) -> types.Split:
    """Class numbers of a committed split.

    Args:
        name: ``paper`` or ``official``.
        characters: the data's class names, ``Characters.characters``.

    Returns:
        ``Split`` of sorted class numbers, disjoint and together all classes.

    Raises:
        ValueError: unknown name, a list with another hash, or data whose classes are
            not the listed ones.
    """
    listed = read(name)
    numbers = {character: number for number, character in enumerate(characters)}
    if numbers.keys() != set().union(*listed.values()):
        raise ValueError(
            f"split {name!r} lists {sum(map(len, listed.values()))} Omniglot "
            f"characters, which are not the {len(numbers)} of the data given; use it "
            "with nmn_jax.data.omniglot only"
        )
    return types.Split(
        **{
            part: np.array(sorted(numbers[c] for c in chosen), np.int32)
            for part, chosen in listed.items()
        }
    )


def read(name: Name) -> dict[str, list[str]]:
    """Characters of each part as listed, after checking the list's hash.

    Raises:
        ValueError: unknown name, or the list was changed.
    """
    if name not in get_args(Name):
        raise ValueError(f"split {name!r}: choose one of {', '.join(get_args(Name))}")
    source = importlib.resources.files("nmn_jax.data") / "lists" / f"{name}.txt"
    text = source.read_text(encoding="utf-8")
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != SHA256[name]:
        raise ValueError(
            f"{source}: sha256 {found} where {SHA256[name]} belongs; the list was "
            "changed, reinstall the package or restore the file"
        )
    parts: dict[str, list[str]] = {part: [] for part in types.Split._fields}
    for line in text.splitlines():
        part, character = line.split("\t")
        parts[part].append(character)
    return parts


def partition(
    images: UInt8[np.ndarray, "classes drawers height width"],
    split: types.Split,
    *,
    rotate: Literal["train", "none"] = "none",
) -> types.Partition:
    """Images of each part; ``rotate="train"`` adds rotated classes to training only."""
    if rotate not in ("train", "none"):
        raise ValueError(f"rotate={rotate!r}: choose 'train' or 'none'")
    parts = types.Partition(*(images[numbers] for numbers in split))
    if rotate == "none":
        return parts
    return parts._replace(train=rotations(parts.train))


def rotations(
    images: UInt8[np.ndarray, "classes drawers height width"],
) -> UInt8[np.ndarray, "rotated_classes drawers height width"]:
    """Four times as many classes: all as they are, then turned by 90, 180, 270 degrees.

    For training only: in validation and test a rotated character is no new character.
    """
    return np.concatenate(
        [np.rot90(images, turns, (2, 3)) for turns in range(ROTATIONS)]
    )
