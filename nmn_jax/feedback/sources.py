"""Where the cotangents of the fast path come from: predicted, nothing, or the truth."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import plumbing, predictors
from nmn_jax.types import CONTROLLERS, Inputs, NMNState, PerController, Trace


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
    each: of every controller `(carry, output [K], Cue) -> (carry, cotangent [K])`,
      where what a controller hears depends on its own output alone; None where not
    """

    init: Callable[[], Any]
    step: Callable[[Any, Seen], tuple[Any, PerController]]
    each: PerController | None = None


def _from_outputs(init: Callable[[], Any], each: PerController) -> CotangentSource:
    """A source that asks controller by controller."""

    def step(carries: PerController, seen: Seen) -> tuple[PerController, PerController]:
        told = [
            hear(carry, output, seen.cue)
            for hear, carry, output in zip(
                each, carries, seen.trace.outputs, strict=True
            )
        ]
        after, cotangents = zip(*told, strict=True)
        return PerController(*after), PerController(*cotangents)

    return CotangentSource(init, step, each)


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

    def hear(params: Any, carry: Any, output: jax.Array, cue: Cue) -> tuple:
        return predictor.step(params, carry, order(output), cue.target)

    return _from_outputs(
        lambda: predictors.carries(predictor, width),
        PerController(*(functools.partial(hear, each) for each in params)),
    )


def _without_memory(find: Callable[[str, jax.Array, Cue], jax.Array]) -> Any:
    """A source without carries, `(controller, output [K], Cue) -> cotangent [K]`."""

    def hear(name: str, carry: tuple, output: jax.Array, cue: Cue) -> tuple:
        return carry, find(name, output, cue)

    return _from_outputs(
        lambda: PerController((), (), ()),
        PerController(*(functools.partial(hear, each) for each in CONTROLLERS)),
    )


def zero_source() -> CotangentSource:
    """The control that says nothing: ĝ = 0."""
    return _without_memory(lambda name, output, cue: jnp.zeros_like(output))


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

    return CotangentSource(lambda: (), lambda carries, seen: (carries, find(seen)))


def truth_source() -> CotangentSource:
    """The cotangent that was found beforehand: `Cue.truth` of the step.

    Raises:
      ValueError: when a step is told no truth.
    """

    def find(name: str, output: jax.Array, cue: Cue) -> jax.Array:
        if cue.truth is None:
            raise ValueError("the source of true cotangents was told none")
        return getattr(cue.truth, name)

    return _without_memory(find)
