"""A 3x3 convolution and what its block needs of it.

With y = conv(x, W), batch norm needs the first two moments of y and the pooling needs
its largest value in every 2x2 window. Normalisation with a gain that is not negative is
increasing, so it commutes with the maximum: a formulation returns the pooled y and the
moments, and nothing downstream ever touches all positions of y again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

IMAGES_AT_ONCE = 16


class Pooled(NamedTuple):
    """A convolution's output y `[E, I, H, W, O]`, pooled, and its sums per image."""

    maximum: Float[Array, "*images height width channels"]  # over 2x2 windows, VALID
    total: Float[Array, "*images channels"]  # sum of y over all positions
    squares: Float[Array, "*images channels"]  # sum of y² over all positions


# Inputs [E, I, H, W, C] and kernel [3, 3, C, O] to Pooled; zeros beyond the border.
Formulation = Callable[[jax.Array, jax.Array], Pooled]


def direct(
    inputs: Float[Array, "e i h w c"], kernel: Float[Array, "3 3 c o"]
) -> Pooled:
    """The compiler's own convolution."""
    return _direct(inputs, kernel, inputs.dtype)


def direct_bfloat16(
    inputs: Float[Array, "e i h w c"], kernel: Float[Array, "3 3 c o"]
) -> Pooled:
    """The compiler's convolution of bfloat16; what follows has the inputs' precision.

    Matrix units and the CPU's compiler add its products up in float32 and round the
    sum. A result in float32 cannot be asked for: on GPUs it would make the compiler
    convolve in float32.
    """
    return _direct(inputs, kernel, jnp.bfloat16)


def _direct(inputs: jax.Array, kernel: jax.Array, products: Any) -> Pooled:
    values = jax.lax.conv_general_dilated(
        inputs.reshape(-1, *inputs.shape[2:]).astype(products),
        kernel.astype(products), (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ).astype(inputs.dtype)  # fmt: skip
    images, height, width, channels = values.shape
    rows, columns = height // 2, width // 2
    cut = values[:, : 2 * rows, : 2 * columns]
    windows = cut.reshape(images, rows, 2, columns, 2, channels)
    results = windows.max((2, 4)), values.sum((1, 2)), jnp.square(values).sum((1, 2))
    return Pooled(
        *(each.reshape(*inputs.shape[:2], *each.shape[1:]) for each in results)
    )


def over_images(
    function: Callable[..., tuple[Any, Any]], *arrays: Any, at_once: int | None = None
) -> tuple[Any, Any]:
    """Apply `function` to a few images at a time, so that its work stays in the cache.

    Args:
      function: `(*arrays [n, ...]) -> (values [n, ...], sums)`.
      arrays: trees of arrays `[E, I, ...]`. The loop runs over parts of I, so that E
        may be sharded over devices.
      at_once: about so many images a time; None is IMAGES_AT_ONCE.

    Returns:
      Values `[E, I, ...]` of all images, and the sums added up.
    """
    episodes, images = jax.tree.leaves(arrays)[0].shape[:2]
    steps = _steps(episodes, images, at_once or IMAGES_AT_ONCE)
    lead = (episodes, images // steps, steps)
    parts = jax.tree.map(lambda each: each.reshape(*lead, *each.shape[2:]), arrays)

    def at(step: Any) -> tuple[Any, Any]:
        return function(*jax.tree.map(lambda each: _take(each, step), parts))

    def body(step: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        values, sums = at(step)
        buffers = jax.tree.map(lambda b, v: _put(b, v, step), carry[0], values)
        return buffers, jax.tree.map(jnp.add, carry[1], sums)

    values, sums = jax.eval_shape(at, 0)
    start = (
        jax.tree.map(lambda v: jnp.zeros((*lead, *v.shape[1:]), v.dtype), values),
        jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), sums),
    )
    values, sums = jax.lax.fori_loop(0, steps, body, start)
    join = lambda each: each.reshape(episodes, images, *each.shape[3:])  # noqa: E731
    return jax.tree.map(join, values), sums


def _steps(episodes: int, images: int, at_once: int) -> int:
    """The divisor of `images` that leaves nearly `at_once` images for a step."""
    divisors = [steps for steps in range(1, images + 1) if images % steps == 0]
    return min(divisors, key=lambda s: abs(episodes * images / s - at_once))


def _take(values: jax.Array, step: Any) -> jax.Array:
    """Part `step` of `[E, I / steps, steps, ...]` as `[n, ...]`."""
    part = jax.lax.dynamic_index_in_dim(values, step, 2, keepdims=False)
    return part.reshape(-1, *part.shape[2:])


def _put(buffer: jax.Array, part: jax.Array, step: Any) -> jax.Array:
    part = part.reshape(*buffer.shape[:2], *part.shape[1:])
    return jax.lax.dynamic_update_index_in_dim(buffer, part, step, 2)
