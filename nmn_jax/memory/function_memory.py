"""A network as a memory, written by a gradient step (Metalearned Neural Memory,
Munkhdalai et al., 2019; test-time training, Sun et al., 2024; Titans, Behrouz et al.,
2025)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.memory import cotangents, gates, gradient_rule
from nmn_jax.memory.base import Memory, Reading, Stored
from nmn_jax.memory.gates import Gate, Pair
from nmn_jax.memory.gradient_rule import (
    FunctionState,
    Gates,
    GradientRule,
    Pull,
    Schedule,
    Transform,
)
from nmn_jax.memory.pairing import Pairing
from nmn_jax.types import Network


class FunctionParams(NamedTuple):
    """What slow learning moves: the initial weights and the gates' parameters."""

    weights: Any
    gates: Gates


def function(
    network: Network,
    *,
    pull: Pull,
    pairing: Pairing,
    cotangent: cotangents.Cotangent = cotangents.squared,
    rate: Gate | float = 0.1,
    momentum: Gate | float = 0.0,
    retention: Gate | float = 1.0,
    transform: Any = lambda s: s,
    schedule: Schedule = Schedule(),  # noqa: B008, a record that cannot change
) -> Memory:
    """A memory that is a network: read by asking it, written by teaching it.

    A write is s ← η s - α · pull_{f,θ'}(c(f_θ'(k), v)); θ ← ρ θ + T(s); a read is
    f_θ(q). Params `FunctionParams`, state `FunctionState`; no slots, so weights of
    reads and writes are `[0]`.

    A deep memory can explode where a linear one with unit keys cannot: bound its errors
    (`cotangents.make_huber`) or its steps (`optax.clip_by_global_norm` for T, with
    retention below 1) if rates are not small.

    Args:
      network: f, `init(key, A) -> weights` and `apply(weights, key [A]) -> [V]`, e.g.
        `memory.networks.mlp(...)`.
      pull: `(apply, weights, key, cotangent [V]) -> like weights`, the way of the
        cotangent back, e.g. `feedback.pull_params`.
      pairing: how query and update become key and value, see `memory.pairing`.
      cotangent: c, see `memory.cotangents`.
      rate: α, a number or a gate, see `memory.gates`.
      momentum: η, likewise, at most 1.
      retention: ρ, likewise, at most 1.
      transform: T, a function of s or a transformation such as optax has.
      schedule: chunks, and where weights decay.

    Raises:
      ValueError: if a share may exceed 1, a chunk holds no write, or the network does
        not map keys to values.

    Gradients: those of slow learning flow through every write, into keys, values, gates
    and initial weights.
    """
    rule = GradientRule(
        network, pull, cotangent,
        Gates(*(gates.as_gate(each) for each in (rate, momentum, retention))),
        _as_transform(transform),
        schedule,
    )  # fmt: skip
    _check(rule, pairing)

    def write(
        params: FunctionParams, state: FunctionState, reading: Reading, update: Any
    ) -> Stored:
        pair = Pair(*pairing.pair(reading.query, update), state.position)
        after = gradient_rule.write(rule, params.gates, state, pair)
        return Stored(after, jnp.zeros((0,), update.dtype))

    return Memory(
        init=lambda key: _init(rule, pairing, key),
        start=lambda params: gradient_rule.start(rule, params.weights),
        read=lambda params, state, query: _read(rule, pairing, state.weights, query),
        write=write,
        measures=_measures,
        slots=0,
        width=pairing.width,
        write_many=_make_write_many(rule, pairing),
    )


def _as_transform(given: Any) -> Transform:
    """A function of s, or a pair of functions such as optax makes."""
    if callable(given):
        return gradient_rule.stateless(given)
    return Transform(given.init, given.update)


def _check(rule: GradientRule, pairing: Pairing) -> None:
    for name in ("momentum", "retention"):
        most = getattr(rule.gates, name).most
        if most > 1:
            raise ValueError(
                f"memory whose {name} may reach {most}: it must not exceed 1; give a "
                "smaller number or a gate on a logit scale"
            )
    if rule.schedule.chunk < 1:
        raise ValueError(f"chunks of {rule.schedule.chunk} writes: must be at least 1")

    def answer() -> jax.Array:
        weights = rule.network.init(jax.random.key(0), pairing.keys)
        return rule.network.apply(weights, jnp.zeros((pairing.keys,)))

    found = jax.eval_shape(answer).shape
    if found != (pairing.values,):
        raise ValueError(
            f"the memory's network answers a key of {pairing.keys} numbers in the "
            f"shape {found}, but values have the shape {(pairing.values,)}"
        )


def _init(rule: GradientRule, pairing: Pairing, key: jax.Array) -> FunctionParams:
    weights_key, *keys = jax.random.split(key, 4)
    width = pairing.keys + pairing.values
    return FunctionParams(
        rule.network.init(weights_key, pairing.keys),
        Gates(*(g.init(k, width) for g, k in zip(rule.gates, keys, strict=True))),
    )


def _read(
    rule: GradientRule, pairing: Pairing, weights: Any, query: jax.Array
) -> Reading:
    output = rule.network.apply(weights, pairing.ask(query))
    return Reading(query, pairing.answer(query, output), jnp.zeros((0,), query.dtype))


def _make_write_many(rule: GradientRule, pairing: Pairing) -> Callable[..., Any]:
    """The parallel form, chunk by chunk; see `Memory.write_many`."""
    chunk = rule.schedule.chunk

    def one(
        params: FunctionParams, state: FunctionState, given: tuple
    ) -> tuple[FunctionState, jax.Array]:
        keys, values = jax.vmap(pairing.pair)(*given)
        position = state.position + jnp.arange(len(keys), dtype=jnp.int32)
        pairs = Pair(keys, values, position)

        def read(weights: Any, t: jax.Array) -> jax.Array:
            return _read(rule, pairing, weights, given[0][t]).recalled

        return gradient_rule.write_chunk(rule, params.gates, state, pairs, read=read)

    def write_many(
        params: FunctionParams, state: FunctionState, queries: Any, updates: Any
    ) -> tuple[FunctionState, jax.Array]:
        inside = state.position % chunk != 0
        whole = len(queries) // chunk
        chunks, rest = _cut((queries, updates), whole, chunk)
        state, recalled = jax.lax.scan(lambda s, x: one(params, s, x), state, chunks)
        recalled = recalled.reshape(whole * chunk, pairing.width)
        if len(queries) % chunk:
            state, last = one(params, state, rest)
            recalled = jnp.concatenate([recalled, last])
        return state, jnp.where(inside, jnp.nan, recalled)

    return write_many


def _cut(given: tuple, whole: int, chunk: int) -> tuple[tuple, tuple]:
    """Whole chunks `[whole, chunk, ...]`, and what is left over."""
    taken = whole * chunk
    chunks = tuple(x[:taken].reshape(whole, chunk, *x.shape[1:]) for x in given)
    return chunks, tuple(x[taken:] for x in given)


def _measures(
    state: FunctionState, reads: jax.Array, writes: jax.Array
) -> dict[str, jax.Array]:
    """How large the weights and their movement are: an explosion shows here first."""
    del reads, writes
    leading = state.position.ndim

    def norm(tree: Any) -> jax.Array:
        squares = [
            jnp.sum(leaf**2, axis=tuple(range(leading, leaf.ndim)))
            for leaf in jax.tree.leaves(tree)
        ]
        return jnp.mean(jnp.sqrt(sum(squares)))

    return {
        "memory/weights_norm": norm(state.weights),
        "memory/momentum_norm": norm(state.momentum),
    }
