"""Leaf networks as pairs of pure functions; the only file that knows Flax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, Float

from nmn_jax.nets import lstm
from nmn_jax.types import Network

DENSE_KERNEL = linen.initializers.lecun_normal()


class Recurrent(NamedTuple):
    """A recurrent cell on one example.

    init: `(key, input_width) -> params`
    apply: `(params, carry, inputs [D]) -> (carry, output [K])`
    carry: `() -> carry`, of zeros
    unroll: `(params, carry, inputs [T, D]) -> (carry, outputs [T, K], before)`, T steps
      in turn; `before` are the carries `[T, ...]` that each began with
    again: `(params, before, inputs [*batch, T, D]) -> (carry, outputs)`, the same where
      `before` was recorded and is a constant, so that going forward needs no loop
    """

    init: Callable[[jax.Array, int], Any]
    apply: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    carry: Callable[[], Any]
    unroll: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array, Any]]
    again: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]


def conv_kernel(
    key: jax.Array, inputs: int, channels: int
) -> Float[Array, "3 3 inputs channels"]:
    """A 3x3 kernel as Flax draws it."""
    conv = linen.Conv(
        channels, (3, 3), use_bias=False, param_dtype=jnp.result_type(float)
    )
    kernel: jax.Array = conv.init(key, jnp.zeros((1, 3, 3, inputs)))["params"]["kernel"]
    return kernel


def make_dense(
    width: int, kernel_init: Callable[..., jax.Array] = DENSE_KERNEL
) -> Network:
    """x W + b, b zero at first. `init(key, input_width)`, `apply(params, x [D])`."""

    def module() -> linen.Dense:
        return linen.Dense(
            width, kernel_init=kernel_init, param_dtype=jnp.result_type(float)
        )

    def init(key: jax.Array, input_width: int) -> Any:
        return module().init(key, jnp.zeros((input_width,)))["params"]

    def apply(
        params: Any, inputs: Float[Array, "*batch inputs"]
    ) -> Float[Array, "*batch width"]:
        output: Any = module().apply({"params": params}, inputs)
        return output

    return Network(init, apply)


def make_lstm(width: int) -> Recurrent:
    """One LSTM cell (Hochreiter & Schmidhuber, 1997), its four gates as one product."""

    def module() -> linen.OptimizedLSTMCell:
        return linen.OptimizedLSTMCell(width, param_dtype=jnp.result_type(float))

    def carry() -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((width,)), jnp.zeros((width,))

    def init(key: jax.Array, input_width: int) -> Any:
        return module().init(key, carry(), jnp.zeros((input_width,)))["params"]

    def apply(
        params: Any, state: tuple[jax.Array, jax.Array], inputs: Float[Array, " inputs"]
    ) -> tuple[tuple[jax.Array, jax.Array], Float[Array, " width"]]:
        result: Any = module().apply({"params": params}, state, inputs)
        return result

    return Recurrent(init, apply, carry, lstm.unroll, lstm.again)
