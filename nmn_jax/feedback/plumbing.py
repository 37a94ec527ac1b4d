"""The only place where gradients are stopped, exposed and rerouted (Eq. 10, Fig. 3).

`backprop` delivers parameter gradients and the true cotangents at the controller
outputs from one vjp; `pull_controllers` carries any cotangents back into the
controllers alone; `combine` joins the slow and the fast feedback path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from nmn_jax.types import Params, PerController

Tree = TypeVar("Tree")


def stop(tree: Tree) -> Tree:
    """The same values, as constants.

    Gradients: none passes.
    """
    return jax.tree.map(jax.lax.stop_gradient, tree)


def through(tree: Tree) -> Tree:
    """The same values; the counterpart of `stop` where a choice is passed on."""
    return tree


class Backprop(NamedTuple):
    """What one vjp of a loss with taps delivers."""

    loss: jax.Array  # []
    params: Params  # dL/dparams
    features: Any  # dL/dfeatures, to be pulled back through the encoder
    cotangents: Any  # like the taps: the true dL/d(controller output)
    aux: Any


def backprop(
    forward: Callable[[Any, Any, Any], tuple[jax.Array, Any]],
    params: Params,
    features: Any,
    taps: Any,
) -> Backprop:
    """Loss, parameter gradients, feature cotangents and true cotangents from ONE vjp.

    Args:
      forward: `(params, features, taps) -> (loss [], aux)`; adds the taps to the
        controller outputs, as `cell.unroll` and `cell.probe` do.
      params: whatever is to be trained by back-propagation.
      features: inputs of the memory, `[..., T, D]`.
      taps: zeros like the controller outputs, `[..., T, K]` per controller.

    Gradients: the cotangent of a tap is dL/d(output) through everything downstream
    except that controller's own carry, which `pull_controllers` adds when it replays.
    """
    loss, pull, aux = jax.vjp(forward, params, features, taps, has_aux=True)
    grads, feature_cotangents, cotangents = pull(jnp.ones_like(loss))
    return Backprop(loss, grads, feature_cotangents, cotangents, aux)


def pull_controllers(
    replay: Callable[[PerController], Any], controllers: PerController, cotangents: Any
) -> PerController:
    """Controller gradients for the cotangents given: Σ_t (∂h_t/∂θ_c)ᵀ ĝ_t (Eq. 10).

    Args:
      replay: `(controllers) -> outputs` on recorded inputs, e.g. `cell.replay`.
      controllers: the controllers' parameters.
      cotangents: like the outputs of `replay`, `[T, K]` per controller.

    Gradients: recorded inputs are constants, so nothing reaches the encoder, the memory
    or another controller. Fed with the true cotangents this is back-propagation.
    """
    _, pull = jax.vjp(replay, controllers)
    return pull(cotangents)[0]


Rule = Callable[[Any, Any, float], Any]


def _mixture(
    true_share: Callable[[float], float], sg_share: Callable[[float], float]
) -> Rule:
    def rule(true: Any, synthetic: Any, weight: float) -> Any:
        return jax.tree.map(
            lambda t, s: true_share(weight) * t + sg_share(weight) * s, true, synthetic
        )

    return rule


RULES: dict[str, Rule] = {
    # The baseline NMN: the predictors are trained but unheard, to the bit.
    "backprop": lambda true, synthetic, weight: true,
    "add": _mixture(lambda weight: 1.0, lambda weight: weight),
    "mix": _mixture(lambda weight: 1.0 - weight, lambda weight: weight),
    "replace": lambda true, synthetic, weight: synthetic,
}


def combine(
    true: Tree, synthetic: Tree, *, rule: str = "add", weight: float = 1.0
) -> Tree:
    """Join slow (true) and fast (synthetic) gradients of the same tree.

    `backprop`: true; `add`: true + weight · synthetic; `mix`: (1 - weight) · true +
    weight · synthetic; `replace`: synthetic.

    Raises:
      ValueError: if the rule is unknown.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; choose one of {sorted(RULES)}")
    return RULES[rule](true, synthetic, weight)


def bootstrap(update: jax.Array, predicted: jax.Array) -> jax.Array:
    """⟨stop(ĝ), m'_T⟩: the future's cotangent at a window's end (DNI).

    Added to a window's loss, it makes the vjp see ĝ as the gradient that arrives from
    beyond the cut. Only the last update m'_T is used: it is the one output of the step
    at the cut whose whole influence lies in the future, so nothing is counted twice.

    Gradients: ĝ is a constant; m'_T receives exactly ĝ.
    """
    return jnp.sum(stop(predicted) * update)
