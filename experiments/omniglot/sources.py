"""Which images a few-shot run is made from, and whether they suffice for it."""

from __future__ import annotations

from typing import Any, cast

import jax
import numpy as np

from experiments.omniglot import records
from nmn_jax.data import glyphs, omniglot, splits
from nmn_jax.data.types import Partition


def load(data: records.Data) -> Partition:
    """Images of the three parts, training rotated.

    Raises:
      FileNotFoundError: if Omniglot is not at hand; says what to do.
    """
    if data.source == "glyphs":
        characters = glyphs.make()
        split = glyphs.split(characters)
    else:
        characters = omniglot.load()
        name = cast(splits.Name, records.split_name(data))
        split = splits.load(name, characters.characters)
    return splits.partition(characters.images, split, rotate="train")


def expected(data: records.Data) -> jax.ShapeDtypeStruct | None:
    """What training images of these data look like, known before they are read.

    None for glyphs, which are drawn first.

    Raises:
      FileNotFoundError: as `load`.
    """
    if data.source == "glyphs":
        return None
    omniglot.paths()
    name = cast(splits.Name, records.split_name(data))
    classes = splits.ROTATIONS * len(splits.read(name)["train"])
    return jax.ShapeDtypeStruct((classes, omniglot.DRAWERS, 28, 28), np.dtype(np.uint8))


def check(run: records.Run, partition: Partition) -> None:
    """Raises ValueError unless every part has the classes and drawings asked of it.

    Names the fields, what they need, and what the data have.
    """
    source = run.data.source
    for kind in records.practised(run):
        asked = ("train.queries", run.train.queries)
        _check_kind((source, "training"), partition.train, kind, asked)
    for kind in records.kinds(run):
        for field, part, whose, images in (
            ("validate", run.validate, "validation", partition.validation),
            ("eval", run.eval, "test", partition.test),
        ):
            asked = (f"{field}.queries", records.queries_asked(part, kind[0]))
            _check_kind((source, whose), images, kind, asked)


def _check_kind(
    told: tuple[str, str], images: Any, kind: tuple[int, int], asked: tuple[str, int]
) -> None:
    (source, part), (ways, shots), (field, queries) = told, kind, asked
    classes, drawers = images.shape[:2]
    if ways > classes:
        raise ValueError(
            f"ways={ways}: there are {classes} {part} characters in {source}, so at "
            f"most {classes} ways"
        )
    if shots + queries > drawers:
        raise ValueError(
            f"shots={shots} and {field}={queries} need {shots + queries} drawings of a "
            f"{part} character, but {source} has {drawers}; "
            f"lower shots, or give {field} of at most {drawers - shots}"
            if shots < drawers
            else f"shots={shots}: {source} has {drawers} drawings of a character, so "
            f"at most {drawers - 1} shots"
        )
