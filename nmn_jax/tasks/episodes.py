"""N ways and S shots: episodes of characters drawn on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nmn_jax import losses
from nmn_jax.data import episodes as episodes_lib
from nmn_jax.tasks.base import Batch, Context, Spec, Task


def classification(
    *,
    ways: int,
    shots: int,
    queries: int,
    episodes: int,
    image_shape: tuple[int, int] = (28, 28),
) -> Task:
    """N-way S-shot classification of images.

    Its source is one array `[classes, drawers, H, W]` of uint8, ink 255; `sample`
    raises ValueError if that has too few classes or drawers.

    Args:
      ways: classes of an episode, N.
      shots: supports of a class, S.
      queries: queries of a class.
      episodes: episodes of a batch, B.
    """

    def sample(key: jax.Array, step: jax.Array, source: jax.Array) -> Batch:
        drawn = episodes_lib.sample(
            jax.random.fold_in(key, step), source,
            episodes=episodes, ways=ways, shots=shots, queries=queries,
        )  # fmt: skip
        return to_batch(drawn, ways)

    spec = Spec("episodes", "classification", image_shape, ways)
    return Task(spec, sample, losses.cross_entropy, losses.class_scores)


def fixed(
    keys: jax.Array, source: jax.Array, *, ways: int, shots: int, queries: int
) -> Batch:
    """The episodes of these keys, one each: the same for every model that is tested."""
    drawn = episodes_lib.sample_each(
        keys, source, ways=ways, shots=shots, queries=queries
    )
    return to_batch(drawn, ways)


def to_batch(drawn: episodes_lib.Episode, ways: int) -> Batch:
    """Labels one-hot."""
    context = Context(drawn.support_images, jax.nn.one_hot(drawn.support_labels, ways))
    return Batch(context, drawn.query_images, jax.nn.one_hot(drawn.query_labels, ways))


def ask_back(context: Context) -> Batch:
    """Episodes whose queries are their own context: what can be asked at test time."""
    return Batch(context, context.inputs, jnp.asarray(context.targets))
