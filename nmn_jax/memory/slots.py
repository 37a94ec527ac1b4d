"""One external memory `[L, K]`: initialise, address, read, write (Eqs. 3, 4, 7).

Everything here is a pure function of one memory without a batch axis; `jax.vmap` at the
edge. How a memory is addressed and written are arguments: a similarity is any function
`(memory [L, K], query [K]) -> [L]`, a write rule any function
`(memory [L, K], usage [L], weights [L], update [K]) -> Written`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Similarity = Callable[[jax.Array, jax.Array], jax.Array]


class Written(NamedTuple):
    """A memory after one write, its usage, and where the write went."""

    memory: Float[Array, "slots width"]
    usage: Float[Array, " slots"]
    weights: Float[Array, " slots"]


WriteRule = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Written]


def init(
    key: jax.Array, *, slots: int, width: int, scale: float = 1.0
) -> Float[Array, "slots width"]:
    """Rows drawn from N(0, scale²), shape `[L, K]`.

    Equal rows (zeros included) are a fixed point: addressing is uniform and every slot
    receives the same write for ever, so a small `scale` collapses the slots.

    Raises:
      ValueError: if `slots` or `width` is not positive.
    """
    if slots < 1 or width < 1:
        raise ValueError(
            f"memory of {slots} slots of width {width}: both must be at least 1"
        )
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


def convex_write(
    memory: Float[Array, "slots width"],
    usage: Float[Array, " slots"],
    weights: Float[Array, " slots"],
    update: Float[Array, " width"],
) -> Written:
    """Eq. 7 as a write rule: read weights are write weights."""
    return Written(write(memory, weights, update), usage + weights, weights)


def additive_write(
    memory: Float[Array, "slots width"],
    usage: Float[Array, " slots"],
    weights: Float[Array, " slots"],
    update: Float[Array, " width"],
) -> Written:
    """M'[j] = M[j] + z[j] m': nothing is erased (Graves et al., 2014, add only)."""
    added = memory + weights[:, None] * update[None, :]
    return Written(added, usage + weights, weights)


def make_least_used_write(
    *, decay: float = 0.99, gate: float = 0.0, reads: float = 0.0
) -> WriteRule:
    """A write to the slot used least (MANN; Santoro et al., 2016, Eqs. 5-8).

    w = gate · z + (1 - gate) · onehot(argmin usage); M' as in Eq. 7 with w in place of
    z; usage' = decay · usage + w + reads · z. With `gate = 0` every example gets the
    slot that was written longest ago, so L ≥ N·S slots hold a whole support set.

    Gradients: the choice of the slot is piecewise constant and carries none.

    Raises:
      ValueError: if `decay` or `gate` lies outside [0, 1] or `reads` is negative.
    """
    if not (0 <= decay <= 1 and 0 <= gate <= 1 and reads >= 0):
        raise ValueError(
            f"least-used write with decay={decay}, gate={gate}, reads={reads}: "
            "decay and gate must lie in [0, 1] and reads must not be negative"
        )

    def rule(
        memory: jax.Array, usage: jax.Array, weights: jax.Array, update: jax.Array
    ) -> Written:
        least = jax.nn.one_hot(jnp.argmin(usage), usage.shape[0], dtype=usage.dtype)
        chosen = gate * weights + (1 - gate) * least
        return Written(
            write(memory, chosen, update),
            decay * usage + chosen + reads * weights,
            chosen,
        )

    return rule


def make_same_value_write(
    *, key_width: int, threshold: float = 0.5, rate: float = 0.2
) -> WriteRule:
    """One slot for each value: the slot that holds it is moved, a new one gets a slot.

    After Kaiser et al. (2017), who refresh a slot whose value is right and give any
    other example the oldest slot. The first `key_width` numbers of a slot are its key,
    the others its value. If the value of some slot has a cosine of at least `threshold`
    with the update's, that slot moves by `rate` (Eq. 7 with a one-hot z); otherwise the
    update takes the slot written least often. What is seen every day then wears out no
    slot but its own, so that what was seen once is still there.

    Gradients: the choice of the slot is piecewise constant and carries none.

    Raises:
      ValueError: if `rate` lies outside (0, 1], `threshold` outside [-1, 1], or
        `key_width` is not positive (without a key part every slot would be its value).
    """
    if not (0 < rate <= 1 and -1 <= threshold <= 1 and key_width >= 1):
        raise ValueError(
            f"same-value write with key_width={key_width}, threshold={threshold}, "
            f"rate={rate}: key_width must be at least 1, threshold lie in [-1, 1] and "
            "rate in (0, 1]"
        )

    def rule(
        memory: jax.Array, usage: jax.Array, weights: jax.Array, update: jax.Array
    ) -> Written:
        del weights
        alike = cosine(memory[:, key_width:], update[key_width:])
        known = (usage > 0) & (alike >= threshold)
        refreshed = rate * jax.nn.one_hot(
            jnp.argmax(jnp.where(known, alike, -jnp.inf)), len(usage), dtype=usage.dtype
        )
        taken = jax.nn.one_hot(jnp.argmin(usage), len(usage), dtype=usage.dtype)
        chosen = jnp.where(jnp.any(known), refreshed, taken)
        return Written(write(memory, chosen, update), usage + chosen, chosen)

    return rule


WRITE_RULES: dict[str, WriteRule] = {
    "convex": convex_write,
    "additive": additive_write,
    "least_used": make_least_used_write(),
    "mann": make_least_used_write(decay=0.95, gate=0.5, reads=1.0),
}
