"""What predictors learn: the true cotangents, in units that do not drift (Eq. 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.feedback import plumbing
from nmn_jax.types import PerController


def regression_loss(predicted: PerController, true: PerController) -> PerController:
    """‖ĝ - g‖² summed over K, mean over every other axis, per controller (Eq. 11)."""
    return jax.tree.map(
        lambda p, t: jnp.mean(jnp.sum((p - t) ** 2, axis=-1)), predicted, true
    )


class Scale(NamedTuple):
    """Running mean square of the true cotangents, one number per controller (or per
    group of a carried state)."""

    mean_square: Any
    total: jax.Array


def init_scale(like: Any = None) -> Scale:
    """Nothing seen yet; a number for every leaf of `like`, or for every controller."""
    like = PerController(0, 0, 0) if like is None else like
    return Scale(jax.tree.map(lambda leaf: jnp.zeros(()), like), jnp.zeros(()))


def update_scale(scale: Scale, true: Any, *, decay: float = 0.99) -> Scale:
    """Exponential mean of the squared entries of g, `[..., K]` per controller."""
    seen = jax.tree.map(
        lambda m, t: decay * m + (1 - decay) * jnp.mean(t**2), scale.mean_square, true
    )
    return Scale(seen, decay * scale.total + (1 - decay))


def no_scale(scale: Scale) -> Any:
    """Predict cotangents as they are (the paper)."""
    return jax.tree.map(jnp.ones_like, scale.mean_square)


def rms_scale(scale: Scale) -> Any:
    """Root mean square of g so far, bias-corrected; predict g / rms, inject ĝ · rms.

    One as long as nothing was seen; a controller whose cotangents are exactly zero
    keeps a floor of 1e-8.
    """
    count = jnp.maximum(scale.total, 1e-8)

    def one(mean_square: jax.Array) -> jax.Array:
        root = jnp.maximum(jnp.sqrt(mean_square / count), 1e-8)
        return jnp.where(scale.total > 0, root, 1.0)

    return jax.tree.map(one, scale.mean_square)


SCALES: dict[str, Callable[[Scale], Any]] = {
    "none": no_scale,
    "rms": rms_scale,
}


class Regression(NamedTuple):
    """What predictors said, what was true, how they learn, and the scale after it.

    predicted, true: cotangents of one example's loss, `[..., K]` per controller
    """

    loss: jax.Array
    gradient: PerController
    predicted: PerController
    true: PerController
    scale: Scale


def regress(
    predict: Callable[[PerController], PerController],
    predictors: PerController,
    true: PerController,
    *,
    scale: Scale,
    unit: Callable[[Scale], PerController],
) -> Regression:
    """One regression of the predictors on true cotangents (Eq. 11).

    Args:
      predict: `(predictors) -> ĝ` in normalised units, shaped like `true`.
      true: g of one example's loss, `[..., K]` per controller.
      scale: running scale before this step.
      unit: one of `SCALES`.

    Gradients: targets are constants; `predict` must see recorded outputs as constants.
    """
    scale = update_scale(scale, true)
    units = unit(scale)
    target = plumbing.stop(jax.tree.map(jnp.divide, true, units))

    def loss(predictors: PerController) -> tuple:
        normalised = predict(predictors)
        return sum(regression_loss(normalised, target)), normalised

    value, normalised, grads = plumbing.gradient(loss, predictors)
    predicted = jax.tree.map(jnp.multiply, normalised, units)
    return Regression(value, grads, predicted, true, scale)
