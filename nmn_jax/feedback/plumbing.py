"""Where gradients are stopped, exposed and rerouted (Eq. 10, Fig. 3).

`backprop` delivers parameter gradients and the true cotangents at the controller
outputs from one vjp; `pull` carries any cotangents back through any function;
`combine` joins the slow and the fast feedback path. Nothing else in the library calls
`jax.vjp` or `jax.grad`, but the kernels of convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from nmn_jax.types import Params

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
    """What one vjp of a loss with probes delivers."""

    loss: jax.Array  # []
    params: Params  # dL/dparams
    features: Any  # dL/dfeatures, to be pulled back through the encoder
    cotangents: Any  # like the probes: the true dL/d(controller output)
    aux: Any


def backprop(
    forward: Callable[[Any, Any, Any], tuple[jax.Array, Any]],
    params: Params,
    features: Any,
    probes: Any,
) -> Backprop:
    """Loss, parameter gradients, feature cotangents and true cotangents from ONE vjp.

    Args:
      forward: `(params, features, probes) -> (loss [], aux)`; adds the probes to the
        controller outputs, as `cell.unroll` and `cell.ask` do.
      params: whatever is to be trained by back-propagation.
      features: inputs of the memory, `[..., T, D]`.
      probes: zeros like the controller outputs, `[..., T, K]` per controller.

    Gradients: the cotangent of a probe is dL/d(output) through everything downstream
    except that controller's own carry, which pulling back a replay adds.
    """
    loss, carry_back, aux = jax.vjp(forward, params, features, probes, has_aux=True)
    grads, feature_cotangents, cotangents = carry_back(jnp.ones_like(loss))
    return Backprop(loss, grads, feature_cotangents, cotangents, aux)


def pull(function: Callable[[Tree], Any], at: Tree, cotangents: Any) -> Tree:
    """(∂function/∂at)ᵀ · cotangents: any cotangents, carried back through a function.

    With `function` a replay of the controllers on recorded inputs (`cell.replay`) and ĝ
    for cotangents this is Σ_t (∂h_t/∂θ_c)ᵀ ĝ_t, the fast gradient of Eq. 10.

    Args:
      function: `(at) -> outputs`.
      at: where it is linearised; the result has its structure.
      cotangents: like the outputs.

    Gradients: what `function` closes over is a constant of this pull-back, so nothing
    reaches the encoder, the memory or another controller. A replay fed with the true
    cotangents gives what back-propagation gives.
    """
    return jax.vjp(function, at)[1](cotangents)[0]


def pull_back(
    function: Callable[[Tree], tuple[Any, Any]], at: Tree
) -> tuple[Any, Callable[[Any], Tree], Any]:
    """`function(at) -> (value, aux)` as (value, pull-back of cotangents, aux).

    For a part whose cotangents are known only later, such as the encoder.
    """
    value, carry_back, aux = jax.vjp(function, at, has_aux=True)
    return value, lambda cotangents: carry_back(cotangents)[0], aux


def pull_params(
    apply: Callable[[Tree, Any], jax.Array],
    params: Tree,
    inputs: Any,
    cotangent: jax.Array,
) -> Tree:
    """The cotangent of `apply(params, inputs)`, carried back to the parameters.

    The pull of a memory that is a network (`memory.function`).
    """
    return pull(lambda at: apply(at, inputs), params, cotangent)


def gradient(
    loss: Callable[[Tree], tuple[jax.Array, Any]], at: Tree
) -> tuple[jax.Array, Any, Tree]:
    """`loss(at) -> (value [], aux)` as (value, aux, gradient)."""
    (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(at)
    return value, aux, grads


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
