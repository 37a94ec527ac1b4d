"""What the pipeline has to know of a window of B streams."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import bootstrap, carried, plumbing, predictors
from nmn_jax.feedback import fast as fast_lib
from nmn_jax.feedback import future as future_lib
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.feedback.future import Cut, FutureState
from nmn_jax.feedback.pipeline import Layout, Pass
from nmn_jax.feedback.sources import Cue
from nmn_jax.methods import stream_window, streams
from nmn_jax.methods.stream_window import Encoded, StreamDesign, begin, encode
from nmn_jax.methods.streams import Beyond
from nmn_jax.tasks.base import StreamBatch
from nmn_jax.types import Inputs, NMNState, PerController, Trace


class Ran(NamedTuple):
    """One window: answers `[B, T, C]`, the trace, the states it ends in, by how much
    the fast weights differ from the slow ones there (None without a fast path), and
    what it was told of its future (None unless that is predicted)."""

    outputs: jax.Array
    trace: Trace
    final: NMNState
    fast: Any
    beyond: Beyond | None = None


def make_pass(design: StreamDesign, state: Any, batch: StreamBatch) -> Pass:
    """What the pipeline has to know of a window."""
    count = PerController(*([float(batch.targets[..., 0].size)] * 3))
    layout = Layout(plumbing.through, plumbing.through, count, plumbing.through)
    true = {"step": functools.partial(_step_cotangents, design, (state, batch))}
    return Pass(
        functools.partial(encode, design, state, batch.inputs),
        functools.partial(_forward, design, state, batch),
        stream_window.blank(design, batch),
        layout,
        lambda run: run.trace.outputs,
        functools.partial(_predict, design, batch),
        functools.partial(_replay, design),
        batch.targets,
        true.get(design.target, lambda encoded, back: back.cotangents),
    )


def _forward(
    design: StreamDesign, state: Any, batch: StreamBatch, *given: Any
) -> tuple[jax.Array, Ran]:
    """The window's mean loss, with the future's share if asked for; for `(guidance,
    params, Encoded, probes)`."""
    guidance, params, encoded, probes = given
    cursor = streams.enter(state.cursor, encoded.entry)
    inputs = stream_window.inputs_of(cursor, encoded.features, batch)
    start = begin(design, params[0], cursor)
    ran = _run(design, state, (guidance, *params), (start, inputs, probes))
    loss = jnp.mean(streams.losses(design.loss, ran.outputs, batch))
    future, ran = _share(design, state, batch, ran)
    future = future / batch.targets[..., 0].size
    # The surrogate changes gradients only; the loss that is reported is the window's.
    return loss + future - plumbing.stop(future), ran


def _share(
    design: StreamDesign, state: Any, batch: StreamBatch, ran: Ran
) -> tuple[jax.Array, Ran]:
    """The surrogate of the future's loss, and the window with what it was told."""
    if design.target == "bootstrap_update":
        update = ran.trace.outputs.write[:, -1]
        return bootstrap.bootstrap(update, _future(design, state, ran, batch)), ran
    if design.future is None:
        return jnp.zeros(()), ran
    trace = plumbing.stop(ran.trace)
    learner: FutureState = state.future
    before = streams.restarted(learner.history, state.starts)
    history = jax.vmap(carried.follow)(before, trace.weights, trace.writes)
    cut = Cut(plumbing.stop(ran.final), history, batch.ends)
    at = streams.onward(ran.final, batch)
    run = stream_window.make_run(design, state)
    told = streams.told_beyond(design.future, learner, cut, (run, at, batch))
    return future_lib.surrogate(told.injected, at.state), ran._replace(beyond=told)


def _run(design: StreamDesign, state: Any, who: tuple, given: tuple) -> Ran:
    """The window, adapting on the way by a fast path if any."""
    guidance, network, _ = who
    change = None
    if design.sg.fast is None:
        final, trace = stream_window.unroll(design, network.cell, given)
    else:
        labels = guidance.control.targets(given[1].label)

        def one(fast: Any, cue: Cue, *given: Any) -> tuple:
            return _run_fast(design, (state.scale, fast), who, (cue, *given))

        cue = Cue(labels, guidance.truth)
        final, change, trace = jax.vmap(one)(state.fast, cue, *given)
    return Ran(stream_window.decode(design, network, trace), trace, final, change)


def _run_fast(
    design: StreamDesign, learned: tuple, who: tuple, given: tuple
) -> tuple[NMNState, PerController, Trace]:
    """Of one stream: final state, what was learned fast, and the trace."""
    guidance, network, sg_params = who
    cue, start, inputs, probes = given
    scale, before = learned

    def step_loss(output: jax.Array, target: jax.Array) -> jax.Array:
        return design.loss(design.model.decoder.apply(network.decoder, output), target)

    adaptation = sg_lib.make_adaptation(
        design.sg, design.model.cell, sg_params, control=guidance.control,
        oracle=sg_lib.StepOracle(step_loss, design.sg.scale(scale)),
    )  # fmt: skip
    begun = start, before
    return fast_lib.resume(
        adaptation, network.cell, begun, inputs, cue=cue, probes=probes
    )


def _predict(
    design: StreamDesign, batch: StreamBatch, learned: PerController, outputs: Any
) -> PerController:
    """ĝ `[B, T, K]` in normalised units at every recorded controller output."""
    predictor = design.sg.predictor
    return predictors.predict_each(predictor, learned, outputs, batch.targets)


def _future(
    design: StreamDesign, state: Any, ran: Ran, batch: StreamBatch
) -> jax.Array:
    """ĝ `[B, K]` for the last update of a window, in the units of one step's loss."""
    outputs = plumbing.stop(ran.trace.outputs)
    predicted = _predict(design, batch, state.sg.params.predictors, outputs)
    return predicted.write[:, -1] * design.sg.scale(state.scale).write


def _replay(
    design: StreamDesign, run: Ran, controllers: PerController
) -> PerController:
    """Outputs of the controllers alone, on what the window gave them."""
    return cell_lib.replay(design.model.cell, controllers, run.trace)[1]


def _step_cotangents(
    design: StreamDesign,
    given: tuple[Any, StreamBatch],
    encoded: Encoded,
    back: plumbing.Backprop,
) -> PerController:
    """Of every step's own loss alone: the state is a constant between steps."""
    del back
    state, batch = given
    params, cursor = state.network.params, plumbing.stop(state.cursor)
    start = begin(design, params, cursor)
    inputs: Inputs = stream_window.inputs_of(cursor, encoded.features, batch)

    def loss(probes: PerController) -> tuple[jax.Array, None]:
        trace = stream_window.unroll(
            design, params.cell, (start, inputs, probes), between=plumbing.stop
        )[1]
        outputs = stream_window.decode(design, params, trace)
        return jnp.mean(streams.losses(design.loss, outputs, batch)), None

    return plumbing.gradient(loss, stream_window.blank(design, batch))[2]
