"""A window of a stream on its way through a neural memory network, and its pass."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import bootstrap, plumbing, predictors
from nmn_jax.feedback import fast as fast_lib
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.feedback.pipeline import Guidance, Layout, Pass
from nmn_jax.feedback.sources import Cue
from nmn_jax.model import Model, ModelParams
from nmn_jax.tasks.base import Loss, StreamBatch
from nmn_jax.types import Inputs, NMNState, PerController, Trace


class StreamDesign(NamedTuple):
    """What a neural memory network on a stream is made of.

    target: what predictors regress on, see `nmn_stream.make_method`
    carry: what survives a cut, see `bootstrap.CARRIES`
    """

    model: Model
    sg: sg_lib.SG
    loss: Loss
    target: str
    carry: str


class Ran(NamedTuple):
    """One window: answers `[T, C]`, the trace, the state it ends in, and by how much
    the fast weights differ from the slow ones there (None without a fast path)."""

    outputs: jax.Array
    trace: Trace
    final: NMNState
    fast: Any


def make_pass(design: StreamDesign, state: Any, batch: StreamBatch) -> Pass:
    """What the pipeline has to know of a window."""
    count = PerController(*([float(len(batch.targets))] * 3))
    layout = Layout(
        _with_episode_axis, _without_episode_axis, count, lambda probes: probes
    )
    true = {"step": functools.partial(_step_cotangents, design, (state, batch))}
    return Pass(
        functools.partial(encode, design, state, batch.inputs),
        functools.partial(_forward, design, state, batch),
        cell_lib.zero_probes(
            design.model.cell, len(batch.targets), batch.targets.dtype
        ),
        layout,
        lambda run: run.trace.outputs,
        functools.partial(_predict, design, batch),
        functools.partial(_replay, design, state),
        batch.targets[None],
        true.get(design.target, lambda features, back: back.cotangents),
    )


def _with_episode_axis(probes: PerController) -> PerController:
    return jax.tree.map(lambda leaf: leaf[None], probes)


def _without_episode_axis(probes: PerController) -> PerController:
    return jax.tree.map(lambda leaf: leaf[0], probes)


def encode(
    design: StreamDesign, state: Any, inputs: jax.Array, encoder: Any
) -> tuple[jax.Array, Any]:
    """Features `[T, D]` of a window in training: one episode without queries."""
    features, stats = design.model.encoder.apply(
        encoder, state.stats, inputs[None], supports=len(inputs), phase="train"
    )
    return features[0], stats


def begin(design: StreamDesign, params: ModelParams, state: Any) -> NMNState:
    """The state a window starts from.

    Gradients: what an earlier window left is a constant; a fresh start is not, so the
    initial memory learns wherever windows begin with it.
    """
    fresh = design.model.cell.initial_state(params.cell)
    return bootstrap.CARRIES[design.carry](fresh, plumbing.stop(state.carried))


def _forward(
    design: StreamDesign, state: Any, batch: StreamBatch, *given: Any
) -> tuple[jax.Array, Ran]:
    """The window's mean loss, with the future's share if asked for; for `(guidance,
    params, features, probes)`."""
    guidance, params, features, probes = given
    ran = _run(design, state, batch, (guidance, params, features, probes))
    loss = jnp.mean(jax.vmap(design.loss)(ran.outputs, batch.targets))
    future = jnp.zeros_like(loss)
    if design.target == "bootstrap":
        predicted = _future(design, state, ran, batch)
        update = ran.trace.outputs.write[-1]
        future = bootstrap.bootstrap(update, predicted) / len(batch.targets)
    # The surrogate changes gradients only; the loss that is reported is the window's.
    return loss + future - plumbing.stop(future), ran


def _run(design: StreamDesign, state: Any, batch: StreamBatch, given: tuple) -> Ran:
    """The window from the carried state, adapting on the way by a fast path if any."""
    guidance, (network, sg_params), features, probes = given
    inputs = _inputs(state, features, batch)
    start = begin(design, network, state)
    change = None
    if design.sg.fast is None:
        final, trace = cell_lib.unroll(
            design.model.cell, network.cell, start, inputs, probes=probes
        )
    else:
        final, trace, change = _run_fast(
            design, state, (guidance, network, sg_params), (start, inputs, probes)
        )
    return Ran(model_lib.decode(design.model, network, trace), trace, final, change)


def _inputs(state: Any, features: jax.Array, batch: StreamBatch) -> Inputs:
    before = model_lib.previous(batch.targets, state.previous)
    return Inputs(features, batch.targets, before)


def _run_fast(
    design: StreamDesign, state: Any, who: tuple, given: tuple
) -> tuple[NMNState, Trace, PerController]:
    """Final state, trace, and what was learned fast."""
    guidance, network, sg_params = who
    start, inputs, probes = given
    path, slow = design.sg.fast, network.cell.controllers
    assert path is not None

    def step_loss(output: jax.Array, target: jax.Array) -> jax.Array:
        return design.loss(design.model.decoder.apply(network.decoder, output), target)

    adaptation = sg_lib.make_adaptation(
        design.sg, design.model.cell, sg_params, control=guidance.control,
        oracle=sg_lib.StepOracle(step_loss, design.sg.scale(state.scale)),
    )  # fmt: skip
    begun = fast_lib.FastWeights(
        fast_lib.apply_delta(path, slow, state.fast), adaptation.source.init()
    )
    cue = Cue(_targets(guidance, inputs.label), guidance.truth)
    final, weights, trace = fast_lib.unroll(
        adaptation, network.cell, start, inputs,
        cue=cue, weights=begun, probes=probes,
    )  # fmt: skip
    return final, trace, fast_lib.delta(path, slow, weights)


def _targets(guidance: Guidance, targets: jax.Array) -> jax.Array:
    return guidance.control.targets(targets[None])[0]


def _predict(
    design: StreamDesign, batch: StreamBatch, learned: PerController, outputs: Any
) -> PerController:
    """ĝ `[1, T, K]` in normalised units at every recorded controller output."""
    predictor = design.sg.predictor
    start = predictors.carries(predictor, design.model.cell.width)
    predicted = predictors.predict(
        predictor, learned, outputs, batch.targets, start=start
    )[1]
    return _with_episode_axis(predicted)


def _future(
    design: StreamDesign, state: Any, ran: Ran, batch: StreamBatch
) -> jax.Array:
    """ĝ `[K]` for the last update of a window, in the units of one example's loss."""
    outputs = plumbing.stop(ran.trace.outputs)
    predicted = _predict(design, batch, state.sg.params.predictors, outputs)
    return predicted.write[0, -1] * design.sg.scale(state.scale).write


def _replay(
    design: StreamDesign, state: Any, run: Ran, controllers: PerController
) -> PerController:
    """Outputs of the controllers alone, on what the window gave them."""
    carries = begin(design, state.network.params, state).carries
    cell = design.model.cell
    return cell_lib.replay(cell, controllers, carries, run.trace.inputs)[1]


def _step_cotangents(
    design: StreamDesign,
    given: tuple[Any, StreamBatch],
    features: jax.Array,
    back: plumbing.Backprop,
) -> PerController:
    """Of every step's own loss alone: the state is a constant between steps."""
    del back
    state, batch = given
    params = state.network.params
    start, inputs = begin(design, params, state), _inputs(state, features, batch)

    def loss(probes: PerController) -> tuple[jax.Array, None]:
        _, trace = cell_lib.unroll(
            design.model.cell, params.cell, start, inputs, probes=probes,
            between=plumbing.stop,
        )  # fmt: skip
        outputs = model_lib.decode(design.model, params, trace)
        return jnp.mean(jax.vmap(design.loss)(outputs, batch.targets)), None

    zeros = cell_lib.zero_probes(design.model.cell, len(features), features.dtype)
    return plumbing.gradient(loss, zeros)[2]
