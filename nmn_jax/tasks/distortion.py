"""Random distortions of images: a turn, a stretch, a slant, a shift, a mirror, a smooth
bend, and a thicker or thinner line.

They are drawn and applied on the device, small ones for each image on its own, large
ones for all drawings of a character alike, which makes it another character. What they
are for is in the studies: a few thousand characters are seen hundreds of times in a
long training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import ndimage
from jaxtyping import Array, Float, Int, Key

# `(key, images [..., H, W]) -> images`, ink 1.
Distort = Callable[[jax.Array, jax.Array], jax.Array]
# `(key, images [I, H, W], labels [I]) -> images` of one episode.
Recast = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
# Waves of a bend along either axis.
WAVES = 3
AMOUNTS = 8 + 2 * WAVES**2


class Limits(NamedTuple):
    """How far an image may be changed; every amount is uniform up to both signs.

    rotate: degrees
    stretch: of height and of width, each by a factor of up to e^stretch or e^-stretch
    shear: pixels to the side a pixel downwards
    shift: pixels, of either axis
    stroke: how far a line goes towards the darkest (or the lightest) of the 3 x 3
      pixels around each of its own
    mirror: share of images whose left and right change places; no amount, but a chance
    bend: pixels that the longest of nine waves moves what it moves most, shorter ones
      less (Amit, Grenander and Piccioni, 1991); the border stays where it is
    """

    rotate: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    stroke: float = 0.0
    mirror: float = 0.0
    bend: float = 0.0


class View(NamedTuple):
    """How an image is seen: a place of the new one, from its middle, is `matrix @ place
    + shift + bend` in the old one, where `waves` are those of the bend at the place, or
    None without one; `stroke` is `redraw`'s amount."""

    matrix: Float[Array, "2 2"]
    shift: Float[Array, " 2"]
    waves: Float[Array, "2 waves waves"] | None
    stroke: Float[Array, ""]


def make_distort(limits: Limits) -> Distort:
    """Distortions within `limits`, each image's own; what comes in from outside an
    image is no ink.

    Raises:
      ValueError: for a limit below zero, or more than every image mirrored.
    """
    _check(limits)

    def distort(
        key: Key[Array, ""], images: Float[Array, "*batch height width"]
    ) -> Float[Array, "*batch height width"]:
        flat = images.reshape(-1, *images.shape[-2:])
        views = _views(limits, _amounts(key, len(flat)))
        return jax.vmap(show)(flat, views).reshape(images.shape)

    return distort


def make_recast(images: Limits, characters: Limits) -> Recast:
    """Distortions of an episode: all images of one label are changed alike within
    `characters`, then each on its own within `images`; pixels are interpolated once.

    What makes another character of one, a mirror or a strong slant, multiplies the
    characters there are to learn from, as turning them by right angles does (Santoro
    et al., 2016).

    Raises:
      ValueError: for a limit below zero, or more than every image mirrored.
    """
    _check(images)
    _check(characters)

    def recast(
        key: Key[Array, ""],
        pictures: Float[Array, "images height width"],
        labels: Int[Array, " images"],
    ) -> Float[Array, "images height width"]:
        own, shared = jax.random.split(key)
        alike = jax.vmap(
            lambda label: _amounts(jax.random.fold_in(shared, label), 1)[0]
        )(labels)
        near = _views(images, _amounts(own, len(pictures)))
        return jax.vmap(show)(pictures, near, _views(characters, alike))

    return recast


def _amounts(key: jax.Array, count: int) -> Float[Array, "count amounts"]:
    return jax.random.uniform(key, (count, AMOUNTS), minval=-1.0)


def _views(limits: Limits, amounts: Float[Array, "count amounts"]) -> View:
    return jax.vmap(lambda each: view(limits, each))(amounts)


def view(limits: Limits, amounts: Float[Array, " amounts"]) -> View:
    """The distortion of these amounts, each from -1 to 1."""
    shift, stroke = limits.shift * amounts[4:6], limits.stroke * amounts[6]
    # Sines at every place of every image are dear: not for nothing.
    waves = _waves(limits, amounts) if limits.bend else None
    return View(matrix(limits, amounts), shift, waves, stroke)


def _waves(limits: Limits, amounts: jax.Array) -> jax.Array:
    number = jnp.arange(1, WAVES + 1)
    share = 2 / (number[:, None] ** 2 + number[None] ** 2)
    return limits.bend * share[None] * amounts[8:].reshape(2, WAVES, WAVES)


def show(image: jax.Array, *views: View) -> jax.Array:
    """The image, distorted: seen through the first view of what the next have made."""
    rows, columns = image.shape
    middle = jnp.array([(rows - 1) / 2, (columns - 1) / 2])[:, None, None]
    places = jnp.indices(image.shape, image.dtype) - middle
    for each in views:
        places = through(each, places, (rows, columns))
    moved = ndimage.map_coordinates(image, list(places + middle), order=1)
    return redraw(moved, jnp.sum(jnp.stack([each.stroke for each in views])))


def through(
    view: View, places: Float[Array, "2 height width"], sides: tuple[int, int]
) -> Float[Array, "2 height width"]:
    """Where these places, from the middle, lie in the old image of these sides."""
    straight = jnp.einsum("ab,bhw->ahw", view.matrix, places)
    moved = straight + view.shift[:, None, None]
    if view.waves is None:
        return moved
    number = jnp.arange(1, WAVES + 1)[:, None, None]
    along = [
        jnp.sin(jnp.pi * number * (place[None] / side + 0.5))
        for place, side in zip(places, sides, strict=True)
    ]
    return moved + jnp.einsum("aij,ihw,jhw->ahw", view.waves, *along)


def matrix(limits: Limits, amounts: jax.Array) -> jax.Array:
    """From places of the new image to those of the old, around its middle: `[2, 2]`."""
    angle = jnp.deg2rad(limits.rotate) * amounts[0]
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    turn = jnp.array([[cosine, -sine], [sine, cosine]])
    rows, columns = jnp.exp(limits.stretch * amounts[1:3])
    slant = jnp.array([[1.0, 0.0], [limits.shear * amounts[3], 1.0]])
    side = jnp.where((1 + amounts[7]) / 2 < limits.mirror, -1.0, 1.0)
    return turn @ slant @ jnp.array([[rows, 0.0], [0.0, side * columns]])


def redraw(image: jax.Array, amount: jax.Array) -> jax.Array:
    """Lines thicker for an amount above 0, thinner below."""

    def extreme(start: float, pick: Callable) -> jax.Array:
        return jax.lax.reduce_window(image, start, pick, (3, 3), (1, 1), "SAME")

    thick, thin = extreme(-jnp.inf, jax.lax.max), extreme(jnp.inf, jax.lax.min)
    return image + jnp.abs(amount) * (jnp.where(amount > 0, thick, thin) - image)


def _check(limits: Limits) -> None:
    if min(limits) < 0:
        raise ValueError(f"{limits}: no limit may be below 0")
    if limits.mirror > 1:
        raise ValueError(f"{limits}: mirror is a share of the images, at most 1")
