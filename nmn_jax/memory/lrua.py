"""Least recently used access: how a memory-augmented network writes and reads.

Santoro et al. (2016): a write goes where was read last or where was used least, by a
learned gate, and several heads do so at once. With w^r the read weights of a head, w^lu
one at its least used slot, k its key, σ(α) the gate and γ the decay:

    w^w_t = σ(α) w^r_{t-1} + (1 - σ(α)) w^lu_{t-1}
    M_t   = (M_{t-1} with the least used slot zeroed) + Σ_heads w^w_t k_t
    w^r_t = softmax(cos(M_t, k_t)),  r_t = w^r_t M_t
    w^u_t = γ w^u_{t-1} + Σ_heads (w^r_t + w^w_t)

The head of number h writes to the slot of the h-th least usage, of equals the first.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.memory import addressing, health
from nmn_jax.memory.base import Memory, Reading, Stored

# What an empty slot holds: at zero a cosine has no gradient that means anything.
EMPTY = 1e-6


class LruaParams(NamedTuple):
    """What slow learning moves: α of the write gate σ(α)."""

    gate: Float[Array, "*batch"]


class LruaState(NamedTuple):
    """The rows, how much each was used, and where every head read last."""

    rows: Float[Array, "*batch slots width"]
    usage: Float[Array, "*batch slots"]
    reads: Float[Array, "*batch heads slots"]


class _Design(NamedTuple):
    slots: int
    width: int
    heads: int
    decay: float


def lrua(*, slots: int, width: int, heads: int = 1, decay: float = 0.99) -> Memory:
    """A memory of `slots` rows of `width` numbers; params `LruaParams`.

    A query is the heads' keys side by side `[heads * width]`, and so is what is
    recalled; read weights are `[heads * slots]`. What a step writes are its keys,
    before it reads: `read` is of the memory as the step's `write` will leave it, and
    `write` has no use for an update.

    Gradients: the choice of the least used slots is piecewise constant and carries
    none.

    Raises:
      ValueError: if there are fewer slots than heads, no head or no width, or `decay`
        lies outside [0, 1].
    """
    addressing.check_room(slots=slots, width=width)
    if not 1 <= heads <= slots:
        raise ValueError(
            f"{heads} heads on {slots} slots: there must be at least 1, and a slot for "
            "each to write to"
        )
    if not 0 <= decay <= 1:
        raise ValueError(f"decay={decay}: must lie in [0, 1]")
    design = _Design(slots, width, heads, decay)
    return Memory(
        lambda key: LruaParams(jnp.zeros(())),
        functools.partial(_start, design),
        functools.partial(_read, design),
        functools.partial(_write, design),
        functools.partial(_measures, design),
        slots,
        heads * width,
        reads=heads * slots,
    )


def _start(design: _Design, params: LruaParams) -> LruaState:
    dtype = params.gate.dtype
    return LruaState(
        jnp.full((design.slots, design.width), EMPTY, dtype),
        jnp.zeros((design.slots,), dtype),
        jnp.zeros((design.heads, design.slots), dtype),
    )


def _written(
    design: _Design, params: LruaParams, state: LruaState, query: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The rows after the write of these keys, and every head's weights `[H, L]`."""
    places = jax.lax.top_k(-state.usage, design.heads)[1]
    least = jax.nn.one_hot(places, design.slots, dtype=state.usage.dtype)
    gate = jax.nn.sigmoid(params.gate)
    weights = gate * state.reads + (1 - gate) * least
    kept = (1 - least[0])[:, None] * state.rows
    return kept + weights.T @ query.reshape(design.heads, design.width), weights


def _read(
    design: _Design, params: LruaParams, state: LruaState, query: jax.Array
) -> Reading:
    rows, _ = _written(design, params, state, query)
    keys = query.reshape(design.heads, design.width)
    weights = jax.vmap(
        lambda key: addressing.address(rows, key, similarity=addressing.cosine)
    )(keys)
    return Reading(query, (weights @ rows).ravel(), weights.ravel())


def _write(
    design: _Design, params: LruaParams, state: LruaState, *given: Reading | jax.Array
) -> Stored:
    reading = given[0]
    assert isinstance(reading, Reading)
    rows, weights = _written(design, params, state, reading.query)
    reads = reading.weights.reshape(weights.shape)
    usage = design.decay * state.usage + jnp.sum(reads + weights, axis=0)
    return Stored(LruaState(rows, usage, reads), jnp.mean(weights, axis=0))


def _measures(
    design: _Design, state: LruaState, reads: jax.Array, writes: jax.Array
) -> dict[str, jax.Array]:
    each = reads.reshape(*reads.shape[:-1], design.heads, design.slots)
    return health.memory_health(state.rows, each.mean(axis=-2), writes)
