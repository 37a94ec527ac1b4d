"""Going back through a memory of slots row by row: a journal of what writes replaced.

Back-propagation through a scan keeps the memory of every step, `[T, L, K]`. A one-hot
write replaces one row: with (slot, old row) of every step the memory is restored going
back, and the gradient is exact with O(T (K + L) + L K) numbers where all slots are read
(L of a step are its weights), and O(T k K + L K) where k of them are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.memory import addressing
from nmn_jax.memory.base import Journal, Reading, Stored
from nmn_jax.memory.write_rules import Choice, OneHotRule


class Entry(NamedTuple):
    """One step of a journal: where it wrote, what stood there, and what it read."""

    choice: Choice
    old: Float[Array, " width"]
    kept: Any


class Changed(NamedTuple):
    """What a write changes: one row `[K]`, and by how much reads count as usage."""

    row: Float[Array, " width"]
    counted: Any


class Reader(NamedTuple):
    """How slots are read, and how the same is read again going back.

    keep: `(rows [L, K], Reading) -> kept`, in the journal
    hold: `(rows) -> held`, the rows where reading again needs them, None otherwise
    touch: `(held, kept) -> touched`, what was read
    again: `(log scale [], touched, kept, query [K]) -> Reading`, differentiable
    spread: `(kept, of touched, of rows or usage) -> ` the latter with the former added
      at the slots that were read
    gather: `(kept, usage [L]) -> ` that of the slots that were read
    """

    keep: Callable[[jax.Array, Reading], Any]
    hold: Callable[[jax.Array], Any]
    touch: Callable[[Any, Any], Any]
    again: Callable[..., Reading]
    spread: Callable[[Any, jax.Array, jax.Array], jax.Array]
    gather: Callable[[Any, jax.Array], jax.Array]


class Design(NamedTuple):
    """A memory of slots with a journal.

    settle: `(state, Choice, Stored) -> Stored`, what a memory adds to a write: weights,
      and what its state keeps beside rows and usage
    """

    reader: Reader
    rule: OneHotRule
    settle: Callable[[Any, Choice, Stored], Stored]


def make(design: Design) -> Journal:
    """The journal of a memory with `SlotParams` and a state with rows and usage."""
    reader = design.reader
    return Journal(
        write=lambda params, *given: write(design, *given),
        hold=lambda state: reader.hold(state.rows),
        restore=_restore,
        touch=lambda held, entry: reader.touch(held, entry.kept),
        learned=lambda params: params.log_scale,
        give=lambda params, learned: params._replace(rows=None, log_scale=learned),
        read_again=functools.partial(_read_again, design),
        write_again=lambda learned, *given: _write_again(design, *given),
        changed=functools.partial(_changed, design),
        before=functools.partial(_before, design),
    )


def write(
    design: Design, state: Any, reading: Reading, update: jax.Array
) -> tuple[Stored, Entry]:
    """The row that changes and no other, and the step's entry."""
    reader, rule, settle = design
    choice = rule.choose(state.rows, state.usage, update)
    old, kept = _row(state.rows, choice.slot), reader.keep(state.rows, reading)
    before, old, kept, update = _in_order((state.rows, old, kept, update))
    rows = before.at[choice.slot].set(_moved(choice, old, update))
    usage = (rule.decay * state.usage).at[choice.slot].add(choice.share)
    if rule.reads:
        usage = reader.spread(kept, rule.reads * reading.weights, usage)
    stored = Stored(state._replace(rows=rows, usage=usage), jnp.zeros((0,)))
    return settle(state, choice, stored), Entry(choice, old, kept)


def _moved(choice: Choice, old: jax.Array, update: jax.Array) -> jax.Array:
    return (1 - choice.share) * old + choice.share * update


def _in_order(tree: Any) -> Any:
    """The same values, all of them computed before any is used.

    A row is changed in place where nothing may read the old ones afterwards; otherwise
    the compiler copies all rows at every step.
    """
    return jax.lax.optimization_barrier(tree)


def _row(rows: jax.Array, slot: jax.Array) -> jax.Array:
    """One row, taken once: of a slice the compiler makes one in every use of it, some
    of them after the row has changed; a gather of two it keeps."""
    return rows[jnp.stack([slot, slot])][0]


def _restore(held: Any, entry: Entry) -> Any:
    if held is None:
        return None
    return _in_order(held.at[entry.choice.slot].set(entry.old))


def _read_again(
    design: Design, log_scale: jax.Array, state: tuple[Any, Entry], query: jax.Array
) -> Reading:
    touched, entry = state
    return design.reader.again(log_scale, touched, entry.kept, query)


def _write_again(
    design: Design, state: tuple[Any, Entry], reading: Reading, update: jax.Array
) -> Stored:
    _, entry = state
    counted = design.rule.reads * reading.weights if design.rule.reads else None
    changed = Changed(_moved(entry.choice, entry.old, update), counted)
    return Stored(changed, jnp.zeros((0,)))


def _changed(design: Design, cotangent: Any, entry: Entry) -> Changed:
    reader, rule, _ = design
    counted = reader.gather(entry.kept, cotangent.usage) if rule.reads else None
    return _in_order(Changed(_row(cotangent.rows, entry.choice.slot), counted))


def _before(design: Design, cotangent: Any, changed: Changed, back: tuple) -> Any:
    reader, rule, _ = design
    entry, touched = back
    slot, share = entry.choice
    # The row is taken as it was read, not read again: see `_in_order`.
    rows = cotangent.rows.at[slot].set((1 - share) * changed.row)
    return cotangent._replace(
        rows=reader.spread(entry.kept, touched, rows),
        usage=rule.decay * cotangent.usage,
    )


def all_slots(similarity: addressing.Similarity) -> Reader:
    """All slots are read: rows are restored, weights and what they recalled kept."""
    return Reader(
        keep=lambda rows, reading: (reading.recalled, reading.weights),
        hold=lambda rows: rows,
        touch=lambda held, kept: held,
        again=functools.partial(_recall, similarity),
        spread=lambda kept, touched, whole: whole + touched,
        gather=lambda kept, usage: usage,
    )


def _recall(
    similarity: addressing.Similarity, log_scale: jax.Array, rows: jax.Array, *rest: Any
) -> Reading:
    kept, query = rest
    recalled, weights = _attend(similarity, (rows, query, log_scale), kept)
    return Reading(query, recalled, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(similarity: addressing.Similarity, given: tuple, kept: tuple) -> tuple:
    """What was recalled and the weights, as they were: nothing is computed again."""
    del similarity, given
    return kept


def _attend_forward(similarity: Any, given: tuple, kept: tuple) -> tuple:
    del similarity
    return kept, (given, kept[1])


def _attend_back(similarity: Any, saved: tuple, cotangents: tuple) -> tuple:
    """Through m̄ = zᵀ M, then z = softmax(e^s · similarity(M, q)), Eqs. 4 and 3."""
    (rows, query, log_scale), weights = saved
    of_recalled, of_weights = cotangents
    of_weights = of_weights + rows @ of_recalled
    of_scores = weights * (of_weights - weights @ of_weights)
    _, pull = jax.vjp(similarity, rows, query)
    of_rows, of_query = pull(jnp.exp(log_scale) * of_scores)
    # e^s · similarity is the logarithm of z but for a constant, and of_scores sum to 0.
    powers = jnp.log(jnp.where(weights > 0, weights, 1))
    of_rows = of_rows + weights[:, None] * of_recalled[None, :]
    return (of_rows, of_query, of_scores @ powers), None


_attend.defvjp(_attend_forward, _attend_back)
