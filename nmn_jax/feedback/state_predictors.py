"""Predictors of the future's cotangent of a carried state, one for each group of rows.

ĝ ≈ ∂L_future/∂(state) as a function of the state alone (decoupled neural interfaces for
recurrent nets; Jaderberg et al., 2017). The last layer starts at zero, so an untrained
predictor leaves a window's gradient as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.nets import leaves


class Guess(NamedTuple):
    """ĝ at the end of this window, and the auxiliary guess of ĝ at the end of the next,
    in normalised units."""

    now: Float[Array, "*batch rows width"]
    next: Float[Array, "*batch rows width"]


class StatePredictor(NamedTuple):
    """A predictor shared over the rows of one group.

    init: `(key, width d, context c) -> params`
    predict: `(params, rows [n, d], context [n, c]) -> Guess`
    shares: whether both guesses share a layer, so that one may help the other
    """

    init: Callable[[jax.Array, int, int], Any]
    predict: Callable[[Any, jax.Array, jax.Array], Guess]
    shares: bool


def _zero(inputs: int, width: int) -> dict[str, jax.Array]:
    return {"kernel": jnp.zeros((inputs, width)), "bias": jnp.zeros((width,))}


def _dense(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    return inputs @ params["kernel"] + params["bias"][None]


def make_linear_state_predictor() -> StatePredictor:
    """ĝ = [row; context] W + b, the synthesiser of BP(λ) (Pemberton & Costa, 2024)."""

    def init(key: jax.Array, width: int, context: int) -> dict[str, jax.Array]:
        del key
        return _zero(width + context, width)

    def predict(params: Any, rows: jax.Array, context: jax.Array) -> Guess:
        found = _dense(params, jnp.concatenate([rows, context], axis=1))
        return Guess(found, jnp.zeros_like(found))

    return StatePredictor(init, predict, False)


def make_mlp_state_predictor(hidden: int = 32) -> StatePredictor:
    """ĝ = W₂ tanh(W₁ x + b₁) + b₂ with x = [row / rms; log rms; context], W₂ and b₂
    zero at first; the auxiliary guess reads the same hidden layer.

    A guess that grew with its row would push the row to grow: nothing bounds that where
    rows are only ever compared by their direction.
    """
    first = leaves.make_dense(hidden)

    def init(key: jax.Array, width: int, context: int) -> dict[str, Any]:
        return {
            "first": first.init(key, width + 1 + context),
            "last": _zero(hidden, width),
            "next": _zero(hidden, width),
        }

    def predict(params: Any, rows: jax.Array, context: jax.Array) -> Guess:
        size = jnp.sqrt(jnp.mean(rows**2, axis=1, keepdims=True) + 1e-12)
        given = jnp.concatenate([rows / size, jnp.log(size), context], axis=1)
        seen = jnp.tanh(first.apply(params["first"], given))
        return Guess(_dense(params["last"], seen), _dense(params["next"], seen))

    return StatePredictor(init, predict, True)


def make_linear_mlp_state_predictor(hidden: int = 32) -> StatePredictor:
    """The sum of both: what is linear in the row is learned at once, and a hidden layer
    is there for the rest and for the auxiliary guess. For states that cannot grow, such
    as those of an LSTM."""
    linear, mlp = make_linear_state_predictor(), make_mlp_state_predictor(hidden)

    def init(key: jax.Array, width: int, context: int) -> dict[str, Any]:
        parts = {"linear": linear, "mlp": mlp}
        return {name: each.init(key, width, context) for name, each in parts.items()}

    def predict(params: Any, rows: jax.Array, context: jax.Array) -> Guess:
        straight = linear.predict(params["linear"], rows, context)
        bent = mlp.predict(params["mlp"], rows, context)
        return Guess(straight.now + bent.now, bent.next)

    return StatePredictor(init, predict, True)


STATE_PREDICTORS: dict[str, Callable[[], StatePredictor]] = {
    "mlp": make_mlp_state_predictor,
    "linear": make_linear_state_predictor,
    "linear_mlp": make_linear_mlp_state_predictor,
}
