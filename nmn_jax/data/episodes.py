"""N-way episodes drawn on the device from one array of images.

Everything depends on the key alone: an episode's own key decides its classes, drawers,
labels and order, so it is the same on one device and on eight, alone and in a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8, UInt32

Images = UInt8[Array | np.ndarray, "classes drawers height width"]


class Episode(NamedTuple):
    """A batch of episodes; labels are 0 to ways - 1, ink is 1."""

    support_images: Float[Array, "episodes support height width"]
    support_labels: Int[Array, "episodes support"]
    query_images: Float[Array, "episodes query height width"]
    query_labels: Int[Array, "episodes query"]


class Places(NamedTuple):
    """Where the images of one episode lie in the data, and their labels."""

    classes: Int[Array, " images"]
    drawers: Int[Array, " images"]
    labels: Int[Array, " images"]


def sample(
    key: Key[Array, ""],
    images: Images,
    *,
    episodes: int,
    ways: int,
    shots: int,
    queries: int,
) -> Episode:
    """Draw a batch of episodes.

    An episode has distinct classes, and distinct drawers within a class, in uniform
    random order; so which class carries which label is uniform too. Supports and
    queries are shuffled, each with the same count of every class.

    Args:
        key: decides everything.
        images: the classes to draw from, ink 255.
        episodes: size of the batch.
        ways: classes an episode.
        shots: support images a class.
        queries: query images a class, so ``ways * queries`` an episode.

    Returns:
        ``Episode`` with ``ways * shots`` supports and ``ways * queries`` queries each.

    Raises:
        ValueError: the data have too few classes or drawers.
    """
    keys = jax.random.split(key, episodes)
    return sample_each(keys, images, ways=ways, shots=shots, queries=queries)


def sample_each(
    keys: Key[Array, " episodes"],
    images: Images,
    *,
    ways: int,
    shots: int,
    queries: int,
) -> Episode:
    """As ``sample``, with one key for each episode (fixed test episodes)."""
    _check_counts(images.shape, ways, shots, queries)
    places = jax.vmap(
        lambda key: _places(
            key, images.shape[:2], ways=ways, shots=shots, queries=queries
        )
    )(keys)
    drawn = jnp.asarray(images)[places.classes, places.drawers]
    pixels = drawn.astype(jnp.float32) / 255
    cut = ways * shots
    return Episode(
        pixels[:, :cut], places.labels[:, :cut], pixels[:, cut:], places.labels[:, cut:]
    )


def fixed_keys(seed: int, episodes: int) -> Key[Array, " episodes"]:
    """Keys of a fixed series of episodes; a longer series begins with the shorter."""
    key = jax.random.key(seed)
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(
        jnp.arange(episodes)
    )


def distinct(bits: UInt32[Array, "2 count"], size: int) -> Int[Array, " count"]:
    """Distinct numbers below ``size``, uniform and in uniform random order.

    R. W. Floyd's algorithm (Bentley and Floyd, CACM 30(9), 1987): unlike a permutation
    it never touches all ``size`` numbers.

    Args:
        bits: random bits; they come from outside because one call of the generator for
            a whole episode compiles several times as fast as one call a use.
        size: at least ``count``; its share of 2^32 bounds the bias.
    """
    count = bits.shape[1]
    last = jnp.arange(size - count, size, dtype=jnp.int32)
    drawn = (bits[0] % (last + 1).astype(jnp.uint32)).astype(jnp.int32)

    def insert(place, chosen):
        taken = (chosen == drawn[place]).any()
        return chosen.at[place].set(jnp.where(taken, last[place], drawn[place]))

    chosen = jax.lax.fori_loop(0, count, insert, jnp.full((count,), -1, jnp.int32))
    return chosen[jnp.argsort(bits[1])]


def _places(key, sizes, *, ways, shots, queries) -> Places:
    drawings = shots + queries
    bits = jax.random.bits(key, (2 * ways + 3 * ways * drawings,), jnp.uint32)
    class_bits, drawer_bits, order_bits = jnp.split(
        bits, [2 * ways, 2 * ways * (1 + drawings)]
    )
    chosen = distinct(class_bits.reshape(2, ways), sizes[0])
    drawers = jax.vmap(lambda own: distinct(own, sizes[1]))(
        drawer_bits.reshape(ways, 2, drawings)
    )
    labels = jnp.arange(ways, dtype=jnp.int32)[:, None].repeat(drawings, axis=1)
    cut = ways * shots
    orders = jnp.argsort(order_bits[:cut]), jnp.argsort(order_bits[cut:])

    def in_order(table):  # [ways, drawings] -> [images], supports first
        parts = table[:, :shots].ravel(), table[:, shots:].ravel()
        return jnp.concatenate([parts[0][orders[0]], parts[1][orders[1]]])

    return Places(in_order(chosen[labels]), in_order(drawers), in_order(labels))


def _check_counts(shape, ways: int, shots: int, queries: int) -> None:
    if min(ways, shots, queries) < 1:
        raise ValueError(
            f"ways={ways}, shots={shots}, queries={queries}: each must be at least 1"
        )
    if ways > shape[0]:
        raise ValueError(
            f"ways={ways} but the data have {shape[0]} classes; lower ways or give "
            "more classes"
        )
    if shots + queries > shape[1]:
        raise ValueError(
            f"shots={shots} and queries={queries} need {shots + queries} drawings a "
            f"class but the data have {shape[1]}; lower one of them"
        )
