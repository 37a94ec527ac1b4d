"""Which images a rare-class run streams, and which it is asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.rare_classes import records
from nmn_jax.data import mnist
from nmn_jax.tasks.streams import Pools

DATA: dict[str, Callable[[], mnist.Digits]] = {
    "mnist": mnist.load,
    "digits": mnist.digits,
}
KINDS = ("rare", "frequent")


class Asked(NamedTuple):
    """Images `[N, H, W]` (ink 255) and labels `[N]` that no training step sees."""

    images: np.ndarray
    labels: np.ndarray


class Sources(NamedTuple):
    """What to train on, and unseen images of each kind."""

    pools: Pools
    rare: Asked
    frequent: Asked


def load(data: records.Data, part: str) -> Sources:
    """Training pools, and the images of `part` (`test` or `validation`).

    Validation images are the last `held_out` training images, in no pool.

    Raises:
      ValueError: if no image is left to train on, or a kind has no image.
      FileNotFoundError: if MNIST is not at hand; says what to do.
    """
    digits = DATA[data.source]()
    images = len(digits.train_labels)
    if data.held_out >= images:
        raise ValueError(
            f"data.held_out={data.held_out}: must leave some of the {images} images of "
            f"{data.source} to train on"
        )
    cut = images - data.held_out
    parts = {
        "test": Asked(digits.test_images, digits.test_labels),
        "validation": Asked(digits.train_images[cut:], digits.train_labels[cut:]),
    }
    asked, labels = parts[part], digits.train_labels[:cut]
    often = np.isin(labels, data.frequent)
    places = [np.flatnonzero(chosen) for chosen in (often, ~often)]
    seen = np.isin(asked.labels, data.frequent)
    kinds = [Asked(*(each[chosen] for each in asked)) for chosen in (~seen, seen)]
    if not all(map(len, places)) or not all(len(kind.labels) for kind in kinds):
        raise ValueError(
            f"data.frequent={data.frequent}, data.held_out={data.held_out}: {part} and "
            f"training images of {data.source} need some of both kinds; hold out more, "
            "or less"
        )
    pools = Pools(*map(jnp.asarray, (digits.train_images[:cut], labels, *places)))
    return Sources(pools, *kinds)


def some(asked: Asked, count: int) -> Asked:
    """`count` images in an order fixed for all runs."""
    order = np.random.default_rng(0).permutation(len(asked.labels))[:count]
    return Asked(asked.images[order], asked.labels[order])
