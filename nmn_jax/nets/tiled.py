"""The block's convolution for CPUs, where the compiler's is slow.

Measured (benchmarks/encoder.py): the compiler's convolution of one input channel takes
ten times as long as the same taps as elementwise sums, and the gradient of any of its
convolutions for the kernel up to five times as long as matrix products. So one input
channel goes through `shallow`, more through `deep`: Winograd's tiles, a few images at a
time, both gradients as matrix products. Reverse mode of any order; no forward mode.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from nmn_jax.nets import convolution, winograd
from nmn_jax.nets.convolution import Pooled


def tiled(inputs: Float[Array, "e i h w c"], kernel: Float[Array, "3 3 c o"]) -> Pooled:
    """`shallow` for one input channel, `deep` for more."""
    return shallow(inputs, kernel) if kernel.shape[2] == 1 else deep(inputs, kernel)


def first_largest(values: list[jax.Array]) -> jax.Array:
    """Which array has the largest value, position by position; the first of equals.

    Compares the values with each other, never with a maximum computed elsewhere: the
    compiler may compute a value twice and round it differently.
    """
    largest, index = values[0], jnp.zeros_like(values[0])
    for place, value in enumerate(values[1:], 1):
        index = jnp.where(value > largest, jnp.asarray(place, index.dtype), index)
        largest = jnp.maximum(largest, value)
    return index


def shallow(
    inputs: Float[Array, "e i h w 1"], kernel: Float[Array, "3 3 1 o"]
) -> Pooled:
    """A convolution of single-channel images."""
    total, squares = shallow_sums(inputs, kernel)
    return Pooled(shallow_maximum(inputs, kernel), total, squares)


def shallow_sums(
    inputs: Float[Array, "e i h w 1"], kernel: Float[Array, "3 3 1 o"]
) -> tuple[Float[Array, "e i o"], Float[Array, "e i o"]]:
    """Σ y and Σ y² of every image.

    With p the 9 pixels under the kernel at a position, Σ y = Wᵀ Σ p and
    Σ y² = diag(Wᵀ (Σ p pᵀ) W): the moments need no y, and their gradient touches no
    position.
    """
    height, width = inputs.shape[2:4]
    padded = _padded(inputs)
    patches = [
        padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    pixels = jnp.stack(patches, axis=2).reshape(*inputs.shape[:2], 9, -1)
    products = jnp.einsum("eiap,eibp->eiab", pixels, pixels)
    weights = kernel.reshape(9, -1)
    total = pixels.sum(axis=-1) @ weights
    squares = jnp.einsum("eiab,ao,bo->eio", products, weights, weights)
    return total, squares


def _padded(inputs: Shaped[Array, "*images h w 1"]) -> jax.Array:
    return jnp.pad(inputs[..., 0], [(0, 0)] * (inputs.ndim - 3) + [(1, 1)] * 2)


def window_pixels(inputs: Shaped[Array, "*images h w 1"]) -> winograd.Tiles:
    """The 4x4 pixels under every pooling window, each `[..., H/2, W/2, 1]`."""
    rows, columns = inputs.shape[-3] // 2, inputs.shape[-2] // 2
    padded = _padded(inputs)[..., None]
    return [
        [
            padded[..., i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2, :]
            for j in range(4)
        ]
        for i in range(4)
    ]


def window_values(pixels: winograd.Tiles, kernel: jax.Array) -> list[jax.Array]:
    """y at the four positions of every pooling window."""
    taps = [(i, j) for i in range(3) for j in range(3)]
    shape = (1,) * (pixels[0][0].ndim - 1) + (-1,)
    weights = [[kernel[i, j, 0].reshape(shape) for j in range(3)] for i in range(3)]
    return [
        reduce(jnp.add, [pixels[a + i][b + j] * weights[i][j] for i, j in taps])
        for a in range(2)
        for b in range(2)
    ]


@jax.custom_vjp
def shallow_maximum(
    inputs: Float[Array, "e i h w 1"], kernel: Float[Array, "3 3 1 o"]
) -> Float[Array, "e i h2 w2 o"]:
    """The convolution of single-channel images, pooled."""
    return reduce(jnp.maximum, window_values(window_pixels(inputs), kernel))


def _shallow_forward(inputs: jax.Array, kernel: jax.Array) -> tuple:
    return shallow_maximum(inputs, kernel), (inputs, kernel)


def _shallow_backward(residuals: tuple, cotangent: jax.Array) -> tuple:
    inputs, kernel = residuals

    def part(inputs: jax.Array, cotangent: jax.Array) -> tuple[tuple, jax.Array]:
        pixels = window_pixels(inputs)
        index = first_largest(window_values(pixels, kernel))
        windows = jnp.stack([p for row in pixels for p in row], -1)
        windows = windows.reshape(-1, 16)
        last = [jnp.where(index == q, cotangent, 0) for q in range(1, 4)]
        products = [
            windows.T @ each.reshape(-1, each.shape[-1]) for each in (cotangent, *last)
        ]
        # What went to none of the other three positions went to the first.
        products[0] = products[0] - products[1] - products[2] - products[3]
        shares = [each.reshape(4, 4, 1, -1) for each in products]
        total: Any = sum(
            shares[2 * a + b][a : a + 3, b : b + 3] for a in range(2) for b in range(2)
        )
        return (), total

    _, kernel_cotangent = convolution.over_images(part, inputs, cotangent)
    # Nobody asks for it in training, and the compiler drops it then.
    _, pull = jax.vjp(lambda x: convolution.direct(x, kernel).maximum, inputs)
    return *pull(cotangent), kernel_cotangent


shallow_maximum.defvjp(_shallow_forward, _shallow_backward)


@jax.custom_vjp
def deep(inputs: Float[Array, "e i h w c"], kernel: Float[Array, "3 3 c o"]) -> Pooled:
    """A convolution by Winograd's tiles, which are the pooling windows too."""
    return _deep_forward(inputs, kernel)[0]


def _inside(height: int, width: int) -> list[np.ndarray]:
    """Which tiles have their four positions inside an image of odd size."""
    rows, columns = winograd.counts(height, width)
    return [
        (2 * np.arange(rows) + a < height)[:, None, None]
        & (2 * np.arange(columns) + b < width)[:, None]
        for a in range(2)
        for b in range(2)
    ]


def _keep(inside: list[np.ndarray], values: list[jax.Array]) -> list[jax.Array]:
    return [
        v if i.all() else v * jnp.asarray(i[None], v.dtype)
        for i, v in zip(inside, values, strict=True)
    ]


def _deep_forward(inputs: jax.Array, kernel: jax.Array) -> tuple:
    height, width = inputs.shape[2:4]
    kernels, inside = winograd.transform_kernel(kernel), _inside(height, width)

    def part(inputs: jax.Array) -> tuple[tuple, tuple]:
        tiles = winograd.transform(winograd.B_TRANSPOSED, winograd.cut(inputs))
        tiles = winograd.multiply(tiles, kernels)
        tiles = winograd.transform(winograd.A_TRANSPOSED, tiles)
        values = _keep(inside, tiles[0] + tiles[1])
        maximum = reduce(jnp.maximum, values)[:, : height // 2, : width // 2]
        total = reduce(jnp.add, values).sum((1, 2))
        squares = reduce(jnp.add, [jnp.square(v) for v in values]).sum((1, 2))
        return (Pooled(maximum, total, squares), values), ()

    (pooled, values), _ = convolution.over_images(part, inputs)
    return pooled, (inputs, kernel, values)


def _deep_backward(residuals: tuple, cotangent: Pooled) -> tuple:
    inputs, kernel, values = residuals
    height, width = inputs.shape[2:4]
    rows, columns = winograd.counts(height, width)
    kernels = winograd.transform_kernel(kernel).swapaxes(2, 3)
    inside = _inside(height, width)

    def part(inputs: jax.Array, values: list[jax.Array], cotangent: Pooled) -> tuple:
        pads = (0, 0), (0, rows - height // 2), (0, columns - width // 2), (0, 0)
        maximum, index = jnp.pad(cotangent.maximum, pads), first_largest(values)
        total, squares = (sums[:, None, None] for sums in cotangent[1:])
        outer = [
            jnp.where(index == q, maximum, 0) + total + 2 * squares * value
            for q, value in enumerate(values)
        ]
        kept = _keep(inside, outer)
        spread = winograd.transform(winograd.A, [kept[:2], kept[2:]])
        tiles = winograd.transform(winograd.B_TRANSPOSED, winograd.cut(inputs))
        inner = winograd.transform(winograd.B, winograd.multiply(spread, kernels))
        return winograd.paste(inner, height, width), winograd.correlate(tiles, spread)

    inner, products = convolution.over_images(part, inputs, values, cotangent)
    return inner, winograd.restore_kernel(products)


deep.defvjp(_deep_forward, _deep_backward)
