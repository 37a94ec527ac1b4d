"""The block's convolution for CPUs in half precision: one product over windows.

Measured (benchmarks/encoder.py): a CPU with matrix units multiplies bfloat16 three to
four times as fast as float32, the longer the sums the faster. What Winograd's tiles
save in products, their transforms then cost. So the 4x4 pixels under every pooling
window are laid side by side, and one product with the kernel at its four places gives
the window's four values. A single input channel is worth no product but in the gradient
for the kernel.

`products` is the precision of what is multiplied; inputs, results, sums and gradients
have that of the inputs. Reverse mode of any order; no forward mode.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from nmn_jax.nets import convolution, tiled, winograd
from nmn_jax.nets.convolution import Pooled

# Enough for long sums and few copies; their windows' pixels are in memory together.
IMAGES_AT_ONCE = 320


def windows(
    inputs: Float[Array, "e i h w c"],
    kernel: Float[Array, "3 3 c o"],
    products: Any = jnp.bfloat16,
) -> Pooled:
    """`shallow` for one input channel, `deep` for more."""
    one = kernel.shape[2] == 1
    return (shallow if one else deep)(inputs, kernel, products)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def moved(
    function: Callable[..., jax.Array], values: jax.Array, *rest: jax.Array
) -> jax.Array:
    """`function(values, *rest)` for a function that only moves and drops values.

    The CPU's compiler moves bfloat16 as float32, so their bits are moved instead.
    Gradients: those of `function`; `rest` has none.
    """
    if values.dtype != jnp.bfloat16:
        return function(values, *rest)
    bits = jax.lax.bitcast_convert_type(values, jnp.uint16)
    return jax.lax.bitcast_convert_type(function(bits, *rest), values.dtype)


def _moved_forward(function: Any, values: jax.Array, *rest: jax.Array) -> tuple:
    return moved(function, values, *rest), (values, rest)


def _moved_backward(function: Any, residuals: tuple, cotangent: jax.Array) -> tuple:
    values, rest = residuals
    pull = jax.linear_transpose(lambda values: function(values, *rest), values)
    return *pull(cotangent), *(None for _ in rest)


moved.defvjp(_moved_forward, _moved_backward)


def pixels(images: Shaped[Array, "n h w c"]) -> Shaped[Array, "windows pixels"]:
    """The 4x4 pixels under every pooling window; zeros beyond the border."""
    count, height, width, channels = images.shape
    rows, columns = winograd.counts(height, width)
    pads = (0, 0), (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0)
    # Two neighbours of a row as one: half as many pieces, twice as long.
    pairs = jnp.pad(images, pads).reshape(count, 2 * rows + 2, columns + 1, -1)
    pieces = [
        pairs[:, i : i + 2 * rows - 1 : 2, j : j + columns]
        for i in range(4)
        for j in range(2)
    ]
    return jnp.stack(pieces, axis=3).reshape(-1, 16 * channels)


def place_kernel(kernel: Float[Array, "3 3 c o"]) -> Float[Array, "pixels values"]:
    """The kernel at the four positions of a window, as a matrix `[16 C, 4 O]`."""
    places = [
        jnp.pad(kernel, ((a, 1 - a), (b, 1 - b), (0, 0), (0, 0)))
        for a in range(2)
        for b in range(2)
    ]
    return jnp.stack(places, axis=3).reshape(16 * kernel.shape[2], -1)


def image(values: Shaped[Array, "n rows columns 4 c"]) -> Shaped[Array, "n h w c"]:
    """The four values of every window as an image of even sides."""
    count, rows, columns, _, channels = values.shape
    parts = values.reshape(count, rows, columns, 2, 2, channels).swapaxes(2, 3)
    return parts.reshape(count, 2 * rows, 2 * columns, channels)


def parted(images: Float[Array, "*lead h w c"]) -> Float[Array, "*lead r q 4 c"]:
    """The adjoint of `image`: the four values of every window, zeros beyond the border.

    The shape is `[..., rows, columns, 4, C]`.
    """
    *lead, height, width, channels = images.shape
    rows, columns = winograd.counts(height, width)
    pads = [(0, 0)] * len(lead)
    pads += [(0, 2 * rows - height), (0, 2 * columns - width), (0, 0)]
    parts = jnp.pad(images, pads).reshape(*lead, rows, 2, columns, 2, channels)
    return parts.swapaxes(-4, -3).reshape(*lead, rows, columns, 4, channels)


def turned(values: Float[Array, "n r q 4 c"]) -> Float[Array, "values windows"]:
    """A row for every place and channel, a column for every window.

    The compiler's transpose of so many numbers takes ten times as long as a product
    with the identity, which is exact: the product's own transpose is a fast one.
    """
    flat = values.reshape(-1, values.shape[3] * values.shape[4])
    one = jnp.eye(flat.shape[1], dtype=flat.dtype)
    contracted = (((1,), (1,)), ((), ()))
    sums = jnp.promote_types(flat.dtype, jnp.float32)
    found = jax.lax.dot_general(one, flat, contracted, preferred_element_type=sums)
    return found.astype(flat.dtype)


def around(values: Shaped[Array, "n rows columns 4 c"]) -> jax.Array:
    """`pixels` of the image that these values are."""
    return pixels(image(values))


def multiply(left: Float[Array, "n k"], right: Float[Array, "k m"]) -> jax.Array:
    """A matrix product with sums in float32 or better."""
    # On CPUs rows by columns, neither turned: all else is converted to float32 first.
    sums = jnp.promote_types(left.dtype, jnp.float32)
    return jax.lax.dot(left, right, preferred_element_type=sums)


def _inside(size: tuple[int, int]) -> np.ndarray:
    """Which of the four values of windows `[rows, columns, 4, 1]` an image has."""
    height, width = size
    rows, columns = winograd.counts(height, width)
    place = np.arange(4)
    down = 2 * np.arange(rows)[:, None, None] + place // 2 < height
    across = 2 * np.arange(columns)[:, None] + place % 2 < width
    return (down & across)[..., None]


def _keep(inside: np.ndarray, values: jax.Array) -> jax.Array:
    return values if inside.all() else values * jnp.asarray(inside[None], values.dtype)


def deep(
    inputs: Float[Array, "e i h w c"], kernel: Float[Array, "3 3 c o"], products: Any
) -> Pooled:
    """A convolution of many channels."""
    return _deep(parted(inputs), kernel, products, inputs.shape[2:4])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _deep(
    inputs: Float[Array, "e i r q 4 c"],
    kernel: Float[Array, "3 3 c o"],
    products: Any,
    size: tuple[int, int],
) -> Pooled:
    return _deep_forward(inputs, kernel, products, size)[0]


def _deep_forward(
    inputs: jax.Array, kernel: jax.Array, products: Any, size: tuple[int, int]
) -> tuple:
    height, width = size
    placed = place_kernel(kernel.astype(products))

    def part(inputs: jax.Array) -> tuple[tuple, tuple]:
        values = multiply(moved(around, inputs), placed).astype(kernel.dtype)
        values = _keep(_inside(size), values.reshape(*inputs.shape[:4], -1))
        maximum = values.max(3)[:, : height // 2, : width // 2]
        total, squares = (v.sum((1, 2, 3)) for v in (values, jnp.square(values)))
        return (Pooled(maximum, total, squares), values.astype(products)), ()

    rounded = inputs.astype(products)
    (pooled, values), _ = convolution.over_images(part, rounded, at_once=IMAGES_AT_ONCE)
    return pooled, (rounded, kernel, values)


def _deep_backward(
    products: Any, size: tuple[int, int], residuals: tuple, cotangent: Pooled
) -> tuple:
    rounded, kernel, values = residuals
    flipped = place_kernel(kernel[::-1, ::-1].swapaxes(2, 3).astype(products))

    def part(inputs: jax.Array, values: jax.Array, cotangent: Pooled) -> tuple:
        outer = _outer(values.astype(kernel.dtype), cotangent, size)
        seen = moved(around, outer.astype(products))
        inner = multiply(seen, flipped).astype(kernel.dtype)
        # The values around an input are those that it has a share in: the product of
        # both is the kernel's gradient.
        return inner.reshape(inputs.shape), multiply(turned(inputs), seen)

    inner, shares = convolution.over_images(
        part, rounded, values, cotangent, at_once=IMAGES_AT_ONCE
    )
    return inner, _collect(shares, kernel.shape[2]).astype(kernel.dtype)


_deep.defvjp(_deep_forward, _deep_backward)


def _outer(
    values: Float[Array, "n rows columns 4 o"],
    cotangent: Pooled,
    size: tuple[int, int],
) -> Float[Array, "n rows columns 4 o"]:
    """The cotangent of the convolution's own values, window by window."""
    pads = [
        (0, 0), *((0, -(-side // 2) - side // 2) for side in size), (0, 0)
    ]  # fmt: skip
    maximum = jnp.pad(cotangent.maximum, pads)[..., None, :]
    largest = tiled.first_largest([values[..., q, :] for q in range(4)])[..., None, :]
    total, squares = (sums[:, None, None, None] for sums in cotangent[1:])
    place = jnp.arange(4, dtype=values.dtype)[None, None, None, :, None]
    outer = jnp.where(largest == place, maximum, 0) + total + 2 * squares * values
    return _keep(_inside(size), outer)


def _collect(share: Float[Array, "inputs pixels"], channels: int) -> jax.Array:
    """The adjoint of `place_kernel` for the kernel that was flipped: `[3, 3, C, O]`."""
    parts = share.reshape(2, 2, channels, 4, 4, -1)
    places = [
        parts[a, b, :, a : a + 3, b : b + 3][:, ::-1, ::-1]
        for a in range(2)
        for b in range(2)
    ]
    return (places[0] + places[1] + places[2] + places[3]).transpose(1, 2, 0, 3)


def shallow(
    inputs: Float[Array, "e i h w 1"], kernel: Float[Array, "3 3 1 o"], products: Any
) -> Pooled:
    """A convolution of single-channel images, as `tiled.shallow` but for a gradient."""
    total, squares = tiled.shallow_sums(inputs, kernel)
    return Pooled(shallow_maximum(inputs, kernel, products), total, squares)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def shallow_maximum(
    inputs: Float[Array, "e i h w 1"], kernel: Float[Array, "3 3 1 o"], products: Any
) -> Float[Array, "e i h2 w2 o"]:
    """The convolution of single-channel images, pooled."""
    return tiled.shallow_maximum(inputs, kernel)


def _shallow_forward(inputs: jax.Array, kernel: jax.Array, products: Any) -> tuple:
    return tiled.shallow_maximum(inputs, kernel), (inputs, kernel)


def _shallow_backward(products: Any, residuals: tuple, cotangent: jax.Array) -> tuple:
    inputs, kernel = residuals

    def part(
        inputs: jax.Array, cotangent: jax.Array, largest: jax.Array
    ) -> tuple[tuple, tuple]:
        given, taps = cotangent.astype(products), moved(_taps, inputs.astype(products))
        return (), tuple(multiply(taps, moved(at, given, largest)) for at in CHOSEN)

    # Before the loop: within it the compiler would do it anew for every place.
    values = tiled.window_values(tiled.window_pixels(inputs), kernel)
    largest = tiled.first_largest(values).astype(jnp.uint16)
    _, shares = convolution.over_images(
        part, inputs, cotangent, largest, at_once=IMAGES_AT_ONCE
    )
    at = [share.reshape(4, 4, 1, -1) for share in shares]
    total = at[0][:3, :3] + at[1][:3, 1:] + at[2][1:, :3] + at[3][1:, 1:]
    # Nobody asks for it in training, and the compiler drops it then.
    _, pull = jax.vjp(lambda x: convolution.direct(x, kernel).maximum, inputs)
    return *pull(cotangent), total.astype(kernel.dtype)


def _taps(inputs: Shaped[Array, "n h w 1"]) -> Shaped[Array, "16 windows"]:
    """The 4x4 pixels under every pooling window, window by window."""
    rows = tiled.window_pixels(inputs)
    return jnp.stack([pixel.reshape(-1) for row in rows for pixel in row])


def _chosen(
    place: int, values: Shaped[Array, "n h w o"], largest: Shaped[Array, "n h w o"]
) -> Shaped[Array, "windows o"]:
    """The values of windows whose largest one is at this place; else zero."""
    zero = jnp.zeros((), values.dtype)
    return jnp.where(largest == place, values, zero).reshape(-1, values.shape[-1])


CHOSEN = tuple(partial(_chosen, place) for place in range(4))


shallow_maximum.defvjp(_shallow_forward, _shallow_backward)
