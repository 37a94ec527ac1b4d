"""Copy and repeat copy: a sequence of bit vectors, said again once or several times.

A sequence of length N with R repeats has N + 1 + N R steps: N vectors of bits, one step
that says how often they are to be repeated, and the repeats. B sequences of one length
go side by side, cut into windows; the last is filled up with steps that do not count
(Graves et al., 2014; the tasks of Jaderberg et al., 2017).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from nmn_jax.tasks.base import Spec, StreamBatch, Task

LN2 = 0.6931471805599453


class Copying(NamedTuple):
    """What the sequences are like.

    streams: B, sequences side by side
    window: T, steps from one cut to the next
    bits: of one vector
    beyond: windows to come that a batch brings along for the oracle of the future
    """

    streams: int = 100
    window: int = 2
    bits: int = 8
    beyond: int = 0


class Place(NamedTuple):
    """Where the sequences stand; the source of the task's batches.

    number: of the sequences, each of which has bits of its own
    window: of the next window within them
    length, repeats: N and R
    """

    number: Int[Array, ""]
    window: Int[Array, ""]
    length: Int[Array, ""]
    repeats: Int[Array, ""]


def copying(kind: Copying) -> Task:
    """The task. An input `[bits + 2]` is a vector, whether it ends the vectors, and R
    there; a target `[bits + 1]` is a vector and whether the step counts.

    The loss is the mean over bits of the binary cross-entropy in bits.

    Raises:
      ValueError: if there are no streams, steps or bits.
    """
    if min(kind.streams, kind.window, kind.bits) < 1:
        raise ValueError(
            f"copying with streams={kind.streams}, window={kind.window}, bits="
            f"{kind.bits}: all must be at least 1"
        )
    spec = Spec(
        "stream", "sequence", (kind.bits + 2,), kind.bits + 1, kind.window, kind.streams
    )
    return Task(spec, functools.partial(_sample, kind), _loss, _score)


def steps(place: Place) -> jax.Array:
    """Of the sequences at a place: the vectors, the mark, and the repeats."""
    return place.length * (1 + place.repeats) + 1


def _sample(
    kind: Copying, key: jax.Array, step: jax.Array, source: Place
) -> StreamBatch:
    del step
    batch = _window(kind, key, source)
    if not kind.beyond:
        return batch
    ahead = source.window + 1 + jnp.arange(kind.beyond)
    later = jax.vmap(lambda window: _window(kind, key, source._replace(window=window)))
    return batch._replace(beyond=later(ahead))


def _window(kind: Copying, key: jax.Array, place: Place) -> StreamBatch:
    key = jax.random.fold_in(key, place.number)
    at = place.window * kind.window + jnp.arange(kind.window)
    inputs, targets = jax.vmap(functools.partial(_step, kind, key, place))(at)
    ended = (place.window + 1) * kind.window >= steps(place)
    return StreamBatch(
        jnp.swapaxes(inputs, 0, 1), jnp.swapaxes(targets, 0, 1),
        jnp.broadcast_to(ended, (kind.streams,)),
    )  # fmt: skip


def _step(kind: Copying, key: jax.Array, place: Place, at: jax.Array) -> tuple:
    """Input `[B, bits + 2]` and target `[B, bits + 1]` of one step of all streams."""
    length = place.length
    shape = (kind.streams, kind.bits)

    def vector(number: jax.Array) -> jax.Array:
        drawn = jax.random.bernoulli(jax.random.fold_in(key, number), 0.5, shape)
        return drawn.astype(float)

    given, mark = at < length, at == length
    said = at - length - 1
    counts = (said >= 0) & (said < length * place.repeats)
    column = jnp.ones((kind.streams, 1))
    inputs = [
        vector(at) * given,
        column * mark,
        column * mark * place.repeats / 10,
    ]
    targets = [vector(said % length) * counts, column * counts]
    return jnp.concatenate(inputs, axis=1), jnp.concatenate(targets, axis=1)


def _loss(output: jax.Array, target: jax.Array) -> jax.Array:
    logits, bits = output[:-1], target[:-1]
    each = jnp.logaddexp(0.0, logits) - bits * logits
    return target[-1] * jnp.mean(each) / LN2


def _score(output: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
    """`bits` of a step that counts (otherwise 0), and whether it `counts`."""
    return {"bits": _loss(output, target), "counts": target[-1]}


def moved(place: Place, ends: Any, grows: jax.Array, *, repeat: bool) -> Place:
    """The place after a window.

    Args:
      ends: `[]`, whether the sequences ended with it.
      grows: `[]`, whether the next are longer: N, or with `repeat` N and R by turns,
        the smaller first.
    """
    longer = jnp.where(ends & grows, 1, 0)
    first = place.length <= place.repeats if repeat else jnp.asarray(True)
    return Place(
        place.number + jnp.where(ends, 1, 0),
        jnp.where(ends, 0, place.window + 1),
        place.length + longer * first,
        place.repeats + longer * ~first,
    )
