"""What a write teaches: cotangents `(output [V], value [V]) -> [V]` of inner losses.

The sign is that of a gradient: a write moves against it. Any function of that form will
do; a predictor that hears the update in place of a value is one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Cotangent = Callable[[jax.Array, jax.Array], jax.Array]


def squared(
    output: Float[Array, " values"], value: Float[Array, " values"]
) -> Float[Array, " values"]:
    """f - v, of ½‖f - v‖²: the delta rule (Widrow & Hoff, 1960).

    Metalearned Neural Memory and Titans take ‖f - v‖²: twice the rate.
    """
    return output - value


def hebb(
    output: Float[Array, " values"], value: Float[Array, " values"]
) -> Float[Array, " values"]:
    """-v, of -⟨f, v⟩: with a linear memory the outer product of key and value."""
    del output
    return -value


def softmax(
    output: Float[Array, " values"], value: Float[Array, " values"]
) -> Float[Array, " values"]:
    """softmax(f) - v, of the cross entropy with a distribution v."""
    return jax.nn.softmax(output) - value


def make_huber(bound: float = 1.0) -> Cotangent:
    """f - v clipped to [-bound, bound]: one outlier moves the memory only so far.

    Of Huber's (1964) loss, taken number by number.

    Raises:
      ValueError: if `bound` is not positive and finite.
    """
    if not (bound > 0 and math.isfinite(bound)):
        raise ValueError(f"Huber cotangent with bound={bound}: must be positive")

    def huber(output: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.clip(output - value, -bound, bound)

    return huber


COTANGENTS: dict[str, Cotangent] = {
    "squared": squared,
    "hebb": hebb,
    "softmax": softmax,
    "huber": make_huber(),
}
