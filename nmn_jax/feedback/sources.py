"""Where the cotangents of the fast path come from: predicted, nothing, or the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import plumbing, predictors
from nmn_jax.types import Inputs, NMNState, PerController, Trace


class Cue(NamedTuple):
    """What a source is told of a step (with a leading axis, of a stream of steps).

    target: `[C]`, the label as synthetic gradients see it
    truth: the true cotangent of the query loss at every controller output, `[K]` each,
      in the units of predictions, for the oracle that has it; else None
    """

    target: jax.Array
    truth: PerController | None = None


class Seen(NamedTuple):
    """The step that is to be corrected: its parameters, the state it started from, what
    it was given, what happened, and what the source is told."""

    params: cell_lib.CellParams
    state: NMNState
    inputs: Inputs
    trace: Trace
    cue: Cue


class CotangentSource(NamedTuple):
    """Where the cotangents of the fast path come from.

    init: `() -> carries`
    step: `(carries, Seen) -> (carries, PerController [K])`
    """

    init: Callable[[], Any]
    step: Callable[[Any, Seen], tuple[Any, PerController]]


def predicted_source(
    predictor: predictors.Predictor,
    params: PerController,
    *,
    width: int,
    order: Callable[[Any], Any],
) -> CotangentSource:
    """ĝ_c = SG_c(h_c, y): the paper's source.

    ĝ stays in the predictors' normalised units (targets are divided by their running
    scale), so a fast step does not shrink with the loss; the learned rates absorb it.

    Gradients: `order` is `plumbing.stop` where h is to be a constant for the
    predictor.
    """

    def step(carries: PerController, seen: Seen) -> tuple[PerController, PerController]:
        results = [
            predictor.step(p, c, h, seen.cue.target)
            for p, c, h in zip(params, carries, order(seen.trace.outputs), strict=True)
        ]
        return PerController(*(r[0] for r in results)), PerController(
            *(r[1] for r in results)
        )

    return CotangentSource(lambda: predictors.carries(predictor, width), step)


def _stateless(find: Callable[[Seen], PerController]) -> CotangentSource:
    return CotangentSource(lambda: (), lambda carries, seen: (carries, find(seen)))


def zero_source() -> CotangentSource:
    """The control that says nothing: ĝ = 0."""
    return _stateless(lambda seen: jax.tree.map(jnp.zeros_like, seen.trace.outputs))


def step_oracle_source(
    cell: cell_lib.Cell,
    step_loss: Callable[[jax.Array, jax.Array], jax.Array],
    units: PerController,
) -> CotangentSource:
    """The true gradient of the step's own loss at every controller output.

    Args:
      step_loss: `(output [K], target [C]) -> []`, the loss of this step's answer.
      units: what predictions are divided by, so that the oracle speaks in their units.

    The write controller's is exactly zero: its update matters only from the next step
    on.
    """

    def find(seen: Seen) -> PerController:
        def loss(probes: PerController) -> tuple[jax.Array, None]:
            _, probed = cell.step(seen.params, seen.state, seen.inputs, probes)
            return step_loss(probed.outputs.output, seen.cue.target), None

        zeros = jax.tree.map(jnp.zeros_like, seen.trace.outputs)
        return jax.tree.map(jnp.divide, plumbing.gradient(loss, zeros)[2], units)

    return _stateless(find)


def truth_source() -> CotangentSource:
    """The cotangent that was found beforehand: `Cue.truth` of the step.

    Raises:
      ValueError: when a step is told no truth.
    """

    def find(seen: Seen) -> PerController:
        if seen.cue.truth is None:
            raise ValueError("the source of true cotangents was told none")
        return seen.cue.truth

    return _stateless(find)
