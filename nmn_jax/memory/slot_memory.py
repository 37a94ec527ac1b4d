"""Slots that are addressed by similarity: the memory of Eqs. 3, 4 and 7."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.memory import addressing, health, write_rules
from nmn_jax.memory import journal as journal_lib
from nmn_jax.memory.base import Journal, Memory, Reading, Stored


class SlotParams(NamedTuple):
    """What slow learning moves: the initial rows and the logarithm of the scale."""

    rows: Float[Array, "*batch slots width"]
    log_scale: Float[Array, "*batch"]


class SlotState(NamedTuple):
    """The rows of the moment and how much each was used, as the write rule counts."""

    rows: Float[Array, "*batch slots width"]
    usage: Float[Array, "*batch slots"]


def slots(
    *,
    slots: int,
    width: int,
    memory_scale: float = 1.0,
    similarity: addressing.Similarity = addressing.dot,
    scale: float = 1.0,
    write_rule: write_rules.WriteRule = write_rules.convex_write,
) -> Memory:
    """A memory of `slots` rows of `width` numbers; params `SlotParams`.

    Args:
      slots: L, the number of rows.
      width: K.
      memory_scale: standard deviation of the rows of the learned initial memory.
      similarity: `(memory [L, K], query [K]) -> [L]`, see `SIMILARITIES`.
      scale: factor on the similarity at the start; learned on a log scale.
      write_rule: see `WRITE_RULES`.

    Raises:
      ValueError: if `slots`, `width` or `scale` is not positive.
    """
    addressing.check_room(slots=slots, width=width)
    if not scale > 0:
        raise ValueError(f"addressing scale must be positive, got {scale}")

    def init(key: jax.Array) -> SlotParams:
        rows = addressing.init(key, slots=slots, width=width, scale=memory_scale)
        return SlotParams(rows, jnp.log(jnp.asarray(scale, rows.dtype)))

    def read(params: SlotParams, state: SlotState, query: jax.Array) -> Reading:
        weights = addressing.address(
            state.rows, query, similarity=similarity, scale=jnp.exp(params.log_scale)
        )
        return Reading(query, addressing.read(state.rows, weights), weights)

    def write(
        params: SlotParams, state: SlotState, reading: Reading, update: jax.Array
    ) -> Stored:
        del params
        after = write_rule(state.rows, state.usage, reading.weights, update)
        return Stored(SlotState(after.memory, after.usage), after.weights)

    return Memory(
        init, _start, read, write, _measures, slots, width,
        reads=slots, journal=_journal(similarity, write_rule),
    )  # fmt: skip


def _journal(
    similarity: addressing.Similarity, rule: write_rules.WriteRule
) -> Journal | None:
    """Where a write changes one row; its weights then are as any rule gives them."""
    if not isinstance(rule, write_rules.OneHotRule):
        return None

    def settle(state: SlotState, choice: write_rules.Choice, stored: Stored) -> Stored:
        del state
        return stored._replace(weights=choice.weights(len(stored.state.usage)))

    reader = journal_lib.all_slots(similarity)
    return journal_lib.make(journal_lib.Design(reader, rule, settle))


def _start(params: SlotParams) -> SlotState:
    return SlotState(params.rows, jnp.zeros(params.rows.shape[:-1], params.rows.dtype))


def _measures(
    state: SlotState, reads: jax.Array, writes: jax.Array
) -> dict[str, jax.Array]:
    return health.memory_health(state.rows, reads, writes)
