"""The controls that decide whether an effect of synthetic gradients is real (A13).

A control has to be able to contradict: `zeroed` says nothing, `shuffled` says what
belongs to something else, and two oracles speak the truth in the predictors' own units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmn_jax.feedback import sources
from nmn_jax.feedback.sources import CotangentSource

Thunk = Callable[[], Any]


class Control(NamedTuple):
    """What is done to synthetic gradients on their way; see `CONTROLS`.

    source: `(predicted source, () -> step oracle) -> CotangentSource` of the fast path
    targets: support targets `[B, S, C]` as synthetic gradients see them
    cotangents: `(predicted, true, targets [B, T, C]) -> injected`, trees of `[B, T, K]`
      (the write controller's may have fewer steps)
    look: `(find) -> truth`, whether the true cotangents are looked up before the fast
      path runs: `find()` costs a forward and a backward pass
    """

    source: Callable[[CotangentSource, Thunk], CotangentSource]
    targets: Callable[[jax.Array], jax.Array]
    cotangents: Callable[[Any, Any, jax.Array], Any]
    look: Callable[[Thunk], Any] = lambda find: None


def other_examples(
    targets: Float[Array, "steps targets"],
) -> tuple[Int[Array, " steps"], Int[Array, ""]]:
    """For every example the next one (in a circle) with another target.

    Returns their places, and how many examples have such another.
    """
    steps = len(targets)
    differs = jnp.any(targets[:, None] != targets[None], axis=-1)
    ahead = (jnp.arange(steps)[None] - jnp.arange(steps)[:, None]) % steps
    nearest = jnp.argmin(jnp.where(differs, ahead, steps), axis=1)
    return nearest, jnp.sum(jnp.any(differs, axis=1))


def exchanged_targets(
    targets: Float[Array, "episodes steps targets"],
) -> Float[Array, "episodes steps targets"]:
    """Targets of something else: of another episode, or, where there is only one, of
    examples with another target.

    Another episode's carry no information, since its order and its labels were drawn
    anew. Within one episode a target that is never the right one still excludes itself
    (1 of N classes). Where all targets are equal, each becomes the next class.
    """
    if len(targets) > 1:
        return jnp.roll(targets, 1, axis=0)
    places, exchangeable = other_examples(targets[0])
    apart = jnp.where(exchangeable > 0, targets[0][places], jnp.roll(targets[0], 1, 1))
    return apart[None]


def exchanged_cotangents(cotangents: Any, targets: jax.Array) -> Any:
    """Cotangents of another episode or of examples with another target, as
    `exchanged_targets`; zero where all targets are equal.

    Args:
      cotangents: tree of `[B, T, K]`.
      targets: `[B, T, C]` of the same steps; a shorter leaf has the first of them.
    """
    if len(targets) > 1:
        return jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), cotangents)

    def one(leaf: jax.Array) -> jax.Array:
        places, exchangeable = other_examples(targets[0, : leaf.shape[1]])
        return jnp.where(exchangeable > 0, leaf[:, places], 0.0)

    return jax.tree.map(one, cotangents)


def _same(targets: jax.Array) -> jax.Array:
    return targets


CONTROLS: dict[str, Control] = {
    "none": Control(
        lambda predicted, oracle: predicted, _same, lambda sg, true, targets: sg
    ),
    "zeroed": Control(
        lambda predicted, oracle: sources.zero_source(),
        _same,
        lambda sg, true, targets: jax.tree.map(jnp.zeros_like, sg),
    ),
    # The gradient of the step's own loss: what can be known at once, without error.
    "oracle_step": Control(
        lambda predicted, oracle: oracle(), _same, lambda sg, true, targets: true
    ),
    # The cotangent of the query loss, which is what predictors regress on.
    "oracle_query": Control(
        lambda predicted, oracle: sources.truth_source(),
        _same,
        lambda sg, true, targets: true,
        lambda find: find(),
    ),
    "shuffled": Control(
        lambda predicted, oracle: predicted,
        exchanged_targets,
        lambda sg, true, targets: exchanged_cotangents(sg, targets),
    ),
}
