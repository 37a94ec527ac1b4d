"""Is the synthetic gradient true, and is the memory alive? Values for the metrics."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.types import PerController

TINY = 1e-20
COLLAPSE = 1e-3


def cosine(
    predicted: Float[Array, "*n width"], true: Float[Array, "*n width"]
) -> jax.Array:
    """Mean cosine between ĝ and g over all steps; 0 where either vanishes."""
    inner = jnp.sum(predicted * true, axis=-1)
    lengths = jnp.linalg.norm(predicted, axis=-1) * jnp.linalg.norm(true, axis=-1)
    present = lengths > 0
    return jnp.mean(jnp.where(present, inner / jnp.where(present, lengths, 1), 0.0))


def r_squared(
    predicted: Float[Array, "*n width"], true: Float[Array, "*n width"]
) -> jax.Array:
    """1 - Σ‖g - ĝ‖² / Σ‖g‖²: share of g explained against predicting zero."""
    error = jnp.sum((predicted - true) ** 2)
    total = jnp.sum(true**2)
    return jnp.where(total > 0, 1 - error / jnp.where(total > 0, total, 1), 0.0)


def mean_norm(cotangents: Float[Array, "*n width"]) -> jax.Array:
    """Mean Euclidean norm over all steps."""
    return jnp.mean(jnp.sqrt(jnp.sum(cotangents**2, axis=-1)))


def synthetic_quality(
    predicted: PerController, true: PerController
) -> dict[str, jax.Array]:
    """Cosine, R² and both norms per controller, `sg/<controller>/<measure>`."""
    measures = {}
    for name, guess, truth in zip(PerController._fields, predicted, true, strict=True):
        measures[f"sg/{name}/cosine"] = cosine(guess, truth)
        measures[f"sg/{name}/r2"] = r_squared(guess, truth)
        measures[f"sg/{name}/norm"] = mean_norm(guess)
        measures[f"sg/{name}/true_norm"] = mean_norm(truth)
    return measures


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


def warn_on_collapse(scalars: Mapping[str, float], *, step: int) -> bool:
    """A clear warning if all slots have become equal; returns whether they have."""
    spread = scalars.get("memory/spread")
    if spread is None or not spread < COLLAPSE:
        return False
    warnings.warn(
        f"slot collapse at step {step}: spread {spread:.2g} < {COLLAPSE:g}. All memory "
        "slots are equal, so the memory cannot depend on its input. Use an initial "
        "memory with rows of scale 1, a least-used write, or reset it per episode.",
        stacklevel=2,
    )
    return True
