"""Which images a few-shot run is made from."""

from __future__ import annotations

from typing import cast

from experiments import settings as settings_lib
from nmn_jax.data import glyphs, omniglot, splits
from nmn_jax.data.types import Partition


def load(data: settings_lib.Data) -> tuple[Partition, str]:
    """Images of the three parts, training rotated, and the split's name.

    Raises:
      ValueError: for an unknown source.
      FileNotFoundError: if Omniglot is not at hand; says what to do.
    """
    if data.source == "omniglot":
        characters = omniglot.load()
        named = cast(splits.Name, data.split)  # checked there
        split, name = splits.load(named, characters.characters), data.split
    elif data.source == "glyphs":
        characters = glyphs.make()
        split, name = glyphs.split(characters), "glyphs"
    else:
        raise ValueError(
            f"data.source={data.source!r}; choose one of 'omniglot', 'glyphs'"
        )
    return splits.partition(characters.images, split, rotate="train"), name
