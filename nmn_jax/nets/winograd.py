"""Winograd's F(2x2, 3x3): a 3x3 convolution with 16 products where 36 stand in the sum.

Output is computed in tiles of 2x2 positions. With d a 4x4 tile of the padded input and
g the kernel, y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A (Lavin & Gray, 2016): an identity, so results
differ from the plain sum by rounding only. Over channels and tiles the elementwise
product becomes 16 matrix products. Tiles are kept as nested lists [row][column] of
arrays `[N, tile rows, tile columns, channels]`, each one a matrix for such a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Tiles = list[list[jax.Array]]
Matrix = Sequence[Sequence[int]]

B_TRANSPOSED = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
A_TRANSPOSED = ((1, 1, 1, 0), (0, 1, -1, -1))
B = tuple(zip(*B_TRANSPOSED, strict=True))
A = tuple(zip(*A_TRANSPOSED, strict=True))
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def counts(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tiles that cover an output of this size."""
    return -(-height // 2), -(-width // 2)


def cut(inputs: Float[Array, "n h w c"]) -> Tiles:
    """Overlapping 4x4 tiles at stride 2 of an image padded by one position."""
    _, height, width, _ = inputs.shape
    rows, columns = counts(height, width)
    pads = (0, 0), (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0)
    padded = jnp.pad(inputs, pads)
    return [
        [
            padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
            for j in range(4)
        ]
        for i in range(4)
    ]


def paste(tiles: Tiles, height: int, width: int) -> Float[Array, "n h w c"]:
    """The adjoint of `cut`: tiles added up where they overlap."""
    rows = [
        [_overlap(low, high, axis=1) for low, high in zip(*pair, strict=True)]
        for pair in ((tiles[0], tiles[2]), (tiles[1], tiles[3]))
    ]
    phases = [
        [_overlap(row[0], row[2], axis=2), _overlap(row[1], row[3], axis=2)]
        for row in rows
    ]
    return interleave(phases)[:, 1 : height + 1, 1 : width + 1]


def _overlap(low: jax.Array, high: jax.Array, *, axis: int) -> jax.Array:
    """`low` at its own place and `high` one place further."""
    before, after = [(0, 0)] * low.ndim, [(0, 0)] * low.ndim
    before[axis], after[axis] = (0, 1), (1, 0)
    return jnp.pad(low, before) + jnp.pad(high, after)


def interleave(phases: Tiles) -> Float[Array, "n h w c"]:
    """Even and odd rows and columns `[2][2]` of an image as one array."""
    images, rows, columns, channels = phases[0][0].shape
    joined = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
    return joined.reshape(images, 2 * rows, 2 * columns, channels)


def transform(matrix: Matrix, tiles: Tiles) -> Tiles:
    """M X Mᵀ for every tile X; the entries of M are 0, 1 and -1."""
    turned = [[_combine(row, column) for column in zip(*tiles)] for row in matrix]  # noqa: B905
    return [[_combine(row, line) for row in matrix] for line in turned]


def _combine(row: Sequence[int], values: Sequence[jax.Array]) -> jax.Array:
    terms = [(sign, value) for sign, value in zip(row, values, strict=True) if sign]
    return reduce(add, [value if sign > 0 else -value for sign, value in terms])


def multiply(tiles: Tiles, kernels: Float[Array, "4 4 i o"]) -> Tiles:
    """One matrix product over channels for each of the 16 positions."""
    return [[tiles[i][j] @ kernels[i, j] for j in range(4)] for i in range(4)]


def correlate(tiles: Tiles, others: Tiles) -> Float[Array, "4 4 i o"]:
    """The adjoint of `multiply` for the kernels: products summed over all tiles."""
    products = [
        [
            left.reshape(-1, left.shape[-1]).T @ right.reshape(-1, right.shape[-1])
            for left, right in zip(*rows, strict=True)
        ]
        for rows in zip(tiles, others, strict=True)
    ]
    return jnp.stack([jnp.stack(row) for row in products])


def transform_kernel(kernel: Float[Array, "3 3 i o"]) -> Float[Array, "4 4 i o"]:
    """G g Gᵀ for every pair of channels."""
    matrix = jnp.asarray(G, kernel.dtype)
    return jnp.einsum("ai,bj,ijco->abco", matrix, matrix, kernel)


def restore_kernel(kernels: Float[Array, "4 4 i o"]) -> Float[Array, "3 3 i o"]:
    """The adjoint of `transform_kernel`."""
    matrix = jnp.asarray(G, kernels.dtype)
    return jnp.einsum("ai,bj,abco->ijco", matrix, matrix, kernels)
