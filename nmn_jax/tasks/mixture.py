"""One network for several numbers of ways and shots.

Labels of every episode are drawn from one fixed set of names, and names that no class
of the episode has are out of the question: in `answers` they are -1 where a name that
is wrong is 0, so that loss and score leave them out. A context has zeros for both.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import losses
from nmn_jax.data import episodes as episodes_lib
from nmn_jax.tasks.base import Batch, Context, Spec, Task

# Folded into an episode's key, so that names are drawn apart from its images.
NAMES = 1


class Kind(NamedTuple):
    """N ways and S shots."""

    ways: int
    shots: int


def classification(
    kinds: Sequence[Kind],
    *,
    names: int,
    queries: int,
    episodes: int,
    image_shape: tuple[int, int] = (28, 28),
) -> Task:
    """Episodes of several kinds, one kind a batch; its source as `tasks.episodes`.

    Args:
      kinds: from which every step draws one, all alike.
      names: C, from which every episode draws its labels.
      queries: of a class.
      episodes: of a batch.

    Raises:
      ValueError: without a kind, or if one has more ways than there are names.
    """
    if not kinds or max(kind.ways for kind in kinds) > names:
        raise ValueError(
            f"kinds={[tuple(kind) for kind in kinds]} with names={names}: there must "
            "be a kind, and none may have more ways than there are names"
        )

    def sample(kind: Kind, key: jax.Array, step: jax.Array, source: jax.Array) -> Batch:
        keys = jax.random.split(jax.random.fold_in(key, step), episodes)
        return fixed(keys, source, kind=kind, names=names, queries=queries)

    shapes = tuple(functools.partial(sample, kind) for kind in kinds)
    spec = Spec("episodes", "classification", image_shape, names)
    return Task(
        spec, shapes[0], losses.present_cross_entropy, losses.present_scores, shapes
    )


def fixed(
    keys: jax.Array, source: jax.Array, *, kind: Kind, names: int, queries: int
) -> Batch:
    """The episodes of these keys, one each."""
    drawn = episodes_lib.sample_each(
        keys, source, ways=kind.ways, shots=kind.shots, queries=queries
    )
    given = jax.vmap(
        lambda key: jax.random.permutation(jax.random.fold_in(key, NAMES), names)
    )(keys)[:, : kind.ways]
    one_hot = functools.partial(jax.nn.one_hot, num_classes=names)
    present = jnp.sum(one_hot(given), axis=1)

    def named(labels: jax.Array) -> jax.Array:
        return one_hot(jnp.take_along_axis(given, labels, axis=1))

    context = Context(drawn.support_images, named(drawn.support_labels))
    answers = named(drawn.query_labels) - (1 - present[:, None])
    return Batch(context, drawn.query_images, answers)
