"""Which slots are most like a query: searches for memories that read a few of them.

A search is asked for the k slots of the highest similarity. What it finds is a choice,
piecewise constant, and carries no gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt

from nmn_jax.memory.addressing import Similarity

# Lists up to this length are sorted as they are; of longer ones the best of each block.
SHORT = 256
WORD = 32


class Search(NamedTuple):
    """How slots are found, with whatever it keeps beside the rows for that.

    start: `(rows [L, K]) -> index`
    moved: `(index, slot [], row [K]) -> index`, after a write
    find: `(index, rows [L, K], query [K], count) -> slots [count]`, all different, the
      likest first
    """

    start: Callable[[jax.Array], Any]
    moved: Callable[[Any, jax.Array, jax.Array], Any]
    find: Callable[[Any, jax.Array, jax.Array, int], jax.Array]


def exact(similarity: Similarity) -> Search:
    """All slots are compared; the k likest are found without sorting them."""

    def find(index: tuple, rows: jax.Array, query: jax.Array, count: int) -> jax.Array:
        del index
        return largest(similarity(rows, query), count)

    return Search(lambda rows: (), lambda index, slot, row: index, find)


def largest(values: Float[Array, " values"], count: int) -> Int[Array, " count"]:
    """Places of the `count` largest numbers, the largest first.

    They stand in the `count` blocks with the largest maxima: only these are sorted.
    """
    total = len(values)
    if total <= max(SHORT, 4 * count):
        return jax.lax.top_k(values, count)[1]
    blocks = _in_blocks(values, max(SHORT, count), -jnp.inf)
    best = jax.lax.top_k(jnp.max(blocks, axis=0), count)[1]
    among = jax.lax.top_k(blocks[:, best].reshape(-1), count)[1]
    return among // count * blocks.shape[1] + best[among % count]


def _in_blocks(values: jax.Array, blocks: int, fill: Any) -> jax.Array:
    """`[L] -> [L / blocks, blocks]`: neighbours, written one after the other, stand in
    different blocks, and maxima of blocks are taken over whole vectors."""
    values = jnp.pad(values, (0, -len(values) % blocks), constant_values=fill)
    return values.reshape(-1, blocks)


def by_signs(
    similarity: Similarity, *, width: int, bits: int = 128, candidates: int = SHORT
) -> Search:
    """Random hyperplanes (Charikar, 2002) choose candidates, the similarity among them.

    Every slot has a code, of every hyperplane the side on which its key lies. Codes are
    compared in bits, 1/32 of the numbers; the nearest of every block of L / candidates
    slots is compared by the similarity. A write changes one code. For similarities that
    grow with the angle's cosine; an approximation, where L exceeds `candidates`.

    Args:
      similarity: between slots and query.
      width: leading numbers of a slot that are its key, K if all are.
      bits: hyperplanes, a multiple of 32.
      candidates: how many slots are compared by the similarity.

    Raises:
      ValueError: if `bits` is no positive multiple of 32, or there are no candidates.
    """
    if bits < WORD or bits % WORD or candidates < 1:
        raise ValueError(
            f"search by signs with bits={bits} and candidates={candidates}: bits must "
            f"be a positive multiple of {WORD}, candidates at least 1"
        )

    def code(rows: jax.Array) -> jax.Array:
        return _codes(rows[..., :width], bits)

    def find(
        index: jax.Array, rows: jax.Array, query: jax.Array, count: int
    ) -> jax.Array:
        if len(rows) <= max(candidates, 4 * count):
            return largest(similarity(rows, query), count)
        among = _nearest(index, code(query), max(candidates, count))
        return among[largest(similarity(rows[among], query), count)]

    return Search(code, lambda index, slot, row: index.at[:, slot].set(code(row)), find)


@functools.cache
def _hyperplanes(width: int, bits: int) -> np.ndarray:
    """Always the same ones, so that a trained model finds what it found."""
    return np.random.default_rng(0).normal(size=(width, bits)).astype(np.float32)


def _codes(keys: Float[Array, "*slots width"], bits: int) -> UInt[Array, words * slots]:
    """Signs of the keys' products with the hyperplanes, 32 to a word."""
    planes = jnp.asarray(_hyperplanes(keys.shape[-1], bits), keys.dtype)
    signs = (keys @ planes > 0).reshape(*keys.shape[:-1], -1, WORD)
    powers = jnp.left_shift(jnp.uint32(1), jnp.arange(WORD, dtype=jnp.uint32))
    words = jnp.sum(jnp.where(signs, powers, 0), axis=-1, dtype=jnp.uint32)
    return jnp.moveaxis(words, -1, 0)


def _nearest(
    codes: UInt[Array, "words slots"], code: UInt[Array, " words"], blocks: int
) -> Int[Array, " blocks"]:
    """The slot of each block whose code differs least from the query's."""
    apart = jnp.zeros(codes.shape[1:], jnp.int32)
    for own, asked in zip(codes, code, strict=True):
        apart = apart + jax.lax.population_count(own ^ asked).astype(jnp.int32)
    # More than any distance, so that what fills the last blocks is never the nearest.
    apart = _in_blocks(apart, blocks, WORD * len(codes) + 1)
    depth = len(apart)
    places = jnp.arange(depth, dtype=jnp.int32)[:, None]
    first = jnp.min(apart * depth + places, axis=0) % depth
    return first * blocks + jnp.arange(blocks, dtype=jnp.int32)


# `(similarity, width of keys) -> Search`
SEARCHES: dict[str, Callable[[Similarity, int], Search]] = {
    "exact": lambda similarity, width: exact(similarity),
    "signs": lambda similarity, width: by_signs(similarity, width=width),
}
