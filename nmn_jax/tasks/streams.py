"""Streams of examples, one window a step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Num

from nmn_jax import losses
from nmn_jax.tasks.base import Spec, StreamBatch, Task


class Pools(NamedTuple):
    """Training images, ink 255, their classes, and which of them are of which kind."""

    images: Num[Array, "examples height width"]
    labels: Int[Array, " examples"]
    frequent: Int[Array, " often"]
    rare: Int[Array, " seldom"]


def rare_classes(
    *,
    classes: int,
    period: int,
    batch: int,
    image_shape: tuple[int, int] = (28, 28),
) -> Task:
    """A stream where some classes come in every `period`-th window only, alone.

    Windows count from 1, so the first rare one is the `period`-th (section 5.1 of the
    paper). The source is `Pools`.

    Args:
      classes: C.
      period: windows from one rare window to the next, at least 2.
      batch: T, examples of a window.

    Raises:
      ValueError: if `period` is below 2.
    """
    if period < 2:
        raise ValueError(f"a rare window in every {period}: period must be at least 2")

    def sample(key: jax.Array, step: jax.Array, source: Pools) -> StreamBatch:
        window = step + 1
        key = jax.random.fold_in(key, window)
        often, seldom = (
            pool[jax.random.randint(key, (batch,), 0, len(pool))]
            for pool in (source.frequent, source.rare)
        )
        chosen = jnp.where(window % period == 0, seldom, often)
        labels = jax.nn.one_hot(source.labels[chosen], classes)
        return StreamBatch(source.images[chosen].astype(jnp.float32) / 255, labels)

    spec = Spec("stream", "classification", image_shape, classes, batch)
    return Task(spec, sample, losses.cross_entropy, losses.class_scores)
