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
from jaxtyping import Array, Bool, Float

from nmn_jax.nets import leaves


class Guess(NamedTuple):
    """ĝ at the end of this window, and the auxiliary guess of ĝ at the end of the next,
    in normalised units."""

    now: Float[Array, "*batch rows width"]
    next: Float[Array, "*batch rows width"]


class Pairs(NamedTuple):
    """Rows with the cotangents they had, and which of them count."""

    rows: Float[Array, "pairs width"]
    context: Float[Array, "pairs context"]
    goal: Float[Array, "pairs width"]
    counts: Bool[Array, " pairs"]


class StatePredictor(NamedTuple):
    """A predictor shared over the rows of one group.

    init: `(key, width d, context c) -> params`
    predict: `(params, rows [n, d], context [n, c]) -> Guess`
    shares: whether both guesses share a layer, so that one may help the other
    fit: `(params, Pairs) -> params`, for one that is solved for; None for one that
      descends the gradient of its error
    """

    init: Callable[[jax.Array, int, int], Any]
    predict: Callable[[Any, jax.Array, jax.Array], Guess]
    shares: bool
    fit: Callable[[Any, Pairs], Any] | None = None


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


def make_least_squares_state_predictor(
    keep: float = 0.99, ridge: float = 1e-4, every: int = 8
) -> StatePredictor:
    """ĝ = [row; context; 1] W with W = (Σ x xᵀ + ε I)⁻¹ Σ x gᵀ over all pairs so far,
    those of a window weighing `keep` times those of the next (least-squares temporal
    differences; Bradtke & Barto, 1996).

    A state's numbers depend on each other, so descent needs thousands of windows to fit
    what changes within hundreds; the solution lags by 1 / (1 - keep). As the linear one
    for states that cannot grow.

    Args:
      ridge: ε in units of the mean of x².
      every: windows from one solution to the next.
    """

    def init(key: jax.Array, width: int, context: int) -> dict[str, jax.Array]:
        del key
        inputs = width + context + 1
        return {
            "kernel": jnp.zeros((inputs, width)),
            "seen": jnp.zeros((inputs, inputs)),
            "told": jnp.zeros((inputs, width)),
            "windows": jnp.zeros((), jnp.int32),
        }

    def predict(params: Any, rows: jax.Array, context: jax.Array) -> Guess:
        found = _with_one(rows, context) @ params["kernel"]
        return Guess(found, jnp.zeros_like(found))

    def fit(params: Any, pairs: Pairs) -> dict[str, jax.Array]:
        inputs = _with_one(pairs.rows, pairs.context)
        number = jnp.sum(pairs.counts)
        share = pairs.counts[:, None] / jnp.maximum(number, 1)
        kept = jnp.where(number > 0, keep, 1.0)
        seen = kept * params["seen"] + (share * inputs).T @ inputs
        told = kept * params["told"] + (share * inputs).T @ pairs.goal
        windows = params["windows"] + 1
        kernel = jax.lax.cond(
            windows % every == 0,
            lambda: _solved(seen, told, ridge),
            lambda: params["kernel"],
        )
        return {"kernel": kernel, "seen": seen, "told": told, "windows": windows}

    return StatePredictor(init, predict, False, fit)


def _with_one(rows: jax.Array, context: jax.Array) -> jax.Array:
    return jnp.concatenate([rows, context, jnp.ones((len(rows), 1))], axis=1)


def _solved(seen: jax.Array, told: jax.Array, ridge: float) -> jax.Array:
    size = ridge * jnp.mean(jnp.diag(seen)) + 1e-12
    return jax.scipy.linalg.solve(
        seen + size * jnp.eye(len(seen)), told, assume_a="pos"
    )


STATE_PREDICTORS: dict[str, Callable[[], StatePredictor]] = {
    "mlp": make_mlp_state_predictor,
    "linear": make_linear_state_predictor,
    "linear_mlp": make_linear_mlp_state_predictor,
    "least_squares": make_least_squares_state_predictor,
}
