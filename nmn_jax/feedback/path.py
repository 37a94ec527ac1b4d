"""The second feedback path of a batch of episodes: who speaks, and who is heard.

`Feedback` records every choice; `CONTROLS` are the four controls that decide whether an
effect of synthetic gradients is real.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import fast as fast_lib
from nmn_jax import gradients, signals, synthetic
from nmn_jax import model as model_lib
from nmn_jax.model import Model, ModelParams
from nmn_jax.types import PerController, Stages


class SyntheticParams(NamedTuple):
    """What the second feedback path learns."""

    predictors: PerController
    rates: Any  # log α of the fast path, PerController, or None


class Control(NamedTuple):
    """What is done to the synthetic gradients on their way; see `CONTROLS`.

    signal: `(model, decoder params, synthetic Signal) -> Signal` of the fast path
    labels: support labels `[B, S, C]` as the signal sees them
    cotangents: `(synthetic, true) -> injected`, trees of `[B, T, K]`
    """

    signal: Callable[..., signals.Signal]
    labels: Callable[[jax.Array], jax.Array]
    cotangents: Callable[[Any, Any], Any]


def _same(labels: jax.Array) -> jax.Array:
    return labels


def _rolled(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), tree)


CONTROLS: dict[str, Control] = {
    "none": Control(lambda model, decoder, signal: signal, _same, lambda sg, true: sg),
    "zeroed": Control(
        lambda model, decoder, signal: signals.zero_signal(),
        _same,
        lambda sg, true: jax.tree.map(jnp.zeros_like, sg),
    ),
    "oracle": Control(
        lambda model, decoder, signal: signals.oracle_signal(
            model.cell, model_lib.decoder_loss(model, decoder)
        ),
        _same,
        lambda sg, true: true,
    ),
    # Labels, or cotangents, of another episode: same distribution, no information.
    "shuffled": Control(
        lambda model, decoder, signal: signal, _rolled, lambda sg, true: _rolled(sg)
    ),
}


class Feedback(NamedTuple):
    """The second feedback path: what it is made of and where it is used.

    predictor: see `synthetic.PREDICTORS`
    rule, weight: how synthetic and true controller gradients are combined
    scale: see `synthetic.SCALES`
    train: how predictors learn: `regress`, `meta` or `both`
    fast: the online fast path, or None
    fast_rate: α at the start
    warmup: steps before synthetic gradients are injected into the slow update
    control: see `CONTROLS`
    """

    predictor: synthetic.Predictor
    rule: str = "backprop"
    weight: float = 1.0
    scale: Callable[[synthetic.Scale], PerController] = synthetic.rms_scale
    train: str = "both"
    fast: fast_lib.FastPath | None = None
    fast_rate: float = 0.1
    warmup: int = 0
    control: Control = CONTROLS["none"]


class Batch(NamedTuple):
    """B episodes: images `[B, S + Q, H, W]`, support first, and one-hot labels."""

    images: jax.Array
    support: jax.Array  # [B, S, C]
    query: jax.Array  # [B, Q, C]


TRAIN = ("regress", "meta", "both")


def make_signal(
    model: Model,
    feedback: Feedback,
    path: fast_lib.FastPath,
    params: ModelParams,
    fed: SyntheticParams,
) -> signals.Signal:
    """What the fast path hears, after the control has had its way."""
    heard = gradients.stop if feedback.train == "regress" else gradients.through
    signal = signals.synthetic_signal(
        feedback.predictor,
        heard(fed.predictors),
        width=model.cell.width,
        order=path.order,
    )
    return feedback.control.signal(model, params.decoder, signal)


def make_support_pass(
    model: Model, feedback: Feedback, params: ModelParams, fed: SyntheticParams
) -> model_lib.SupportPass:
    """How support steps run: with the slow weights alone, or adapting on the way."""
    if feedback.fast is None:
        return model_lib.slow_support(model)
    signal = make_signal(model, feedback, feedback.fast, params, fed)
    return model_lib.fast_support(model, feedback.fast, fed.rates, signal)


def run_batch(
    model: Model,
    feedback: Feedback,
    params: ModelParams,
    fed: SyntheticParams,
    features: jax.Array,
    batch: Batch,
    taps: Stages,
) -> model_lib.EpisodeRun:
    """All episodes of a batch: features `[B, S + Q, D]`, taps `[B, T, K]` each."""
    support_pass = make_support_pass(model, feedback, params, fed)

    def one(features: Any, labels: Any, heard: Any, taps: Stages) -> Any:
        return model_lib.run_episode(
            model, support_pass, params, features, labels, heard, taps
        )

    heard = feedback.control.labels(batch.support)
    return jax.vmap(one)(features, batch.support, heard, taps)


def batch_taps(model: Model, batch: Batch) -> Stages:
    """Zero taps `[B, T, K]` for a batch of episodes."""
    episodes, supports = batch.support.shape[:2]
    one = model_lib.zero_taps(model, supports, batch.query.shape[1], batch.images.dtype)
    return jax.tree.map(lambda tap: jnp.broadcast_to(tap, (episodes, *tap.shape)), one)


def joined(stages: Stages) -> PerController:
    """Support and query steps as one axis; the write controller has no query steps."""
    support, query = stages
    return PerController(
        jnp.concatenate([support.input, query.input], axis=1),
        jnp.concatenate([support.output, query.output], axis=1),
        support.write,
    )


def parted(whole: PerController, like: Stages) -> Stages:
    """The inverse of `joined`; queries give the write controller no cotangent."""
    steps = like.support.input.shape[1]
    return Stages(
        PerController(whole.input[:, :steps], whole.output[:, :steps], whole.write),
        PerController(
            whole.input[:, steps:],
            whole.output[:, steps:],
            jnp.zeros_like(like.query.write),
        ),
    )


def predict_cotangents(
    model: Model,
    feedback: Feedback,
    predictors: PerController,
    outputs: Stages,
    batch: Batch,
) -> PerController:
    """ĝ in normalised units at every recorded controller output, `[B, T + Q, K]`."""

    def one(outputs: Stages, support: jax.Array, query: jax.Array) -> Stages:
        start = synthetic.carries(feedback.predictor, model.cell.width)
        labels = jnp.tile(support, (model.presentations, 1))
        finals, first = synthetic.predict(
            feedback.predictor, predictors, start, outputs.support, labels
        )
        second = synthetic.predict_probe(
            feedback.predictor, predictors, finals, outputs.query, query
        )
        return Stages(first, second)

    return joined(jax.vmap(one)(outputs, batch.support, batch.query))


def check(feedback: Feedback) -> None:
    """Raises ValueError for an unknown `train` or `rule`."""
    if feedback.train not in TRAIN:
        raise ValueError(f"train={feedback.train!r}; choose one of {TRAIN}")
    gradients.combine(0.0, 0.0, rule=feedback.rule)


def init(
    feedback: Feedback,
    key: jax.Array,
    controllers: PerController,
    *,
    width: int,
    classes: int,
) -> SyntheticParams:
    """Predictors for controllers of K = `width`, and the rates of the fast path."""
    predictors = synthetic.init(feedback.predictor, key, width=width, classes=classes)
    if feedback.fast is None:
        return SyntheticParams(predictors, None)
    rates = fast_lib.init_rates(feedback.fast, controllers, rate=feedback.fast_rate)
    return SyntheticParams(predictors, rates)


class Regression(NamedTuple):
    """What predictors said, what was true (of one example's loss), how they learn."""

    loss: jax.Array
    gradient: PerController
    predicted: PerController
    true: PerController
    scale: synthetic.Scale


def regress(
    feedback: Feedback,
    predictors: PerController,
    predict: Callable[[PerController], PerController],
    true: PerController,
    scale: synthetic.Scale,
) -> Regression:
    """One regression of the predictors on true cotangents (Eq. 11).

    Args:
      predict: `(predictors) -> ĝ` in normalised units, shaped like `true`.
      true: g of one example's loss, `[..., K]` per controller.
      scale: running scale before this step.

    Gradients: targets are constants; `predict` must see recorded outputs as constants.
    """
    scale = synthetic.update_scale(scale, true)
    unit = feedback.scale(scale)
    target = gradients.stop(jax.tree.map(jnp.divide, true, unit))

    def loss(predictors: PerController) -> tuple:
        predicted = predict(predictors)
        return sum(synthetic.regression_loss(predicted, target)), predicted

    (value, predicted), grads = jax.value_and_grad(loss, has_aux=True)(predictors)
    told = jax.tree.map(jnp.multiply, predicted, unit)
    return Regression(value, grads, told, true, scale)


def blend(
    feedback: Feedback, step: jax.Array, true: PerController, pulled: PerController
) -> PerController:
    """Controller gradients by the chosen rule, the true ones alone during warm-up."""
    joined = gradients.combine(true, pulled, rule=feedback.rule, weight=feedback.weight)
    warm = step >= feedback.warmup
    return jax.tree.map(lambda j, t: jnp.where(warm, j, t), joined, true)


def predictor_gradient(
    feedback: Feedback, fed: SyntheticParams, regression: Regression
) -> PerController:
    """From regression, from the query loss through the fast path, or from both."""
    if feedback.train == "regress" or feedback.fast is None:
        return regression.gradient
    if feedback.train == "meta":
        return fed.predictors
    return jax.tree.map(jnp.add, fed.predictors, regression.gradient)
