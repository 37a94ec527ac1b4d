"""Records that the data modules return; no logic."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8


class Characters(NamedTuple):
    """Handwritten characters, each drawn once by every drawer; ink is 255."""

    images: UInt8[np.ndarray, "classes drawers height width"]
    alphabets: tuple[str, ...]  # the alphabet of every class
    characters: tuple[str, ...]  # the name of every class, "Alphabet/characterNN"
    drawers: Int[np.ndarray, " drawers"]  # the drawer's number in every column


class Split(NamedTuple):
    """Class numbers of the three disjoint parts of a data set."""

    train: Int[np.ndarray, " train"]
    validation: Int[np.ndarray, " validation"]
    test: Int[np.ndarray, " test"]


class Partition(NamedTuple):
    """Images of the three disjoint parts of a data set."""

    train: UInt8[np.ndarray, "train drawers height width"]
    validation: UInt8[np.ndarray, "validation drawers height width"]
    test: UInt8[np.ndarray, "test drawers height width"]
