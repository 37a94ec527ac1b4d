"""A 3x3 convolution whose kernel differs from task to task, and its derivatives.

With weights adapted to every task (MAML and its kin) a convolution is one of images
`[E, I, H, W, C]` with kernels `[E, 3, 3, C, O]`. Left to the compiler that is a grouped
convolution, which it computes slowly, and twice differentiated even more so. But the
map is bilinear, and with its two adjoints it forms a family that is closed under
differentiation: with y = convolve(x, k),

    <convolve(x, k), y> = <x, transpose(y, k)> = <k, correlate(x, y)>,

so every derivative of one of the three is a sum of the other two. Each is written once
as matrix products for the images of one task (`task_maps`), and derivatives of any
order are made of these three alone; no rule of the compiler for the gradient of a
convolution is used.

Outputs are kept as `Windows`: the four positions of every pooling window apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.nets import bilinear, tiled
from nmn_jax.nets.convolution import Formulation, Pooled
from nmn_jax.nets.task_maps import MAPS, TAPS, Maps, Windows

# Up to this side a tile holds more of the border than of the image.
SMALL = 4
TASKS_AT_ONCE = 4

Over = Callable[..., Any]


def in_groups(function: Callable[..., Any], *arrays: Any, size: int) -> Any:
    """A function of one task applied to all, `size` tasks at a time.

    What a group needs stays in the cache, and its results are in memory before anyone
    uses them: across a loop the compiler cannot compute a value once per use. Groups
    are taken across the tasks, so that these may be sharded over devices.
    """
    tasks = len(jax.tree.leaves(arrays)[0])
    size = max(each for each in range(1, size + 1) if tasks % each == 0)
    parts = jax.tree.map(
        lambda leaf: leaf.reshape(size, tasks // size, *leaf.shape[1:]), arrays
    )

    def at(step: Any) -> Any:
        take = partial(jax.lax.dynamic_index_in_dim, index=step, axis=1, keepdims=False)
        return jax.vmap(function)(*jax.tree.map(take, parts))

    def body(step: Any, buffers: Any) -> Any:
        put = partial(jax.lax.dynamic_update_index_in_dim, index=step, axis=1)
        return jax.tree.map(put, buffers, at(step))

    start = jax.tree.map(
        lambda leaf: jnp.zeros((size, tasks // size, *leaf.shape[1:]), leaf.dtype),
        jax.eval_shape(at, 0),
    )
    done = jax.lax.fori_loop(0, tasks // size, body, start)
    return jax.tree.map(lambda leaf: leaf.reshape(tasks, *leaf.shape[2:]), done)


def side_by_side(function: Callable[..., Any], *arrays: Any) -> Any:
    """A function of one task applied to all of them at once, as batched products."""
    return jax.vmap(function)(*arrays)


GROUPED = partial(in_groups, size=TASKS_AT_ONCE)


def over_tasks(maps: Maps, over: Over, shape: tuple[int, int]) -> bilinear.Family:
    """`(images, kernels, ())`, `(windows, kernels, ())` and `(images, windows, ())`.

    Args:
      maps: of one task.
      over: how they are applied to all tasks, `in_groups` of a size, or `side_by_side`.
      shape: height and width of an image.
    """

    def convolve(images: jax.Array, kernels: jax.Array, given: tuple) -> Windows:
        del given
        return over(maps.convolve, images, kernels)

    def transpose(windows: Windows, kernels: jax.Array, given: tuple) -> jax.Array:
        del given
        back = lambda each, kernel: maps.transpose(each, kernel, shape)  # noqa: E731
        return over(back, windows, kernels)

    def correlate(images: jax.Array, windows: Windows, given: tuple) -> jax.Array:
        del given
        return over(maps.correlate, images, windows)

    return bilinear.close(bilinear.Family(convolve, transpose, correlate))


def pool(windows: Windows, shape: tuple[int, int]) -> Pooled:
    """The largest value of every whole window, and the sums of each image.

    Gradients, of any order, of a maximum go to the position that has it, the first of
    equals.
    """
    rows, columns = shape[0] // 2, shape[1] // 2
    whole = [values[:, :, :rows, :columns] for values in windows]
    total = reduce(add, windows).sum((2, 3))
    squares = reduce(add, [jnp.square(values) for values in windows]).sum((2, 3))
    return Pooled(_choose(whole, tiled.first_largest(whole)), total, squares)


def _choose(values: Sequence[jax.Array], index: jax.Array) -> jax.Array:
    """At every position the value of the array that `index` names."""
    chosen = values[0]
    for place, each in enumerate(values[1:], 1):
        chosen = jnp.where(index == place, each, chosen)
    return chosen


def _window_kernels(kernel: Float[Array, "9 o"]) -> list[jax.Array]:
    """The kernel on the 4x4 pixels under a window, at its four positions, `[16, O]`."""
    square = kernel.reshape(3, 3, -1)
    return [
        jnp.pad(square, ((a, 1 - a), (b, 1 - b), (0, 0))).reshape(16, -1)
        for a in range(2)
        for b in range(2)
    ]


def _masked(values: jax.Array, index: jax.Array) -> list[jax.Array]:
    return [jnp.where(index == place, values, 0) for place in range(4)]


def _pick(pixels: jax.Array, kernel: jax.Array, index: jax.Array) -> jax.Array:
    """`[N, 16]`, `[9, O]` -> `[N, O]`: the convolution where `index` says."""
    return _choose([pixels @ each for each in _window_kernels(kernel)], index)


def _lift(picked: jax.Array, kernel: jax.Array, index: jax.Array) -> jax.Array:
    pairs = zip(_masked(picked, index), _window_kernels(kernel), strict=True)
    return reduce(add, [values @ each.T for values, each in pairs])


def _drop(pixels: jax.Array, picked: jax.Array, index: jax.Array) -> jax.Array:
    products = [pixels.T @ each for each in (picked, *_masked(picked, index)[1:])]
    # What went to none of the other three positions went to the first.
    products[0] = products[0] - products[1] - products[2] - products[3]
    squares = [each.reshape(4, 4, -1) for each in products]
    places = [(a, b) for a in range(2) for b in range(2)]
    shares = [
        square[a : a + 3, b : b + 3]
        for square, (a, b) in zip(squares, places, strict=True)
    ]
    return reduce(add, shares).reshape(9, -1)


def _largest(over: Over) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`(pixels [E, N, 16], kernels [E, 9, O]) -> [E, N, O]`: convolved and pooled."""
    maps = [
        partial(lambda one, a, b, given: over(one, a, b, given), one)
        for one in (_pick, _lift, _drop)
    ]
    family = bilinear.close(bilinear.Family(*maps))

    def values_and_index(pixels: jax.Array, kernel: jax.Array) -> tuple:
        values = [pixels @ each for each in _window_kernels(kernel)]
        return reduce(jnp.maximum, values), tiled.first_largest(values)

    @jax.custom_vjp
    def largest(pixels: jax.Array, kernels: jax.Array) -> jax.Array:
        return over(values_and_index, pixels, kernels)[0]

    def forward(pixels: jax.Array, kernels: jax.Array) -> tuple:
        values, index = over(values_and_index, pixels, kernels)
        return values, (pixels, kernels, index)

    def backward(kept: tuple, cotangent: jax.Array) -> tuple:
        pixels, kernels, index = kept
        return (
            family.left(cotangent, kernels, index),
            family.right(pixels, cotangent, index),
        )

    largest.defvjp(forward, backward)
    return largest


def shallow(
    images: Float[Array, "e i h w 1"], kernels: Float[Array, "e 3 3 1 o"], *, over: Over
) -> Pooled:
    """Single-channel images: the moments as in `tiled.shallow`, without y."""
    tasks, count, height, width, _ = images.shape
    rows, columns = height // 2, width // 2
    padded = jnp.pad(images[..., 0], [(0, 0)] * 2 + [(1, 1)] * 2)
    pixels = jnp.stack(
        [
            padded[:, :, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
            for i in range(4)
            for j in range(4)
        ],
        axis=-1,
    ).reshape(tasks, -1, 16)
    weights = kernels.reshape(tasks, 9, -1)
    maximum = _largest(over)(pixels, weights)
    taps = [padded[:, :, i : i + height, j : j + width] for i, j in TAPS]
    under = jnp.stack(taps, axis=2).reshape(tasks, count, 9, -1)
    products = jnp.einsum("eiap,eibp->eiab", under, under)
    total = jnp.einsum("eia,eao->eio", under.sum(axis=-1), weights)
    squares = jnp.einsum("eiab,eao,ebo->eio", products, weights, weights)
    return Pooled(maximum.reshape(tasks, count, rows, columns, -1), total, squares)


def make_formulation(
    deep: str = "winograd", small: str = "patches", over: Over = GROUPED
) -> Formulation:
    """Inputs `[E, I, H, W, C]` and kernels `[E, 3, 3, C, O]` to Pooled.

    Args:
      deep: a name of `MAPS`, for images of more than one channel.
      small: the same, for images of at most `SMALL` positions a side.
      over: how the tasks are gone through.
    """

    def formulation(images: jax.Array, kernels: jax.Array) -> Pooled:
        if kernels.shape[3] == 1:
            return shallow(images, kernels, over=over)
        shape = images.shape[2], images.shape[3]
        maps = MAPS[small if max(shape) <= SMALL else deep]
        return pool(over_tasks(maps, over, shape).apply(images, kernels, ()), shape)

    return formulation


# By name, for comparison; `default_formulation` chooses.
FORMULATIONS: dict[str, Formulation] = {
    "winograd": make_formulation("winograd", "patches", GROUPED),
    "patches": make_formulation("patches", "patches", GROUPED),
    "batched": make_formulation("patches", "patches", side_by_side),
    "grouped": make_formulation("compiler", "compiler", side_by_side),
}


def default_formulation(channels: int) -> Formulation:
    """The fastest known for the backend at hand; few channels are not worth tiles.

    Measured on a CPU (benchmarks/maml.py); elsewhere products without a loop.
    """
    if jax.default_backend() != "cpu":
        return FORMULATIONS["batched"]
    return FORMULATIONS["winograd" if channels >= 32 else "batched"]
