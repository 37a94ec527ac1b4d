"""Is a memory of slots alive? Values for the metrics."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TINY = 1e-20


def slot_spread(memory: Float[Array, "*batch slots width"]) -> jax.Array:
    """Root mean square distance of the slots from their mean; 0 is slot collapse."""
    centred = memory - jnp.mean(memory, axis=-2, keepdims=True)
    return jnp.mean(jnp.sqrt(jnp.mean(centred**2, axis=(-2, -1))))


def addressing_entropy(weights: Float[Array, "*batch slots"]) -> jax.Array:
    """Mean H(z) / ln L: 1 is uniform addressing, 0 a single slot (0 for one slot)."""
    slots = weights.shape[-1]
    entropy = -jnp.sum(weights * jnp.log(jnp.maximum(weights, TINY)), axis=-1)
    return jnp.mean(entropy) / jnp.log(jnp.maximum(float(slots), 2.0))


def memory_health(
    memory: Float[Array, "*batch slots width"],
    weights: Float[Array, "*reads slots"],
    writes: Float[Array, "*writes slots"],
) -> dict[str, jax.Array]:
    """Slot spread, addressing entropy, and how unevenly the write mass is spread.

    `memory/write_share` is the vector of shares `[L]`, `memory/write_share_max` its
    maximum.
    """
    mass = jnp.sum(writes, axis=tuple(range(writes.ndim - 1)))
    share = mass / jnp.maximum(jnp.sum(mass), TINY)
    return {
        "memory/spread": slot_spread(memory),
        "memory/entropy": addressing_entropy(weights),
        "memory/write_share": share,
        "memory/write_share_max": jnp.max(share),
    }
