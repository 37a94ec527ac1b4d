"""Small random distortions of images: a turn, a stretch, a slant, a shift, a thicker or
thinner line.

They are drawn and applied on the device, one for each image. What they are for is in
the studies: a few thousand characters are seen hundreds of times in a long training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import ndimage
from jaxtyping import Array, Float, Key

# `(key, images [..., H, W]) -> images`, ink 1.
Distort = Callable[[jax.Array, jax.Array], jax.Array]


class Limits(NamedTuple):
    """How far an image may be changed; every amount is uniform up to both signs.

    rotate: degrees
    stretch: of height and of width, each by a factor of up to e^stretch or e^-stretch
    shear: pixels to the side a pixel downwards
    shift: pixels, of either axis
    stroke: how far a line goes towards the darkest (or the lightest) of the 3 x 3
      pixels around each of its own
    """

    rotate: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    stroke: float = 0.0


def make_distort(limits: Limits) -> Distort:
    """Distortions within `limits`; what comes in from outside an image is no ink.

    Raises:
      ValueError: for a limit below zero.
    """
    if min(limits) < 0:
        raise ValueError(f"{limits}: no limit may be below 0")

    def distort(
        key: Key[Array, ""], images: Float[Array, "*batch height width"]
    ) -> Float[Array, "*batch height width"]:
        flat = images.reshape(-1, *images.shape[-2:])
        amounts = jax.random.uniform(key, (len(flat), 7), minval=-1.0)
        matrices = jax.vmap(lambda each: matrix(limits, each))(amounts)
        moved = jax.vmap(move)(flat, matrices, limits.shift * amounts[:, 4:6])
        drawn = jax.vmap(redraw)(moved, limits.stroke * amounts[:, 6])
        return drawn.reshape(images.shape)

    return distort


def matrix(limits: Limits, amounts: jax.Array) -> jax.Array:
    """From places of the new image to those of the old, around its middle: `[2, 2]`."""
    angle = jnp.deg2rad(limits.rotate) * amounts[0]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    turn = jnp.array([[cosine, -sine], [sine, cosine]])
    rows, columns = jnp.exp(limits.stretch * amounts[1:3])
    slant = jnp.array([[1.0, 0.0], [limits.shear * amounts[3], 1.0]])
    return turn @ slant @ jnp.array([[rows, 0.0], [0.0, columns]])


def move(image: jax.Array, matrix: jax.Array, shift: jax.Array) -> jax.Array:
    """The image as seen through the matrix, between pixels interpolated."""
    middle = [(side - 1) / 2 for side in image.shape]
    rows, columns = (
        axis - half
        for axis, half in zip(
            jnp.indices(image.shape, image.dtype), middle, strict=True
        )
    )
    seen = [
        matrix[axis, 0] * rows + matrix[axis, 1] * columns + middle[axis] + shift[axis]
        for axis in (0, 1)
    ]
    return ndimage.map_coordinates(image, seen, order=1)


def redraw(image: jax.Array, amount: jax.Array) -> jax.Array:
    """Lines thicker for an amount above 0, thinner below."""

    def extreme(start: float, pick: Callable) -> jax.Array:
        return jax.lax.reduce_window(image, start, pick, (3, 3), (1, 1), "SAME")

    thick, thin = extreme(-jnp.inf, jax.lax.max), extreme(jnp.inf, jax.lax.min)
    return image + jnp.abs(amount) * (jnp.where(amount > 0, thick, thin) - image)
