"""What the cell asks of a memory; any state, written by any rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int


class Reading(NamedTuple):
    """What was asked and what came back; `weights` is `[0]` for a memory without slots.

    A write is given the reading of its step, so a rule may write where it was read, or
    under the key that was asked for. A memory that reads a few slots only says in
    `slots` which ones the weights `[k]` belong to, the likest first.
    """

    query: Float[Array, " width"]
    recalled: Float[Array, " width"]
    weights: Float[Array, " reads"]
    slots: Int[Array, " reads"] | None = None


class Stored(NamedTuple):
    """A memory's state after one write, and where the write went (`[0]` if nowhere)."""

    state: Any
    weights: Float[Array, " slots"]


class Journal(NamedTuple):
    """How a memory whose writes change one row is gone back through, row by row.

    Cotangents of a state have the state's form, with None for what carries none.

    write: `(params, state, Reading, update [K]) -> (Stored, entry)`, the memory's write
      and what its way back needs of it, `[K]` and not `[L, K]`
    hold: `(state) -> held`, what is restored going back
    restore: `(held, entry) -> held` before the step
    touch: `(held, entry) -> touched`, what the step read
    learned: `(params) -> ` those parameters that reading and writing use
    give: `(params, cotangent of learned) -> ` that of the parameters
    read_again: `(learned, (touched, entry), query [K]) -> Reading` as it was
    write_again: `(learned, (touched, entry), Reading, update [K]) -> Stored` whose
      state is what the step changed. Both are differentiable
    changed: `(cotangent of the state, entry) -> ` that of what the step changed
    before: `(cotangent of the state, cotangent of what changed, (entry, cotangent of
      touched)) -> ` that of the state before the step
    """

    write: Callable[..., tuple[Stored, Any]]
    hold: Callable[[Any], Any]
    restore: Callable[[Any, Any], Any]
    touch: Callable[[Any, Any], Any]
    learned: Callable[[Any], Any]
    give: Callable[[Any, Any], Any]
    read_again: Callable[[Any, Any, jax.Array], Reading]
    write_again: Callable[[Any, Any, Reading, jax.Array], Stored]
    changed: Callable[[Any, Any], Any]
    before: Callable[[Any, Any, Any], Any]


class Memory(NamedTuple):
    """A memory as pure functions of any state; shapes are those of one stream.

    init: `(key) -> params`, what slow learning moves (initial content, scales, rates)
    start: `(params) -> state` before the first step
    read: `(params, state, query [K]) -> Reading` (Eqs. 3, 4)
    write: `(params, state, Reading, update [K]) -> Stored` (Eq. 7)
    measures: `(state, reads [..., L], writes [..., L]) -> {name: number or vector}`,
      its health, for the metrics; leading axes are batch and steps
    slots: L, 0 for a memory without slots
    width: K
    write_many: `(params, state, queries [T, K], updates [T, K]) -> (state, recalled
      [T, K])`, the same as T writes in turn with the gradients of a chunk taken at
      once, where a memory has such a form: `recalled[t]` is what query t reads after
      write t. The state must stand at the border of a chunk; what is recalled is NaN
      if it does not.
    reads: how many weights a reading has, L if every slot has one
    journal: how to go back through it, where a write changes one row
    """

    init: Callable[[jax.Array], Any]
    start: Callable[[Any], Any]
    read: Callable[[Any, Any, jax.Array], Reading]
    write: Callable[[Any, Any, Reading, jax.Array], Stored]
    measures: Callable[[Any, jax.Array, jax.Array], dict[str, jax.Array]]
    slots: int
    width: int
    write_many: Callable[..., tuple[Any, jax.Array]] | None = None
    reads: int = 0
    journal: Journal | None = None
