"""Where the cotangents of the fast path come from: predicted, nothing, or the truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax import synthetic
from nmn_jax.types import Inputs, NMNState, Params, PerController, Trace


class Signal(NamedTuple):
    """Where the cotangents of the fast path come from.

    init: `() -> carries`
    step: `(carries, params, state, inputs, trace, target [C]) -> (carries,
      PerController [K])`, called after the step whose controllers it is to correct
    """

    init: Callable[[], Any]
    step: Callable[..., tuple[Any, PerController]]


def synthetic_signal(
    predictor: synthetic.Predictor,
    params: PerController,
    *,
    width: int,
    order: Callable[[Any], Any],
) -> Signal:
    """ĝ_c = SG_c(h_c, y): the paper's signal.

    ĝ stays in the predictors' normalised units (targets are divided by their running
    scale), so a fast step does not shrink with the loss; the learned rates absorb it.

    Gradients: `order` is `gradients.stop` where h is to be a constant for the
    predictor.
    """

    def step(
        carries: PerController,
        cell_params: Params,
        state: NMNState,
        inputs: Inputs,
        trace: Trace,
        target: jax.Array,
    ) -> tuple[PerController, PerController]:
        del cell_params, state, inputs
        results = [
            predictor.step(p, c, h, target)
            for p, c, h in zip(params, carries, order(trace.outputs), strict=True)
        ]
        return PerController(*(r[0] for r in results)), PerController(
            *(r[1] for r in results)
        )

    return Signal(lambda: synthetic.carries(predictor, width), step)


def zero_signal() -> Signal:
    """The control that says nothing: ĝ = 0."""

    def step(
        carries: tuple,
        cell_params: Params,
        state: NMNState,
        inputs: Inputs,
        trace: Trace,
        target: jax.Array,
    ) -> tuple[tuple, PerController]:
        del cell_params, state, inputs, target
        return carries, jax.tree.map(jnp.zeros_like, trace.outputs)

    return Signal(lambda: (), step)


def oracle_signal(
    cell: cell_lib.Cell, step_loss: Callable[[jax.Array, jax.Array], jax.Array]
) -> Signal:
    """The true gradient of the step's own loss at every controller output.

    Args:
      step_loss: `(output [K], target [C]) -> []`, the decoder's loss of this step.

    The write controller's is exactly zero: its update matters only from the next step
    on.
    """

    def step(
        carries: tuple,
        cell_params: Params,
        state: NMNState,
        inputs: Inputs,
        trace: Trace,
        target: jax.Array,
    ) -> tuple[tuple, PerController]:
        def loss(taps: PerController) -> jax.Array:
            _, tapped = cell.step(cell_params, state, inputs, taps)
            return step_loss(tapped.outputs.output, target)

        return carries, jax.grad(loss)(jax.tree.map(jnp.zeros_like, trace.outputs))

    return Signal(lambda: (), step)
