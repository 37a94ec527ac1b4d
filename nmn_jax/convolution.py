"""A 3x3 convolution and what its block needs of it, in several formulations.

With y = conv(x, W), batch norm needs the first two moments of y and the pooling needs
its largest value in every 2x2 window. Normalisation with a gain that is not negative is
increasing, so it commutes with the maximum: a formulation returns the pooled y and the
moments, and nothing downstream ever touches all positions of y again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Pooled(NamedTuple):
    """A convolution's output y `[N, H, W, O]`, pooled, and its moments per image."""

    maximum: Float[Array, "images height width channels"]  # over 2x2 windows, VALID
    total: Float[Array, "images channels"]  # sum of y over all positions
    squares: Float[Array, "images channels"]  # sum of y² over all positions


Formulation = Callable[[jax.Array, jax.Array], Pooled]


def pool(values: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Largest value of every 2x2 window; an odd last row or column is dropped."""
    images, height, width, channels = values.shape
    rows, columns = height // 2, width // 2
    cut = values[:, : 2 * rows, : 2 * columns]
    windows = cut.reshape(images, rows, 2, columns, 2, channels)
    return windows.max(axis=(2, 4))


def summarise(values: Float[Array, "n h w c"]) -> Pooled:
    """Pooled values and moments of a convolution's output."""
    return Pooled(
        pool(values), values.sum(axis=(1, 2)), jnp.square(values).sum(axis=(1, 2))
    )


def direct(inputs: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]) -> Pooled:
    """The compiler's own convolution: right on accelerators."""
    return summarise(
        jax.lax.conv_general_dilated(
            inputs, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )


FORMULATIONS: dict[str, Formulation] = {"direct": direct}


def default() -> Formulation:
    """The formulation measured fastest on the backend at hand."""
    return direct
