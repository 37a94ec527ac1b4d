"""Rows `[L, K]`: initialise, address, read, write (Eqs. 3, 4, 7).

Everything here is a pure function of one memory without a batch axis; `jax.vmap` at the
edge. A similarity is any function `(memory [L, K], query [K]) -> [L]`.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Similarity = Callable[[jax.Array, jax.Array], jax.Array]


def check_room(*, slots: int, width: int) -> None:
    """Refuse a memory without room.

    Raises:
      ValueError: if `slots` or `width` is not positive.
    """
    if slots < 1 or width < 1:
        raise ValueError(
            f"memory of {slots} slots of width {width}: both must be at least 1"
        )


def init(
    key: jax.Array, *, slots: int, width: int, scale: float = 1.0
) -> Float[Array, "slots width"]:
    """Rows drawn from N(0, scale²), shape `[L, K]`.

    Equal rows (zeros included) are a fixed point: addressing is uniform and every slot
    receives the same write for ever, so a small `scale` collapses the slots.

    Raises:
      ValueError: if `slots` or `width` is not positive.
    """
    check_room(slots=slots, width=width)
    return scale * jax.random.normal(key, (slots, width))


def dot(
    memory: Float[Array, "slots width"], query: Float[Array, " width"]
) -> Float[Array, " slots"]:
    """M q: the similarity of Eq. 3."""
    return memory @ query


def scaled_dot(
    memory: Float[Array, "slots width"], query: Float[Array, " width"]
) -> Float[Array, " slots"]:
    """M q / √K, as in dot-product attention (Vaswani et al., 2017)."""
    return memory @ query / jnp.sqrt(jnp.asarray(query.shape[-1], query.dtype))


def cosine(
    memory: Float[Array, "slots width"], query: Float[Array, " width"]
) -> Float[Array, " slots"]:
    """Cosine of every slot with the query (Graves et al., 2014, Eq. 6).

    Norms are floored at 1e-6 under the root, so zero rows give finite gradients.
    """
    norms = jnp.sqrt(jnp.sum(memory**2, axis=-1) + 1e-12)
    return memory @ query / (norms * jnp.sqrt(jnp.sum(query**2) + 1e-12))


def euclidean(
    memory: Float[Array, "slots width"], query: Float[Array, " width"]
) -> Float[Array, " slots"]:
    """-‖M[j] - q‖² / K: the metric of prototypical networks (Snell et al., 2017)."""
    return -jnp.mean((memory - query[None]) ** 2, axis=-1)


def keyed(similarity: Similarity, *, width: int) -> Similarity:
    """Compare only the first `width` numbers of slot and query: the slot's key part."""

    def compare(memory: jax.Array, query: jax.Array) -> jax.Array:
        return similarity(memory[:, :width], query[:width])

    return compare


SIMILARITIES: dict[str, Similarity] = {
    "dot": dot,
    "scaled_dot": scaled_dot,
    "cosine": cosine,
    "euclidean": euclidean,
}


def address(
    memory: Float[Array, "slots width"],
    query: Float[Array, " width"],
    *,
    similarity: Similarity = dot,
    scale: float | jax.Array = 1.0,
) -> Float[Array, " slots"]:
    """z = softmax(scale · similarity(M, q)), `[L]`, sums to one (Eq. 3)."""
    return jax.nn.softmax(scale * similarity(memory, query))


def read(
    memory: Float[Array, "slots width"], weights: Float[Array, " slots"]
) -> Float[Array, " width"]:
    """m̄ = zᵀ M (Eq. 4)."""
    return weights @ memory


def write(
    memory: Float[Array, "slots width"],
    weights: Float[Array, " slots"],
    update: Float[Array, " width"],
) -> Float[Array, "slots width"]:
    """M'[j] = (1 - z[j]) M[j] + z[j] m' (Eq. 7, elementwise)."""
    kept = (1 - weights)[:, None] * memory
    return kept + weights[:, None] * update[None, :]
