"""Where the two speeds of learning meet: one pure step with two optimisers (Fig. 3).

The step is written out as the composition it is: encode, one vjp for loss, gradients
and true cotangents, predict synthetic cotangents, pull them back into the controllers,
combine, and let optax move network and predictors, each with its own optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax import diagnostics, gradients, losses, synthetic
from nmn_jax import feedback as feedback_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import Batch, Feedback, Regression, SyntheticParams
from nmn_jax.model import Model, ModelParams
from nmn_jax.types import PerController, Stages


class TrainState(NamedTuple):
    """Parameters and their optimiser's state."""

    params: Any
    opt_state: optax.OptState


class LearnerState(NamedTuple):
    """Everything that changes from step to step."""

    network: TrainState
    synthetic: TrainState
    stats: Any  # the encoder's running statistics, if it keeps any
    scale: synthetic.Scale
    step: jax.Array  # []


class Learner(NamedTuple):
    """init: `(key) -> LearnerState`; step: `(state, batch) -> (state, metrics)`;
    predict: `(state, batch) -> EpisodeRun` of a batch, nothing changed."""

    init: Callable[[jax.Array], LearnerState]
    step: Callable[[LearnerState, Batch], tuple[LearnerState, dict[str, jax.Array]]]
    predict: Callable[[LearnerState, Batch], model_lib.EpisodeRun]


def make_learner(
    model: Model,
    feedback: Feedback,
    optimizer: optax.GradientTransformation,
    predictor_optimizer: optax.GradientTransformation,
) -> Learner:
    """Two speeds of learning as one pure step.

    Raises:
      ValueError: for an unknown `train` or `rule`.
    """
    feedback_lib.check(feedback)

    def init(key: jax.Array) -> LearnerState:
        network_key, predictor_key = jax.random.split(key)
        params, stats = model_lib.init(model, network_key)
        fed = feedback_lib.init(
            feedback, predictor_key, params.cell.controllers,
            width=model.cell.width, classes=model.classes,
        )  # fmt: skip
        return LearnerState(
            TrainState(params, optimizer.init(params)),
            TrainState(fed, predictor_optimizer.init(fed)),
            stats, synthetic.init_scale(), jnp.zeros((), jnp.int32),
        )  # fmt: skip

    def step(state: LearnerState, batch: Batch) -> tuple[LearnerState, dict]:
        both = two_speeds(model, feedback, state, batch, phase="train")
        metrics = _metrics(both.back, both.regression, batch)
        return LearnerState(
            apply(optimizer, state.network, both.network),
            apply(predictor_optimizer, state.synthetic, both.synthetic),
            both.stats, both.regression.scale, state.step + 1,
        ), metrics  # fmt: skip

    def answer(state: LearnerState, batch: Batch) -> model_lib.EpisodeRun:
        return predict(model, feedback, state, batch)

    return Learner(init, step, answer)


class Gradients(NamedTuple):
    """The gradients of one step, and what they were made from."""

    network: ModelParams
    synthetic: SyntheticParams
    stats: Any
    back: gradients.Backprop
    regression: Regression


def two_speeds(
    model: Model, feedback: Feedback, state: LearnerState, batch: Batch, *, phase: str
) -> Gradients:
    """Slow and fast gradients of one batch, composed by hand (Eqs. 10, 11).

    Encode; one vjp of the mean query loss for gradients and true cotangents; regress
    the predictors on them; pull what the rule wants back into the controllers.
    """
    features, pull_encoder, stats = _encode(model, state, batch, phase)
    back = _backprop(model, feedback, state, features, batch)
    regression = _regress(model, feedback, state, back, batch)
    controllers = _inject(model, feedback, state, back, regression)
    encoder = pull_encoder(back.features)[0]
    return assemble(feedback, back, regression, encoder, controllers, stats)


def assemble(
    feedback: Feedback,
    back: gradients.Backprop,
    regression: Regression,
    encoder: Any,
    controllers: PerController,
    stats: Any,
) -> Gradients:
    """Every parameter's gradient from the path that is to move it."""
    network, fed = back.params
    cell = network.cell._replace(controllers=controllers)
    network = ModelParams(encoder, cell, network.decoder)
    learned = feedback_lib.predictor_gradient(feedback, fed, regression)
    fed = fed._replace(predictors=learned)
    return Gradients(network, fed, stats, back, regression)


def predict(
    model: Model, feedback: Feedback, state: LearnerState, batch: Batch
) -> model_lib.EpisodeRun:
    """Answer the queries of a batch of episodes; nothing changes."""
    features, _, _ = _encode(model, state, batch, "test")
    params, fed = state.network.params, state.synthetic.params
    taps = feedback_lib.batch_taps(model, batch)
    return feedback_lib.run_batch(model, feedback, params, fed, features, batch, taps)


def _encode(model: Model, state: LearnerState, batch: Batch, phase: str) -> tuple:
    """Features of all images, their pull-back into the encoder, and its statistics."""

    def encode(encoder: Any) -> tuple:
        return model.encoder.apply(
            encoder, state.stats, batch.images,
            supports=batch.support.shape[1], phase=phase,
        )  # fmt: skip

    return jax.vjp(encode, state.network.params.encoder, has_aux=True)


def _backprop(
    model: Model, feedback: Feedback, state: LearnerState, features: Any, batch: Batch
) -> gradients.Backprop:
    """Slow learning: mean query loss of the batch, its gradients and cotangents."""

    def forward(params: tuple, features: Any, taps: Stages) -> tuple:
        network, fed = params
        run = feedback_lib.run_batch(
            model, feedback, network, fed, features, batch, taps
        )
        return jnp.mean(losses.cross_entropy(run.logits, batch.query)), run

    params = (state.network.params, state.synthetic.params)
    return gradients.backprop(
        forward, params, features, feedback_lib.batch_taps(model, batch)
    )


def _regress(
    model: Model, feedback: Feedback, state: LearnerState, back: Any, batch: Batch
) -> Regression:
    """Predictors against the true cotangents of one query's loss (Eq. 11)."""
    run = back.aux
    count = batch.query.shape[0] * batch.query.shape[1]
    true = jax.tree.map(lambda g: g * count, feedback_lib.joined(back.cotangents))
    outputs = gradients.stop(Stages(run.support.trace.outputs, run.query.outputs))

    def predict(predictors: PerController) -> PerController:
        return feedback_lib.predict_cotangents(
            model, feedback, predictors, outputs, batch
        )

    predictors = state.synthetic.params.predictors
    return feedback_lib.regress(feedback, predictors, predict, true, state.scale)


def _inject(
    model: Model,
    feedback: Feedback,
    state: LearnerState,
    back: Any,
    regression: Regression,
) -> PerController:
    """Fast feedback into the slow weights: controller gradients by the chosen rule."""
    run, true = back.aux, back.params[0].cell.controllers
    if feedback.rule == "backprop":
        return true
    count = regression.true.input.shape[0] * run.logits.shape[1]
    heard = feedback.control.cotangents(regression.predicted, regression.true)
    cotangents = feedback_lib.parted(
        jax.tree.map(lambda g: g / count, heard), back.cotangents
    )

    def replay(controllers: PerController) -> Stages:
        return jax.vmap(
            lambda support, query: model_lib.replay_episode(model, support, query)(
                controllers
            )
        )(run.support.trace, run.query)

    # One pull-back of the whole batch: pulled back episode by episode, every step
    # would add to one gradient per episode, which costs more than the rest.
    slow = state.network.params.cell.controllers
    synthetic_grads = gradients.pull_controllers(replay, slow, cotangents)
    return feedback_lib.blend(feedback, state.step, true, synthetic_grads)


def apply(
    optimizer: optax.GradientTransformation, state: TrainState, grads: Any
) -> TrainState:
    """One step of an optimiser."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    return TrainState(optax.apply_updates(state.params, updates), opt_state)


def _metrics(back: Any, regression: Regression, batch: Batch) -> dict[str, jax.Array]:
    run = back.aux
    return {
        "loss": back.loss,
        "accuracy": jnp.mean(losses.accuracy(run.logits, batch.query)),
        "sg/loss": regression.loss,
        **diagnostics.synthetic_quality(regression.predicted, regression.true),
        **diagnostics.memory_health(
            run.support.state.memory, run.query.weights, run.support.trace.writes
        ),
    }
