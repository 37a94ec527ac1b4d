"""Networks that serve as memories: `init(key, inputs)`, `apply(weights, key [A])`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nmn_jax.types import Network


def linear(outputs: int, *, scale: float = 0.0) -> Network:
    """k S: an associative matrix `[A, V]`, empty at first unless `scale` is given.

    Weights are drawn from N(0, scale² / A).
    """
    return mlp(outputs, hidden=(), scale=scale)


def mlp(
    outputs: int,
    *,
    hidden: tuple[int, ...],
    activation: Callable[[jax.Array], jax.Array] = jax.nn.silu,
    scale: float = 1.0,
) -> Network:
    """A perceptron without biases, of one matrix more than `hidden` has widths.

    Weights are drawn from N(0, scale² / inputs) (LeCun et al., 1998); a deep memory
    must not start at zero, where no gradient reaches any of its matrices.

    Raises:
      ValueError: if a width is not positive, or `scale` not positive in a deep memory.
    """
    if min((*hidden, outputs)) < 1 or scale < 0 or (hidden and scale == 0):
        raise ValueError(
            f"memory network of widths {(*hidden, outputs)} and scale {scale}: "
            "widths must be at least 1, the scale not negative, and positive with "
            "hidden layers"
        )

    def init(key: jax.Array, inputs: int) -> tuple[jax.Array, ...]:
        shapes = list(zip((inputs, *hidden), (*hidden, outputs), strict=True))
        keys = jax.random.split(key, len(shapes))
        return tuple(
            scale * jax.random.normal(one, shape) / jnp.sqrt(float(shape[0]))
            for one, shape in zip(keys, shapes, strict=True)
        )

    def apply(weights: tuple[jax.Array, ...], inputs: jax.Array) -> jax.Array:
        *below, last = weights
        for each in below:
            inputs = activation(inputs @ each)
        return inputs @ last

    return Network(init, apply)
