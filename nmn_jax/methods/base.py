"""The contract every learner answers; no task in it.

Training loop, checkpoints, results, tables and plots know nothing else of a method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

# Evidence of methods that answer before they are told: what was said of every support
# `[B, S, C]` when the labels of those before it were known, and its own was not.
SUPPORT_OUTPUTS = "support_outputs"


class Answer(NamedTuple):
    """What a method says: outputs `[B, Q, C]` (`[N, C]` on a stream, `[N, H, C]` of a
    forecast) and how it came to them, as named arrays for pictures
    (`support_weights`, `query_weights`, …)."""

    output: jax.Array
    evidence: dict[str, jax.Array]


class Method(NamedTuple):
    """Who answers: pure functions on any state that is a pytree with a field `step`.

    init: `(key) -> State`; no two leaves share a buffer, so it may be donated, and no
      leaf has a weak type, so that a step compiles once
    step: `(State, Batch) -> (State, metrics)`, metrics scalars or vectors by name, with
      `loss` and every score of the task among them; it advances `state.step` by one
    predict: `(State, Context, queries) -> Answer` for episodes, `(State, inputs) ->
      Answer` for a stream or a forecast; nothing changes
    slim: `(State) -> State`, only what `predict` needs; idempotent
    adapt: `(State, Context, steps) -> State`, that many gradient steps on one episode's
      context (B = 1; map over episodes with the state shared), or on all sequences of a
      `ForecastBatch`; None where that is left to `step`, or cannot be
    columns: how tables name it, `{column: entry}`
    transductive: whether an answer may depend on the other queries
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]
    predict: Callable[..., Answer]
    slim: Callable[[Any], Any]
    adapt: Callable[[Any, Any, int], Any] | None
    columns: dict[str, str]
    transductive: bool = False


def _unchanged(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    del ways, shots
    return {}


class Entry(NamedTuple):
    """One line of the table of methods.

    make: `(settings, task, *, steps) -> Method`, `steps` the length of training
    form: which tasks it is for, `episodes`, `stream` or `forecast`
    uses: settings that have an effect on it, as `record` or `record.field`, e.g.
      `("model", "sg", "optim")`; `-record.field` takes one out of its record, e.g.
      `-model.presentations`. Giving any other is an error
    published: `(ways, shots) -> {record: {field: value}}`, what the method's own paper
      changes in a preset
    """

    make: Callable[..., Method]
    form: str
    uses: tuple[str, ...]
    published: Callable[[int, int], dict[str, dict[str, Any]]] = _unchanged
