"""Gradients of one window of a stream; `stream` puts them together."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax import fast as fast_lib
from nmn_jax import feedback as feedback_lib
from nmn_jax import gradients, losses, synthetic
from nmn_jax.feedback import Feedback, Regression
from nmn_jax.learner import Gradients, TrainState, assemble
from nmn_jax.model import Model, ModelParams
from nmn_jax.types import Inputs, NMNState, PerController, Trace


class Window(NamedTuple):
    """T consecutive examples: images `[T, H, W]` and one-hot labels `[T, C]`."""

    images: jax.Array
    labels: jax.Array


class StreamState(NamedTuple):
    """Everything that changes from window to window."""

    network: TrainState
    synthetic: TrainState
    stats: Any
    scale: synthetic.Scale
    carried: NMNState
    previous: jax.Array  # [C], the last label seen
    fast: Any  # what the fast path learned and kept, PerController; None without one
    step: jax.Array  # []


class Ran(NamedTuple):
    """One window: logits `[T, C]`, the trace, the state it ends in, and by how much
    the fast weights differ from the slow ones there (None without a fast path)."""

    logits: jax.Array
    trace: Trace
    final: NMNState
    fast: Any


def two_speeds(
    model: Model, feedback: Feedback, state: StreamState, window: Window, target: str
) -> Gradients:
    """Slow and fast gradients of one window; `learner.two_speeds` for a stream."""
    features, pull_encoder, stats = encode(model, state, window.images, "train")
    back = backprop(model, feedback, state, features, window, target)
    regression = regress(model, feedback, state, features, back, window, target)
    controllers = inject(model, feedback, state, back, regression)
    encoder = pull_encoder(back.features)[0]
    return assemble(feedback, back, regression, encoder, controllers, stats)


def encode(model: Model, state: StreamState, images: jax.Array, phase: str) -> tuple:
    """Features `[T, D]` of a window, seen as one episode without queries."""

    def encode(encoder: Any) -> tuple:
        features, stats = model.encoder.apply(
            encoder, state.stats, images[None], supports=len(images), phase=phase
        )
        return features[0], stats

    return jax.vjp(encode, state.network.params.encoder, has_aux=True)


def _run(
    model: Model,
    feedback: Feedback,
    state: StreamState,
    params: ModelParams,
    fed: feedback_lib.SyntheticParams,
    features: jax.Array,
    labels: jax.Array,
    taps: PerController,
) -> Ran:
    """The window from the carried state, adapting on the way by a fast path if any."""
    previous = jnp.concatenate([state.previous[None], labels[:-1]])
    inputs = Inputs(features, labels, previous)
    path, learned = feedback.fast, None
    if path is None:
        final, trace = cell_lib.unroll(
            model.cell, params.cell, state.carried, inputs, taps=taps
        )
    else:
        signal = feedback_lib.make_signal(model, feedback, path, params, fed)
        slow = params.cell.controllers
        begun = fast_lib.FastWeights(
            fast_lib.shifted(path, slow, state.fast), signal.init()
        )
        final, weights, trace = fast_lib.unroll(
            path, model.cell, params.cell, fed.rates, signal, state.carried, inputs,
            feedback.control.labels(labels), weights=begun, taps=taps,
        )  # fmt: skip
        learned = fast_lib.learned(path, slow, weights)
    logits = model.decoder.apply(params.decoder, trace.outputs.output)
    return Ran(logits, trace, final, learned)


def backprop(
    model: Model,
    feedback: Feedback,
    state: StreamState,
    features: jax.Array,
    window: Window,
    target: str,
) -> gradients.Backprop:
    """Slow learning: the window's mean loss, with the future's share if asked for."""
    count = len(window.labels)

    def forward(params: tuple, features: jax.Array, taps: PerController) -> tuple:
        network, fed = params
        ran = _run(model, feedback, state, network, fed, features, window.labels, taps)
        loss = jnp.mean(losses.cross_entropy(ran.logits, window.labels))
        future = jnp.zeros_like(loss)
        if target == "bootstrap":
            guessed = _guess(feedback, state, ran.trace.outputs, window.labels)
            future = gradients.bootstrap(ran.trace.outputs.write[-1], guessed) / count
        # The surrogate changes gradients only; the loss that is reported is the
        # window's.
        return loss + future - gradients.stop(future), ran

    params = (state.network.params, state.synthetic.params)
    taps = cell_lib.zero_taps(model.cell, count, features.dtype)
    return gradients.backprop(forward, params, features, taps)


def _predict(
    feedback: Feedback, predictors: PerController, outputs: PerController, labels: Any
) -> PerController:
    start = synthetic.carries(feedback.predictor, outputs.input.shape[-1])
    return synthetic.predict(feedback.predictor, predictors, start, outputs, labels)[1]


def _guess(
    feedback: Feedback, state: StreamState, outputs: PerController, labels: jax.Array
) -> jax.Array:
    """ĝ `[K]` for the last update of a window, in the units of one example's loss."""
    outputs = gradients.stop(outputs)
    guessed = _predict(feedback, state.synthetic.params.predictors, outputs, labels)
    return guessed.write[-1] * feedback.scale(state.scale).write


def regress(
    model: Model,
    feedback: Feedback,
    state: StreamState,
    features: jax.Array,
    back: gradients.Backprop,
    window: Window,
    target: str,
) -> Regression:
    """Predictors against the true cotangents, of the loss of one example."""
    true = back.cotangents
    if target == "step":
        true = _step_cotangents(model, state, features, window)
    true = jax.tree.map(lambda g: g * len(window.labels), true)
    outputs = gradients.stop(back.aux.trace.outputs)

    def predict(predictors: PerController) -> PerController:
        return _predict(feedback, predictors, outputs, window.labels)

    predictors = state.synthetic.params.predictors
    return feedback_lib.regress(feedback, predictors, predict, true, state.scale)


def _step_cotangents(
    model: Model, state: StreamState, features: jax.Array, window: Window
) -> PerController:
    """Of every step's own loss alone: the state is a constant between steps."""
    params = state.network.params
    previous = jnp.concatenate([state.previous[None], window.labels[:-1]])
    inputs = Inputs(features, window.labels, previous)

    def loss(taps: PerController) -> jax.Array:
        _, trace = cell_lib.unroll(
            model.cell, params.cell, state.carried, inputs, taps=taps,
            between=gradients.stop,
        )  # fmt: skip
        logits = model.decoder.apply(params.decoder, trace.outputs.output)
        return jnp.mean(losses.cross_entropy(logits, window.labels))

    return jax.grad(loss)(
        cell_lib.zero_taps(model.cell, len(window.labels), features.dtype)
    )


def inject(
    model: Model,
    feedback: Feedback,
    state: StreamState,
    back: gradients.Backprop,
    regression: Regression,
) -> PerController:
    """Fast feedback into the slow weights: controller gradients by the chosen rule."""
    true = back.params[0].cell.controllers
    if feedback.rule == "backprop":
        return true
    heard = feedback.control.cotangents(regression.predicted, regression.true)
    count = len(back.aux.logits)

    def replay(controllers: PerController) -> PerController:
        carries, inputs = state.carried.carries, back.aux.trace.inputs
        return cell_lib.replay(model.cell, controllers, carries, inputs)[1]

    pulled = gradients.pull_controllers(
        replay,
        state.network.params.cell.controllers,
        jax.tree.map(lambda g: g / count, heard),
    )
    return feedback_lib.blend(feedback, state.step, true, pulled)
