"""A 3x3 convolution of the images of one task and its two adjoints, as products.

Three formulations of the same three maps: Winograd's tiles, patches as one product, and
the compiler's own. `per_task` applies them to all tasks and gives them derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nmn_jax.nets import winograd

# y [I, H, W, O] at the positions (0, 0), (0, 1), (1, 0), (1, 1) of its 2x2 windows,
# each [I, ⌈H/2⌉, ⌈W/2⌉, O]; zeros beyond the image.
Windows = tuple[jax.Array, ...]
TAPS = [(i, j) for i in range(3) for j in range(3)]
# Twice Winograd's G in its middle rows, which makes whole numbers of all entries.
DOUBLED_G = ((1, 0, 0), (1, 1, 1), (1, -1, 1), (0, 0, 1))


class Maps(NamedTuple):
    """The three maps of one formulation, for the images `[I, H, W, C]` of one task.

    convolve: `(images, kernel [3, 3, C, O]) -> windows`
    transpose: `(windows, kernel, (H, W)) -> images`
    correlate: `(images, windows) -> kernel`
    """

    convolve: Callable[[jax.Array, jax.Array], Windows]
    transpose: Callable[[Windows, jax.Array, tuple[int, ...]], jax.Array]
    correlate: Callable[[jax.Array, Windows], jax.Array]


def _split(values: Float[Array, "n h w o"]) -> Windows:
    """An image as windows."""
    _, height, width, _ = values.shape
    padded = jnp.pad(values, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    return tuple(padded[:, a::2, b::2] for a in range(2) for b in range(2))


def _join(windows: Windows, shape: tuple[int, ...]) -> Float[Array, "n h w o"]:
    """Windows as an image of height and width `shape`."""
    height, width = shape
    rows = [list(windows[:2]), list(windows[2:])]
    return winograd.interleave(rows)[:, :height, :width]


def _inside(windows: Windows, shape: tuple[int, ...]) -> Windows:
    """Zeros where a window reaches beyond an image of odd size."""
    rows, columns = winograd.counts(*shape)
    kept = []
    for place, values in enumerate(windows):
        a, b = divmod(place, 2)
        inside = (2 * np.arange(rows) + a < shape[0])[:, None, None]
        inside = inside & (2 * np.arange(columns) + b < shape[1])[:, None]
        whole = bool(inside.all())
        kept.append(values if whole else values * inside[None].astype(values.dtype))
    return tuple(kept)


def _transform_kernel(kernel: Float[Array, "3 3 i o"]) -> winograd.Tiles:
    """`winograd.transform_kernel` as sums, `[4][4]` arrays `[I, O]`.

    The compiler makes a slow product of small matrices of the other; a kernel for every
    task makes that most of the time.
    """
    taps = [[kernel[i, j] for j in range(3)] for i in range(3)]
    return _scaled(winograd.transform(DOUBLED_G, taps))


def _restore_kernel(tiles: winograd.Tiles) -> Float[Array, "3 3 i o"]:
    """The adjoint of `_transform_kernel`."""
    turned = tuple(zip(*DOUBLED_G, strict=True))
    taps = winograd.transform(turned, _scaled(tiles))
    return jnp.stack([jnp.stack(row) for row in taps])


def _scaled(tiles: winograd.Tiles) -> winograd.Tiles:
    halves = (1, 0.5, 0.5, 1)
    return [
        [each * (a * b) for each, b in zip(row, halves, strict=True)]
        for row, a in zip(tiles, halves, strict=True)
    ]


def _tile_products(
    images: jax.Array, kernels: winograd.Tiles, product: Callable[..., jax.Array]
) -> Windows:
    tiles = winograd.transform(winograd.B_TRANSPOSED, winograd.cut(images))
    pairs = zip(tiles, kernels, strict=True)
    products = [list(map(product, *rows)) for rows in pairs]
    out = winograd.transform(winograd.A_TRANSPOSED, products)
    return (*out[0], *out[1])


def _winograd_convolve(images: jax.Array, kernel: jax.Array) -> Windows:
    windows = _tile_products(images, _transform_kernel(kernel), jnp.matmul)
    return _inside(windows, images.shape[1:3])


def _winograd_transpose(
    windows: Windows, kernel: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    turned = _transform_kernel(kernel[::-1, ::-1])
    images = _join(windows, shape)
    return _join(_tile_products(images, turned, lambda x, k: x @ k.T), shape)


def _winograd_correlate(images: jax.Array, windows: Windows) -> jax.Array:
    inside = _inside(windows, images.shape[1:3])
    tiles = winograd.transform(winograd.B_TRANSPOSED, winograd.cut(images))
    spread = winograd.transform(winograd.A, [list(inside[:2]), list(inside[2:])])
    pairs = zip(tiles, spread, strict=True)
    return _restore_kernel([list(map(_over_tiles, *rows)) for rows in pairs])


def _over_tiles(left: jax.Array, right: jax.Array) -> jax.Array:
    """Products of the channels of two arrays, summed over all else."""
    rows = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    return rows[0].T @ rows[1]


def _patches(images: Float[Array, "n h w c"]) -> Float[Array, "positions 9*c"]:
    """The nine pixels under the kernel, side by side, for every position."""
    _, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, i : i + height, j : j + width] for i, j in TAPS]
    return jnp.concatenate(taps, axis=-1).reshape(-1, 9 * channels)


def _patches_convolve(images: jax.Array, kernel: jax.Array) -> Windows:
    outputs = kernel.shape[-1]
    values = _patches(images) @ kernel.reshape(-1, outputs)
    return _split(values.reshape(*images.shape[:3], outputs))


def _patches_transpose(
    windows: Windows, kernel: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    images, channels = _join(windows, shape), kernel.shape[2]
    turned = kernel[::-1, ::-1].swapaxes(2, 3).reshape(-1, channels)
    return (_patches(images) @ turned).reshape(*images.shape[:3], channels)


def _patches_correlate(images: jax.Array, windows: Windows) -> jax.Array:
    values = _join(windows, images.shape[1:3])
    outputs = values.shape[-1]
    products = _patches(images).T @ values.reshape(-1, outputs)
    return products.reshape(3, 3, images.shape[-1], outputs)


def _compiler_convolve(images: jax.Array, kernel: jax.Array) -> Windows:
    values = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return _split(values)


def _compiler_transpose(
    windows: Windows, kernel: jax.Array, shape: tuple[int, ...]
) -> jax.Array:
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return jax.lax.conv_general_dilated(
        _join(windows, shape), turned, (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def _compiler_correlate(images: jax.Array, windows: Windows) -> jax.Array:
    """Channels act as images and images as channels."""
    return jax.lax.conv_general_dilated(
        images, _join(windows, images.shape[1:3]), (1, 1), ((1, 1), (1, 1)),
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )  # fmt: skip


MAPS = {
    "winograd": Maps(_winograd_convolve, _winograd_transpose, _winograd_correlate),
    "patches": Maps(_patches_convolve, _patches_transpose, _patches_correlate),
    "compiler": Maps(_compiler_convolve, _compiler_transpose, _compiler_correlate),
}
