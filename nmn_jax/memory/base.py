"""What the cell asks of a memory; any state, written by any rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float


class Reading(NamedTuple):
    """What was asked and what came back; `weights` is `[0]` for a memory without slots.

    A write is given the reading of its step, so a rule may write where it was read, or
    under the key that was asked for.
    """

    query: Float[Array, " width"]
    recalled: Float[Array, " width"]
    weights: Float[Array, " slots"]


class Stored(NamedTuple):
    """A memory's state after one write, and where the write went (`[0]` if nowhere)."""

    state: Any
    weights: Float[Array, " slots"]


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
    """

    init: Callable[[jax.Array], Any]
    start: Callable[[Any], Any]
    read: Callable[[Any, Any, jax.Array], Reading]
    write: Callable[[Any, Any, Reading, jax.Array], Stored]
    measures: Callable[[Any, jax.Array, jax.Array], dict[str, jax.Array]]
    slots: int
    width: int
    write_many: Callable[..., tuple[Any, jax.Array]] | None = None
