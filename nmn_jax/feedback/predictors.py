"""Synthetic-gradient modules: ĝ_t = SG(h_t, y_t) for one controller (Eqs. 9, 11).

A predictor is three pure functions; one serves each controller. All cores end in a
layer that starts at zero, so an untrained predictor leaves its controller alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.nets import leaves
from nmn_jax.types import PerController


class Predictor(NamedTuple):
    """SG for one controller of width K and labels of width C.

    init: `(key, K, C) -> params`
    carry: `(K) -> carry`
    step: `(params, carry, output [K], label [C]) -> (carry, cotangent [K])`
    many: `(params, carry, outputs [T, K], labels [T, C]) -> (carry, cotangents
      [T, K])`, the same as T steps in turn, where a predictor has a form that is faster
    """

    init: Callable[[jax.Array, int, int], Any]
    carry: Callable[[int], Any]
    step: Callable[[Any, Any, jax.Array, jax.Array], tuple[Any, jax.Array]]
    many: Callable[[Any, Any, jax.Array, jax.Array], tuple[Any, jax.Array]] | None = (
        None
    )


def _zero_dense(width: int, inputs: int) -> dict[str, jax.Array]:
    return {"kernel": jnp.zeros((inputs, width)), "bias": jnp.zeros((width,))}


def _apply_dense(params: dict[str, jax.Array], inputs: jax.Array) -> jax.Array:
    return inputs @ params["kernel"] + params["bias"]


def make_lstm_predictor() -> Predictor:
    """The paper's SG: an LSTM of K units on [h; y], then a zero-initialised layer."""

    def init(key: jax.Array, width: int, classes: int) -> dict[str, Any]:
        core = leaves.make_lstm(width).init(key, width + classes)
        return {"core": core, "last": _zero_dense(width, width)}

    def step(params: Any, carry: Any, output: jax.Array, label: jax.Array) -> tuple:
        cell = leaves.make_lstm(output.shape[-1])
        given = jnp.concatenate([output, label])
        carry, hidden = cell.apply(params["core"], carry, given)
        return carry, _apply_dense(params["last"], hidden)

    def many(params: Any, carry: Any, outputs: jax.Array, labels: jax.Array) -> tuple:
        cell = leaves.make_lstm(outputs.shape[-1])
        given = jnp.concatenate([outputs, labels], axis=-1)
        carry, hidden, _ = cell.unroll(params["core"], carry, given)
        return carry, jax.vmap(lambda h: _apply_dense(params["last"], h))(hidden)

    return Predictor(init, lambda width: leaves.make_lstm(width).carry(), step, many)


def _stateless(init: Callable, predict: Callable) -> Predictor:
    def step(params: Any, carry: tuple, output: jax.Array, label: jax.Array) -> tuple:
        return carry, predict(params, output, label)

    def many(params: Any, carry: tuple, outputs: Any, labels: Any) -> tuple:
        return carry, jax.vmap(predict, (None, 0, 0))(params, outputs, labels)

    return Predictor(init, lambda width: (), step, many)


def make_linear_predictor() -> Predictor:
    """ĝ = [h; y] W + b: the label-conditioned linear map of conditional DNI."""

    def init(key: jax.Array, width: int, classes: int) -> dict[str, jax.Array]:
        del key
        return _zero_dense(width, width + classes)

    def predict(params: Any, output: jax.Array, label: jax.Array) -> jax.Array:
        return _apply_dense(params, jnp.concatenate([output, label]))

    return _stateless(init, predict)


def make_mlp_predictor(hidden: int = 128) -> Predictor:
    """ĝ = W₂ tanh(W₁ [h; y] + b₁) + b₂, W₂ and b₂ zero at first."""
    first = leaves.make_dense(hidden)

    def init(key: jax.Array, width: int, classes: int) -> dict[str, Any]:
        return {
            "first": first.init(key, width + classes),
            "last": _zero_dense(width, hidden),
        }

    def predict(params: Any, output: jax.Array, label: jax.Array) -> jax.Array:
        given = jnp.concatenate([output, label])
        return _apply_dense(
            params["last"], jnp.tanh(first.apply(params["first"], given))
        )

    return _stateless(init, predict)


def make_residual_predictor() -> Predictor:
    """ĝ = A (softmax(B h + b) - y), A zero at first.

    The form of the exact gradient of a linear-softmax decoder, W_Dᵀ(softmax(W_D m) -
    y), with free matrices: it can represent that gradient and vanishes when h predicts
    y.
    """

    def init(key: jax.Array, width: int, classes: int) -> dict[str, Any]:
        return {
            "guess": leaves.make_dense(classes).init(key, width),
            "last": jnp.zeros((classes, width)),
        }

    def predict(params: Any, output: jax.Array, label: jax.Array) -> jax.Array:
        guess = leaves.make_dense(label.shape[-1]).apply(params["guess"], output)
        return (jax.nn.softmax(guess) - label) @ params["last"]

    return _stateless(init, predict)


def make_silent_predictor() -> Predictor:
    """ĝ = 0 without parameters: the network without a second feedback path."""

    def init(key: jax.Array, width: int, classes: int) -> tuple:
        del key, width, classes
        return ()

    def predict(params: tuple, output: jax.Array, label: jax.Array) -> jax.Array:
        del params, label
        return jnp.zeros_like(output)

    return _stateless(init, predict)


PREDICTORS: dict[str, Callable[[], Predictor]] = {
    "lstm": make_lstm_predictor,
    "mlp": make_mlp_predictor,
    "linear": make_linear_predictor,
    "residual": make_residual_predictor,
    "silent": make_silent_predictor,
}


def init(
    predictor: Predictor, key: jax.Array, *, width: int, classes: int
) -> PerController:
    """Parameters of one predictor per controller."""
    keys = jax.random.split(key, 3)
    return PerController(*(predictor.init(each, width, classes) for each in keys))


def carries(predictor: Predictor, width: int) -> PerController:
    """The predictors' recurrent states at the start of an episode or stream."""
    return PerController(*(predictor.carry(width) for _ in range(3)))


def predict(
    predictor: Predictor,
    params: PerController,
    outputs: PerController,
    labels: Float[Array, "steps classes"],
    *,
    start: PerController,
) -> tuple[PerController, PerController]:
    """(final carries, ĝ `[T, K]`) for recorded outputs `[T, K]` and labels `[T, C]`."""

    def one(params: Any, carry: Any, outputs: jax.Array) -> tuple:
        if predictor.many is not None:
            return predictor.many(params, carry, outputs, labels)
        return jax.lax.scan(
            lambda c, given: predictor.step(params, c, *given), carry, (outputs, labels)
        )

    finals, predicted = zip(*map(one, params, start, outputs), strict=True)
    return PerController(*finals), PerController(*predicted)


def predict_each(
    predictor: Predictor,
    params: PerController,
    outputs: PerController,
    labels: Float[Array, "streams steps classes"],
) -> PerController:
    """ĝ `[B, T, K]` for recorded outputs `[B, T, K]` of B streams, each from the
    predictor's first carry."""
    start = carries(predictor, outputs.input.shape[-1])

    def one(outputs: PerController, labels: jax.Array) -> PerController:
        return predict(predictor, params, outputs, labels, start=start)[1]

    return jax.vmap(one)(outputs, labels)


def predict_ask(
    predictor: Predictor,
    params: PerController,
    outputs: PerController,
    labels: Float[Array, "queries classes"],
    *,
    start: PerController,
) -> PerController:
    """ĝ `[Q, K]` for outputs of `cell.ask`: every query starts from the same carry."""

    def one(params: Any, carry: Any, outputs: jax.Array) -> jax.Array:
        def one_query(output: jax.Array, label: jax.Array) -> jax.Array:
            return predictor.step(params, carry, output, label)[1]

        return jax.vmap(one_query)(outputs, labels)

    return PerController(*map(one, params, start, outputs))
