"""Far recall: what is written now is asked for many windows later, and only then.

An unbounded stream of pairs of a key and a value. A window begins with one question, a
key that was stored 1 to 20 windows before, and goes on with new pairs. So nothing that
is written in a window is asked for in it: the only teacher of whatever writes lies
beyond the cut, and back-propagation within windows gives it exactly zero.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmn_jax import losses
from nmn_jax.tasks.base import Spec, StreamBatch, Task


class FarRecall(NamedTuple):
    """What the stream is like.

    streams: B, side by side and independent of each other
    window: T, one question and T - 1 new pairs
    nearest, farthest: windows between a pair and a question about it, drawn with a
      probability that falls as 1/gap: old things are asked for seldom, but are
    key_width: D of the keys, drawn from the unit sphere
    values: C of the values, drawn evenly
    beyond: windows to come that a batch brings along for the oracle of the future
    """

    streams: int = 16
    window: int = 10
    nearest: int = 1
    farthest: int = 20
    key_width: int = 8
    values: int = 4
    beyond: int = 0


class Pairs(NamedTuple):
    """The new pairs of one window."""

    keys: Float[Array, "pairs width"]
    values: Int[Array, " pairs"]


class Question(NamedTuple):
    """Which pair a window asks for: that of so many windows before, at that place; one
    from before the stream began does not count."""

    gap: Int[Array, ""]
    place: Int[Array, ""]
    counts: jax.Array


def far_recall(kind: FarRecall) -> Task:
    """The task; its source is (), the stream follows from key and step.

    A target `[C + 1]` holds the value and, as a share of `farthest`, how many windows
    ago it was written; the latter is zero where nothing is asked, and there is no loss
    then. Label inputs see the target once the step has been answered.

    Raises:
      ValueError: if no pair fits into a window, or gaps are not 1 or more windows.
    """
    if kind.window < 2 or not 1 <= kind.nearest <= kind.farthest:
        raise ValueError(
            f"far recall with window={kind.window}, nearest={kind.nearest}, farthest="
            f"{kind.farthest}: a window holds a question and at least one pair, and "
            "1 <= nearest <= farthest"
        )
    spec = Spec(
        "stream", "sequence", (kind.key_width,), kind.values + 1,
        kind.window, kind.streams,
    )  # fmt: skip
    return Task(
        spec,
        functools.partial(_sample, kind),
        _loss,
        functools.partial(_score, kind.farthest),
    )


def pairs(kind: FarRecall, key: jax.Array, window: jax.Array) -> Pairs:
    """Of one stream; the same for the same key and window."""
    keys_key, values_key = jax.random.split(jax.random.fold_in(key, 2 * window))
    keys = jax.random.normal(keys_key, (kind.window - 1, kind.key_width))
    keys /= jnp.linalg.norm(keys, axis=1, keepdims=True)
    values = jax.random.randint(values_key, (kind.window - 1,), 0, kind.values)
    return Pairs(keys, values)


def question(kind: FarRecall, key: jax.Array, window: jax.Array) -> Question:
    """Of one stream."""
    gap_key, place_key = jax.random.split(jax.random.fold_in(key, 2 * window + 1))
    gaps = jnp.arange(kind.nearest, kind.farthest + 1)
    # log(1 / gap): as often within each doubling.
    gap = gaps[jax.random.categorical(gap_key, -jnp.log(gaps.astype(float)))]
    place = jax.random.randint(place_key, (), 0, kind.window - 1)
    return Question(gap, place, window >= gap)


def stream_keys(kind: FarRecall, key: jax.Array) -> jax.Array:
    """One key for each stream."""
    return jax.random.split(key, kind.streams)


def _sample(
    kind: FarRecall, key: jax.Array, step: jax.Array, source: Any
) -> StreamBatch:
    del source
    batch = _window(kind, key, step)
    if not kind.beyond:
        return batch
    ahead = step + 1 + jnp.arange(kind.beyond)
    return batch._replace(beyond=jax.vmap(functools.partial(_window, kind, key))(ahead))


def _window(kind: FarRecall, key: jax.Array, step: jax.Array) -> StreamBatch:
    def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        new, asked = pairs(kind, key, step), question(kind, key, step)
        old = pairs(kind, key, jnp.maximum(step - asked.gap, 0))
        keys = jnp.concatenate([old.keys[asked.place][None], new.keys])
        values = jnp.concatenate([old.values[asked.place][None], new.values])
        ago = jnp.zeros((kind.window, 1))
        ago = ago.at[0, 0].set(asked.counts * asked.gap / kind.farthest)
        one_hot = jax.nn.one_hot(values, kind.values)
        return keys, jnp.concatenate([one_hot, ago], axis=1)

    return StreamBatch(*jax.vmap(one)(stream_keys(kind, key)))


def _loss(output: jax.Array, target: jax.Array) -> jax.Array:
    asked = jnp.where(target[-1] > 0, 1.0, 0.0)
    return asked * losses.cross_entropy(output[:-1], target[:-1])


def _score(farthest: int, output: jax.Array, target: jax.Array) -> dict:
    """`asked/<gap>`, whether the step asks for a pair of so many windows before, and
    `right/<gap>`, whether it was named rightly too."""
    gap = jnp.round(target[-1] * farthest)
    hit = losses.accuracy(output[:-1], target[:-1])
    told = {}
    for at in range(1, farthest + 1):
        asked = jnp.where(gap == at, 1.0, 0.0)
        told[f"asked/{at:02d}"] = asked
        told[f"right/{at:02d}"] = asked * hit
    return told
