"""Slots of which a step reads a few, so that it costs what finding them costs.

After Rae et al. (2016), "Scaling Memory-Augmented Neural Networks with Sparse Reads and
Writes".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmn_jax.memory import addressing, health, slot_memory, write_rules
from nmn_jax.memory import journal as journal_lib
from nmn_jax.memory import search as search_lib
from nmn_jax.memory.base import Memory, Reading, Stored


class SparseState(NamedTuple):
    """As `SlotState`, and what the search keeps of the rows."""

    rows: Float[Array, "*batch slots width"]
    usage: Float[Array, "*batch slots"]
    index: Any


class _Kept(NamedTuple):
    """Of a journal: the slots that were read, and their rows."""

    slots: Int[Array, " reads"]
    rows: Float[Array, "reads width"]


def sparse_slots(
    *,
    slots: int,
    width: int,
    reads: int,
    write_rule: write_rules.WriteRule,
    similarity: addressing.Similarity = addressing.dot,
    search: search_lib.Search | None = None,
    **options: Any,
) -> Memory:
    """A memory of slots that reads the `reads` likest: z is a softmax over these alone.

    Gradients flow through the slots that were read; with `unrolling.journal` a step
    costs on its way back what these cost. A reading's weights are `[reads]`, the
    likest first; where a write goes is not told, but counted in the usage.

    Args:
      slots, width, similarity, options: see `slots`.
      reads: k, how many slots are read.
      write_rule: one that changes one slot.
      search: how they are found, by default `search.exact`.

    Raises:
      ValueError: if `reads` is not between 1 and `slots`, or the write rule may change
        more than one slot.
    """
    if not 1 <= reads <= slots:
        raise ValueError(
            f"reads of {reads} slots out of {slots}: must lie between 1 and {slots}"
        )
    if not isinstance(write_rule, write_rules.OneHotRule):
        raise ValueError(
            "reads of a few slots need a write rule that changes one slot, such as "
            "least_used or same_value"
        )
    search = search or search_lib.exact(similarity)
    whole = slot_memory.slots(
        slots=slots, width=width, similarity=similarity, write_rule=write_rule,
        **options,
    )  # fmt: skip
    design = journal_lib.Design(_some_slots(similarity), write_rule, _settle(search))

    def start(params: slot_memory.SlotParams) -> SparseState:
        return _begin(search, whole.start(params))

    def read(params: Any, state: SparseState, query: jax.Array) -> Reading:
        found = search.find(state.index, state.rows, query, reads)
        given = params.log_scale, state.rows[found], found
        return _attend(similarity, given, query)

    def write(params: Any, state: SparseState, *written: Any) -> Stored:
        del params
        return journal_lib.write(design, state, *written)[0]

    return whole._replace(
        start=start, read=read, write=write, measures=_measures, reads=reads,
        journal=journal_lib.make(design),
    )  # fmt: skip


def _attend(
    similarity: addressing.Similarity,
    given: tuple[jax.Array, jax.Array, jax.Array],
    query: jax.Array,
) -> Reading:
    """Eqs. 3 and 4 among the rows that were found."""
    log_scale, rows, found = given
    weights = addressing.address(
        rows, query, similarity=similarity, scale=jnp.exp(log_scale)
    )
    return Reading(query, addressing.read(rows, weights), weights, found)


def _some_slots(similarity: addressing.Similarity) -> journal_lib.Reader:
    """The rows that were read are kept: none has to be restored."""

    def again(
        log_scale: jax.Array, rows: jax.Array, kept: _Kept, query: jax.Array
    ) -> Reading:
        return _attend(similarity, (log_scale, rows, kept.slots), query)

    return journal_lib.Reader(
        keep=_keep,
        hold=lambda rows: None,
        touch=lambda held, kept: kept.rows,
        again=again,
        spread=lambda kept, touched, whole: whole.at[kept.slots].add(touched),
        gather=lambda kept, usage: usage[kept.slots],
    )


def _begin(search: search_lib.Search, whole: slot_memory.SlotState) -> SparseState:
    return SparseState(whole.rows, whole.usage, search.start(whole.rows))


def _keep(rows: jax.Array, reading: Reading) -> _Kept:
    assert reading.slots is not None
    return _Kept(reading.slots, rows[reading.slots])


def _settle(search: search_lib.Search) -> Any:
    def settle(
        state: SparseState, choice: write_rules.Choice, stored: Stored
    ) -> Stored:
        row = stored.state.rows[choice.slot]
        index = search.moved(state.index, choice.slot, row)
        return stored._replace(state=stored.state._replace(index=index))

    return settle


def _measures(
    state: SparseState, reads: jax.Array, writes: jax.Array
) -> dict[str, jax.Array]:
    """Health of the rows; the share of a slot in the writes is that in the usage."""
    del writes
    found = health.memory_health(state.rows, state.usage, state.usage)
    return {**found, "memory/entropy": health.addressing_entropy(reads)}
