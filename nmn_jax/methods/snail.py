"""SNAIL: an episode is a sequence, read by causal convolutions and attention.

Mishra et al. (2018): steps are features with their label, a query comes last with
zeros for its label, and the last step's output answers it. Causal attention looks for
what is alike anywhere before; convolutions in time, each twice as far back as the one
before, gather what is near.

Layers here take the supports `[S, D]` as a sequence and any number of queries `[Q, D]`,
each of which stands at the step after the last support: it sees the supports and
itself, which is the sequence of the paper for each of them, and costs one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods import end_to_end, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.end_to_end import Readout
from nmn_jax.nets import leaves
from nmn_jax.settings.records import Settings
from nmn_jax.settings.rivals import SnailSettings
from nmn_jax.tasks.base import Task


class Sequence(NamedTuple):
    """Supports `[S, D]` in turn, and queries `[Q, D]` that all come right after."""

    supports: jax.Array
    queries: jax.Array


class Layer(NamedTuple):
    """A layer that widens a sequence.

    init: `(key, D) -> params`
    apply: `(params, Sequence) -> Sequence`, what it finds beside what it was given
    wider: by how much
    """

    init: Callable[[jax.Array, int], Any]
    apply: Callable[[Any, Sequence], Sequence]
    wider: int


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """SNAIL behind the encoder of `settings`.

    Raises:
      ValueError: for a task that is no classification.
    """
    readout = make_readout(settings.snail, task.spec.targets)
    return end_to_end.make("snail", readout, settings, task, steps=steps)


def published(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    """Card 8 (a reproduction's): four blocks; convolutions reach over the episode."""
    return {
        "model": {"layers": 4},
        "optim": {"lr": 1e-3, "schedule": "constant", "clip": 0.0},
        "snail": {"reach": math.ceil(math.log2(ways * shots + 1))},
    }


USES = (*parts.ENCODER_AND_OPTIMIZER, "snail")
ENTRY = Entry(make, "episodes", USES, published)


def make_readout(settings: SnailSettings, classes: int) -> Readout:
    """Attention, convolutions, attention, convolutions, attention, and a dense layer.

    Args:
      settings: key and value widths double twice, as published: (64, 32), (256, 128)
        and (512, 256) for `keys` 64, `values` 32.
      classes: C.
    """
    keys, values = settings.keys, settings.values
    within = [
        attention(keys, values),
        *convolutions(settings.filters, settings.reach),
        attention(4 * keys, 4 * values),
        *convolutions(settings.filters, settings.reach),
        attention(8 * keys, 8 * values),
    ]
    output = leaves.make_dense(classes)

    def init(key: jax.Array, width: int) -> dict[str, Any]:
        *layer_keys, output_key = jax.random.split(key, len(within) + 1)
        width, layers = width + classes, []
        for layer, layer_key in zip(within, layer_keys, strict=True):
            layers.append(layer.init(layer_key, width))
            width += layer.wider
        return {"layers": layers, "output": output.init(output_key, width)}

    def answer(params: Any, supports: jax.Array, *asked: jax.Array) -> Answer:
        targets, queries = asked
        unknown = jnp.zeros((len(queries), classes), targets.dtype)
        sequence = Sequence(
            jnp.concatenate([supports, targets], axis=1),
            jnp.concatenate([queries, unknown], axis=1),
        )
        for layer, each in zip(within, params["layers"], strict=True):
            sequence = layer.apply(each, sequence)
        return Answer(output.apply(params["output"], sequence.queries), {})

    return Readout(init, answer)


def _beside(given: Sequence, found: Sequence) -> Sequence:
    return Sequence(*(jnp.concatenate(pair, axis=1)
                      for pair in zip(given, found, strict=True)))  # fmt: skip


def attention(keys: int, values: int) -> Layer:
    """Every step reads the values of steps up to its own, by softmax(q · k / √keys).

    Keys have no bias: added to all of them it changes no softmax.
    """
    names = {"query": keys, "key": keys, "value": values}
    dense = {name: leaves.make_dense(width) for name, width in names.items()}

    def init(key: jax.Array, width: int) -> dict[str, Any]:
        each = zip(dense.items(), jax.random.split(key, 3), strict=True)
        found = {name: layer.init(own, width) for (name, layer), own in each}
        return {**found, "key": found["key"]["kernel"]}

    def apply(params: Any, given: Sequence) -> Sequence:
        def of(name: str, steps: jax.Array) -> jax.Array:
            if name == "key":
                return jnp.asarray(steps @ params["key"])
            return jnp.asarray(dense[name].apply(params[name], steps))

        stored = of("key", given.supports), of("value", given.supports)
        before = jnp.tril(jnp.ones((len(given.supports),) * 2, bool))
        scale = 1 / math.sqrt(keys)
        alike = scale * of("query", given.supports) @ stored[0].T
        weights = jax.nn.softmax(jnp.where(before, alike, -jnp.inf))
        asked, own = of("query", given.queries), of("key", given.queries)
        among = scale * asked @ stored[0].T
        itself = scale * jnp.sum(asked * own, axis=1, keepdims=True)
        shares = jax.nn.softmax(jnp.concatenate([among, itself], axis=1))
        recalled = shares[:, :-1] @ stored[1]
        recalled = recalled + shares[:, -1:] * of("value", given.queries)
        return _beside(given, Sequence(weights @ stored[1], recalled))

    return Layer(init, apply, values)


def convolutions(filters: int, reach: int) -> list[Layer]:
    """Dense blocks that look 1, 2, 4, … steps back, `reach` of them."""
    return [dense_block(filters, 2**number) for number in range(reach)]


def dense_block(filters: int, back: int) -> Layer:
    """tanh(a) σ(b) of each step and the one so far back (zeros before the first)."""
    dense = leaves.make_dense(2 * filters)

    def init(key: jax.Array, width: int) -> Any:
        return dense.init(key, 2 * width)

    def apply(params: Any, given: Sequence) -> Sequence:
        def gated(steps: jax.Array, earlier: jax.Array) -> jax.Array:
            both = jnp.concatenate([steps, earlier], axis=1)
            raw, gate = jnp.split(dense.apply(params, both), 2, axis=1)
            return jnp.tanh(raw) * jax.nn.sigmoid(gate)

        padded = jnp.pad(given.supports, ((back, 0), (0, 0)))
        count = len(given.supports)
        last = jnp.broadcast_to(padded[count], given.queries.shape)
        found = gated(given.supports, padded[:count]), gated(given.queries, last)
        return _beside(given, Sequence(*found))

    return Layer(init, apply, filters)
