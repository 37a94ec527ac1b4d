"""What is asked, and how an answer is judged; no method in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Num

Loss = Callable[[jax.Array, jax.Array], jax.Array]
Score = Callable[[jax.Array, jax.Array], dict[str, jax.Array]]


class Context(NamedTuple):
    """What may be learned from: B episodes of S examples with their targets.

    Inputs are numbers of any shape, targets vectors (one-hot for classes).
    """

    inputs: Num[Array, "episodes supports *input"]
    targets: Float[Array, "episodes supports targets"]


class Batch(NamedTuple):
    """B episodes: a context, queries `[B, Q, ...]`, and what is right `[B, Q, C]`.

    A method's `predict` is given the context and the queries, never the answers.
    """

    context: Context
    queries: Num[Array, "episodes queries *input"]
    answers: Float[Array, "episodes queries targets"]


class StreamBatch(NamedTuple):
    """T consecutive examples of one stream, or, with an axis in front, of B streams.

    ends: whether a sequence ends with the window, so that the next starts from a fresh
      state; None is never
    beyond: windows that are still to come, stacked `[H, ...]`; the oracle that controls
      predictors of the future looks at them, and nothing else does
    """

    inputs: Num[Array, "*streams steps ..."]
    targets: Float[Array, "*streams steps targets"]
    ends: Bool[Array, "*streams"] | None = None
    beyond: Any = None


class ForecastBatch(NamedTuple):
    """B sequences, each of which was seen for T steps, and the H steps that follow.

    A method's `predict` is given the inputs, never the targets.
    """

    inputs: Float[Array, "sequences steps targets"]
    targets: Float[Array, "sequences horizon targets"]


class Spec(NamedTuple):
    """Shapes and kind of a task: all that a method is made from besides its settings.

    form: `episodes` are stored and asked about; a `stream` goes on; a `forecast` is
      asked how sequences, each for itself, go on
    kind: `classification` has one-hot targets; those of a `sequence` say themselves
      which steps count
    input_shape: of one example, e.g. `(28, 28)`; of a forecast `(T, C)`
    targets: C, width of a target (the number of ways, for classes)
    window: T of a stream; 0 where every window may have another
    streams: B of streams that go side by side, all of which one step learns from; 0 is
      one stream, whose windows have no such axis
    horizon: H, steps that a forecast is asked for
    """

    form: Literal["episodes", "stream", "forecast"]
    kind: Literal["classification", "regression", "sequence"]
    input_shape: tuple[int, ...]
    targets: int
    window: int = 0
    streams: int = 0
    horizon: int = 1


class Task(NamedTuple):
    """What is asked.

    spec: shapes and kind
    sample: `(key, step [], source) -> Batch` (or StreamBatch, ForecastBatch), jittable.
      `source` is the data as arrays on the device: an argument and no part of the
      program, so that runs of one shape share what was compiled. The same key and step
      give the same batch, other steps others.
    loss: `(output [C], target [C]) -> []`, what slow learning descends
    score: `(output [C], target [C]) -> {name: []}`, what is reported
    shapes: where batches are of several shapes, a `sample` of each, of which every step
      draws one (`sample` is the first of them); all are of one number of episodes
    """

    spec: Spec
    sample: Callable[[jax.Array, jax.Array, Any], Any]
    loss: Loss
    score: Score
    shapes: tuple[Callable[[jax.Array, jax.Array, Any], Any], ...] = ()
