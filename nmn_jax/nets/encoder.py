"""From the inputs of episodes to features.

The paper's encoder (blocks of 3x3 convolution, batch norm, ReLU, 2x2 max-pool) is
applied once to all images of a batch of episodes, outside `scan` and `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from nmn_jax.nets import convolution, leaves, tiled, windows

Norm = Literal["support", "batch", "running", "episode"]
Phase = Literal["train", "test"]
Precision = Literal["float32", "bfloat16"]
Statistics = tuple["Moments", ...]

NORMS = ("support", "batch", "running", "episode")
# Norms that keep an average of what they saw in training, and use it at test time.
KEPT = ("running", "episode")
PHASES = ("train", "test")
PRECISIONS = ("float32", "bfloat16")
EPSILON = 1e-5


class Encoder(NamedTuple):
    """Images of episodes to features.

    init: `(key, image_shape) -> (params, stats)`
    apply: `(params, stats, images [E, I, H, W], *, supports, phase) -> (features
      [E, I, D], stats)`; the first `supports` images of an episode are its support set
    width: D
    """

    init: Callable[..., tuple[Any, Any]]
    apply: Callable[..., tuple[jax.Array, Any]]
    width: int


class Block(NamedTuple):
    """Parameters of one block: the kernel, and gain and bias of its batch norm."""

    kernel: Float[Array, "3 3 inputs channels"]
    gain: Float[Array, " channels"]
    bias: Float[Array, " channels"]


class Moments(NamedTuple):
    """Mean and (biased) variance of a convolution's output, per episode or for all."""

    mean: Float[Array, "*episodes channels"]
    variance: Float[Array, "*episodes channels"]


# How a convolution is computed, by the precision of its products.
FORMULATIONS: dict[str, dict[str, convolution.Formulation]] = {
    "float32": {"direct": convolution.direct, "tiled": tiled.tiled},
    "bfloat16": {
        "direct": convolution.direct_bfloat16, "windows": windows.windows,
    },
}  # fmt: skip
FASTEST_ON_CPU = {"float32": "tiled", "bfloat16": "windows"}


def default_formulation(
    channels: int, precision: Precision = "float32"
) -> convolution.Formulation:
    """The fastest for the backend at hand; few channels are not worth more than one."""
    own = jax.default_backend() == "cpu" and channels >= 32
    return FORMULATIONS[precision][FASTEST_ON_CPU[precision] if own else "direct"]


def make_conv_encoder(
    *,
    channels: int = 64,
    layers: int = 3,
    norm: Norm = "support",
    momentum: float = 0.9,
    image_shape: tuple[int, int] = (28, 28),
    precision: Precision = "float32",
    formulation: convolution.Formulation | None = None,
) -> Encoder:
    """The paper's encoder: `layers` x (convolution, batch norm, ReLU, max-pool), flat.

    Args:
      norm: whose statistics normalise. `support`: those of each episode's support
        images. `batch`: those of all images of each episode, queries too, which makes
        the answers transductive. `running`: in training those of all images of all
        episodes, at test time their exponential average. `episode`: in training as
        `batch`, at test time the average of that over episodes.
      momentum: weight of the old value in that average.
      image_shape: height and width of an image.
      precision: of the convolutions' products. `float32`: that of the parameters.
        `bfloat16`: what is multiplied is rounded to 8 bits, forwards and backwards, and
        added up in float32; parameters, moments, features and gradients stay as they
        are.
      formulation: how a convolution is computed, one of `FORMULATIONS[precision]`; None
        is the one measured fastest on this backend.

    Raises:
      ValueError: for an unknown `norm` or `precision`, or images too small for so many
        poolings.
    """
    _check_encoder(norm, precision, layers, image_shape)
    rows, columns = (side // 2**layers for side in image_shape)
    convolve = formulation or default_formulation(channels, precision)

    def init(key: jax.Array, shape: tuple[int, int] = image_shape) -> tuple[Any, Any]:
        _check_shape(shape, image_shape)
        params = _init_blocks(key, layers, channels)
        # Arrays of their own: a donated state must not hold the same buffer twice.
        moments = [Moments(jnp.zeros(channels), jnp.ones(channels)) for _ in params]
        return params, tuple(moments) if norm in KEPT else ()

    def apply(
        params: tuple[Block, ...],
        stats: Statistics,
        images: Float[Array, "episodes images height width"],
        *,
        supports: int,
        phase: Phase,
    ) -> tuple[Float[Array, "episodes images features"], Statistics]:
        _check_inputs(images.shape, image_shape, supports, phase)
        features = images[..., None].astype(params[0].kernel.dtype)
        used = []
        for index, block in enumerate(params):
            # With the gain's sign in the kernel, normalisation is increasing.
            sign = jnp.where(block.gain < 0, -1, 1).astype(block.gain.dtype)
            pooled = convolve(features, block.kernel * sign[..., None, None, None, :])
            if norm in KEPT and phase == "test":
                moments = stats[index]
            else:
                scale = sign / (features.shape[2] * features.shape[3])
                moments = _moments(pooled, scale, norm, supports)
            features = _normalise(pooled.maximum, moments, block, sign)
            used.append(moments)
        if norm in KEPT and phase == "train":
            seen = jax.tree.map(lambda each: each.reshape(-1, channels).mean(0), used)
            stats = optax.incremental_update(tuple(seen), stats, 1 - momentum)
        return features.reshape(*images.shape[:2], -1), stats

    return Encoder(init, apply, rows * columns * channels)


def make_dense_encoder(width: int, input_size: int) -> Encoder:
    """relu(x W + b) for inputs that are vectors; nothing is normalised.

    Args:
      width: D, of the features.
      input_size: length of an input.

    Raises:
      ValueError: (when applied) for inputs that are not `[E, I, input_size]`.
    """
    dense = leaves.make_dense(width)

    def init(key: jax.Array, shape: tuple[int, ...] = (input_size,)) -> tuple[Any, Any]:
        _check_shape(shape, (input_size,))
        return dense.init(key, input_size), ()

    def apply(
        params: Any,
        stats: tuple[()],
        inputs: Float[Array, "episodes inputs size"],
        *,
        supports: int,
        phase: Phase,
    ) -> tuple[Float[Array, "episodes inputs features"], tuple[()]]:
        _check_inputs(inputs.shape, (input_size,), supports, phase)
        return jax.nn.relu(dense.apply(params, inputs)), stats

    return Encoder(init, apply, width)


def _init_blocks(key: jax.Array, layers: int, channels: int) -> tuple[Block, ...]:
    inputs = (1,) + (channels,) * (layers - 1)
    pairs = zip(jax.random.split(key, layers), inputs, strict=True)
    return tuple(_init_block(k, i, channels) for k, i in pairs)


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(shape) != tuple(expected):
        raise ValueError(
            f"init was given inputs of shape {tuple(shape)}, but this encoder was made "
            f"for {tuple(expected)}; make one for the shape you have."
        )


def _check_encoder(
    norm: str, precision: str, layers: int, image_shape: tuple[int, int]
) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm is {norm!r}; choose one of {', '.join(NORMS)}.")
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}."
        )
    if min(image_shape) < 2**layers:
        raise ValueError(
            f"{layers} poolings leave nothing of images of shape {tuple(image_shape)}; "
            f"use fewer layers or images of at least {2**layers} pixels a side."
        )


def _check_inputs(
    shape: tuple[int, ...], input_shape: tuple[int, ...], supports: int, phase: str
) -> None:
    if tuple(shape[2:]) != tuple(input_shape) or len(shape) < 3:
        raise ValueError(
            f"inputs have shape {tuple(shape)}; expected [episodes, inputs, "
            f"{', '.join(map(str, input_shape))}]."
        )
    if not 1 <= supports <= shape[1]:
        raise ValueError(
            f"supports is {supports}, but an episode has {shape[1]} inputs; pass how "
            "many of its first inputs are its support set."
        )
    if phase not in PHASES:
        raise ValueError(f"phase is {phase!r}; choose one of {', '.join(PHASES)}.")


def _init_block(key: jax.Array, inputs: int, channels: int) -> Block:
    kernel = leaves.conv_kernel(key, inputs, channels)
    return Block(kernel, jnp.ones((channels,)), jnp.zeros((channels,)))


def _moments(
    pooled: convolution.Pooled, scale: jax.Array, norm: Norm, supports: int
) -> Moments:
    """Moments over the images `norm` names, `[E, C]` (`running`: `[C]`).

    `scale` is one over the positions of an image, with the sign of the gain.
    """

    def mean(sums: jax.Array) -> jax.Array:
        if norm == "running":
            return sums.mean(axis=(0, 1))
        return (sums[:, :supports] if norm == "support" else sums).mean(axis=1)

    total, squares = mean(pooled.total), mean(pooled.squares)
    scale = jnp.broadcast_to(scale, total.shape)
    average = total * scale
    variance = squares * jnp.abs(scale) - jnp.square(average)
    # Rounding may leave a constant channel a variance just below zero.
    return Moments(average, jnp.maximum(variance, 0))


def _normalise(
    pooled: Float[Array, "e i h w c"], moments: Moments, block: Block, sign: jax.Array
) -> Float[Array, "e i h w c"]:
    """relu(gain (x - mean) / sqrt(variance + eps) + bias) as one scale and shift."""
    deviation = jnp.sqrt(moments.variance + EPSILON)
    # Moments, parameters, or both may be those of each episode.
    shape = jnp.broadcast_shapes(deviation.shape, block.gain.shape)
    deviation = jnp.broadcast_to(deviation, shape)
    scale = jnp.broadcast_to(block.gain, shape) / deviation
    mean = jnp.broadcast_to(moments.mean, shape)
    shift = jnp.broadcast_to(block.bias, shape) - mean * scale
    scale, shift = (
        jnp.atleast_2d(each)[:, None, None, None]
        for each in (scale * jnp.broadcast_to(sign, scale.shape), shift)
    )
    return jax.nn.relu(pooled * scale + shift)
