"""What is carried over a cut, as rows of numbers, and what became of each slot.

A predictor of the future's cotangent is shared over rows, so the state is laid out as
groups of rows: the slots of a memory, each with its usage, and every other part (an
LSTM's h and c, a memory without slots) as a group of one row. Shapes are those of one
stream; `jax.vmap` over streams.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.memory.slot_memory import SlotState
from nmn_jax.memory.sparse_memory import SparseState
from nmn_jax.types import NMNState

# `{name: [rows, width]}`
Groups = dict[str, jax.Array]
# Steps over which the traces of a slot's age fade.
FADES = (3.0, 10.0, 30.0, 100.0)
SLOTS = (SlotState, SparseState)


class History(NamedTuple):
    """The place in time of every slot.

    age: steps since it was written, softly: a write of weight w leaves (1 - w) of it
    reads: how much it was read since then, likewise
    """

    age: Float[Array, "*batch slots"]
    reads: Float[Array, "*batch slots"]


def _parts(state: Any) -> dict[str, Any]:
    if isinstance(state, NMNState):
        name = "slots" if isinstance(state.memory, SLOTS) else "memory"
        return {name: state.memory, **state.carries._asdict()}
    return {"carry": state}


def _floats(part: Any) -> list[jax.Array]:
    leaves = jax.tree.leaves(part)
    return [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def _rows(part: Any) -> jax.Array | None:
    if isinstance(part, SLOTS):
        return jnp.concatenate([part.rows, part.usage[:, None]], axis=1)
    flat = [leaf.ravel() for leaf in _floats(part)]
    return jnp.concatenate(flat)[None] if flat else None


def groups(state: Any) -> Groups:
    """The floating numbers of a state: `{"slots": [L, K + 1], "input": [1, n], …}`.

    `NMNState` has `slots` (or `memory`, `[1, n]`) and one group for every controller
    that carries something; any other state is one group, `carry`.
    """
    found = {name: _rows(part) for name, part in _parts(state).items()}
    return {name: rows for name, rows in found.items() if rows is not None}


def _filled(part: Any, rows: jax.Array) -> Any:
    if isinstance(part, SLOTS):
        return part._replace(rows=rows[:, :-1], usage=rows[:, -1])
    leaves, structure = jax.tree.flatten(part)
    at, filled = 0, []
    for leaf in leaves:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            filled.append(rows[0, at : at + leaf.size].reshape(leaf.shape))
            at += leaf.size
        else:
            filled.append(leaf)
    return jax.tree.unflatten(structure, filled)


def put(state: Any, rows: Groups) -> Any:
    """The state with these numbers in the places of its own; the inverse of `groups`.

    Gradients: a cotangent of the state reaches the rows, none the state given.
    """
    parts = {
        name: _filled(part, rows[name]) if name in rows else part
        for name, part in _parts(state).items()
    }
    if not isinstance(state, NMNState):
        return parts["carry"]
    memory, *carries = parts.values()
    return NMNState(memory, type(state.carries)(*carries))


def start_history(state: Any) -> History | None:
    """Of slots that were never written: of age 0, never read. None without slots."""
    if not (isinstance(state, NMNState) and isinstance(state.memory, SLOTS)):
        return None
    zeros = jnp.zeros_like(state.memory.usage)
    return History(zeros, jnp.zeros_like(zeros))


def follow(
    history: History | None,
    reads: Float[Array, "steps some"],
    writes: Float[Array, "steps slots"],
) -> History | None:
    """The history after T steps; a step reads before it writes.

    Reads of a few slots do not say which ones, and leave no mark.
    """
    if history is None:
        return None
    if reads.shape != writes.shape:
        reads = jnp.zeros_like(writes)

    def step(history: History, given: tuple) -> tuple[History, None]:
        read, written = given
        kept = 1 - written
        return History(kept * (history.age + 1), kept * (history.reads + read)), None

    return jax.lax.scan(step, history, (reads, writes))[0]


def context(name: str, rows: jax.Array, history: History | None) -> jax.Array:
    """What a predictor sees beside the rows `[n, c]`: of slots traces of their age that
    fade over 3 to 100 steps, and how much they were read."""
    if name != "slots" or history is None:
        return jnp.zeros((len(rows), 0), rows.dtype)
    fades = jnp.asarray(FADES, rows.dtype)
    traces = jnp.exp(-history.age[:, None] / fades[None])
    return jnp.concatenate([traces, history.reads[:, None]], axis=1)
