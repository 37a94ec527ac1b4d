"""First kernels of controllers and decoder: what an untrained network does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Kernel = Callable[[jax.Array, tuple[int, int]], jax.Array]


def random_kernel(
    key: jax.Array, shape: tuple[int, int]
) -> Float[Array, "inputs width"]:
    """N(0, 1/inputs): keeps the scale of its input (LeCun et al., 1998)."""
    return jax.random.normal(key, shape) / jnp.sqrt(float(shape[0]))


def identity_kernel(
    key: jax.Array, shape: tuple[int, int]
) -> Float[Array, "inputs width"]:
    """Passes the first K inputs on unchanged; the rows below them are random."""
    inputs, width = shape
    passed = jnp.eye(min(inputs, width), width)
    if inputs <= width:
        return passed
    return jnp.concatenate([passed, random_kernel(key, (inputs - width, width))])


def make_output_kernel(key_width: int) -> Kernel:
    """m = [q's key part; m̄'s value part] at first, for inputs [q; m̄; ...].

    The first `key_width` numbers of a slot are its key, the others its value: the
    output carries the query's key on to the write controller and what was recalled to
    the decoder. Rows below, if any, are zero.
    """

    def kernel(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        del key
        keys, values = _halves(key_width, shape)
        below = jnp.zeros((max(shape[0] - 2 * shape[1], 0), shape[1]))
        return jnp.concatenate([keys, values, below])[: shape[0]]

    return kernel


def make_write_kernel(key_width: int) -> Kernel:
    """m' = [m's key part; √K onehot(y)] at first, for inputs [m; y].

    The label fills the first numbers of the value part, at the scale of a key; nothing
    else enters there, so a slot starts as a pair of key and label.
    """

    def kernel(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        del key
        keys, _ = _halves(key_width, shape)
        root = jnp.sqrt(float(shape[1]))
        classes = max(shape[0] - shape[1], 0)
        labels = root * jnp.eye(classes, shape[1], k=key_width)
        return jnp.concatenate([keys, labels])[: shape[0]]

    return kernel


def make_random_write_kernel(key_width: int) -> Kernel:
    """As `make_write_kernel`, but a random map of the key part: nothing is found."""
    matched = make_write_kernel(key_width)

    def kernel(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        width = shape[1]
        keys, _ = _halves(key_width, shape)
        mixed = keys @ random_kernel(key, (width, width)) @ keys
        mixed *= jnp.sqrt(width / key_width)  # of the scale of its input
        return jnp.concatenate([mixed, matched(key, shape)[width:]])[: shape[0]]

    return kernel


def make_decoder_kernel(key_width: int) -> Callable[..., jax.Array]:
    """Logits read the numbers where `make_write_kernel` put the label, and no others.

    With this the untrained network answers as a matching network (Vinyals et al.,
    2016): the encoder gets a gradient from the first step, before anything else is
    learned.
    """

    def kernel(key: jax.Array, shape: tuple[int, int], dtype: Any = None) -> jax.Array:
        del key
        return jnp.eye(shape[0], shape[1], k=-key_width, dtype=dtype)

    return kernel


def _halves(key_width: int, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Diagonal matrices that pass on the key part and the value part."""
    first = (jnp.arange(shape[1]) < key_width).astype(float)
    return jnp.diag(first), jnp.diag(1 - first)
