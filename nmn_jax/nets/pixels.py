"""Images as they are, at another size: the features of networks without an encoder."""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Float

from nmn_jax.nets.encoder import Encoder, Phase


def make_pixel_encoder(side: int, image_shape: tuple[int, ...]) -> Encoder:
    """Images shrunk to `side` x `side` by their mean, flat; nothing is learned.

    Raises:
      ValueError: for inputs that are no images of at least that size.
    """
    if len(image_shape) != 2 or min(image_shape) < side:
        raise ValueError(
            f"inputs of shape {image_shape} cannot be shrunk to {side} x {side} pixels"
        )

    def apply(
        params: tuple[()],
        stats: tuple[()],
        images: Float[Array, "episodes images height width"],
        *,
        supports: int,
        phase: Phase,
    ) -> tuple[Float[Array, "episodes images features"], tuple[()]]:
        del params, supports, phase
        count = images.shape[:2]
        shrunk = jax.image.resize(images, (*count, side, side), "linear")
        return shrunk.reshape(*count, side * side), stats

    def init(key: Any) -> tuple[Any, Any]:
        del key
        return (), ()

    return Encoder(init, apply, side * side)
