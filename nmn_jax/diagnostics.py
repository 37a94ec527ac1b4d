"""Is the synthetic gradient true? Values for the metrics, and the alarm of slots."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.types import PerController

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
