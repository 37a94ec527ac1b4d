"""Losses and scores of one example; `jax.vmap` or a mean at the edge."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Of a squared distance.
TINY = 1e-12


def cross_entropy(
    logits: Float[Array, "*batch classes"], target: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """-Σ_c y_c log softmax(logits)_c, the task loss of Omniglot and MNIST."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)


def _present(logits: jax.Array, target: jax.Array) -> jax.Array:
    """Logits of what is out of the question, where the target is below 0, at -inf."""
    return jnp.where(target < 0, -jnp.inf, logits)


def present_cross_entropy(
    logits: Float[Array, "*batch classes"], target: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """Cross-entropy among the classes whose target is not below 0."""
    told = jax.nn.log_softmax(_present(logits, target))
    return -jnp.sum(jnp.where(target > 0, target * told, 0), axis=-1)


def present_scores(
    logits: Float[Array, "*batch classes"], target: Float[Array, "*batch classes"]
) -> dict[str, jax.Array]:
    """`accuracy` among the classes whose target is not below 0."""
    return class_scores(_present(logits, target), target)


def squared_error(
    predicted: Float[Array, "*batch width"], target: Float[Array, "*batch width"]
) -> Float[Array, "*batch"]:
    """Squared error, mean over the target's width; the task loss of trajectories."""
    return jnp.mean((predicted - target) ** 2, axis=-1)


def distance(
    predicted: Float[Array, "*batch width"], target: Float[Array, "*batch width"]
) -> Float[Array, "*batch"]:
    """Distance between positions in the plane, mean over all of them that a target
    holds, `width / 2`; far-off tracks count less than by their squares."""
    missed = (predicted - target).reshape(*target.shape[:-1], -1, 2)
    # The root has no slope at zero.
    return jnp.mean(jnp.sqrt(jnp.sum(missed**2, axis=-1) + TINY), axis=-1)


def accuracy(
    logits: Float[Array, "*batch classes"], target: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """1 where the largest logit is the target's class, else 0."""
    hit = jnp.argmax(logits, axis=-1) == jnp.argmax(target, axis=-1)
    return hit.astype(logits.dtype)


def class_scores(
    logits: Float[Array, "*batch classes"], target: Float[Array, "*batch classes"]
) -> dict[str, jax.Array]:
    """What a classification reports: `accuracy`."""
    return {"accuracy": accuracy(logits, target)}


def regression_scores(
    predicted: Float[Array, "*batch width"], target: Float[Array, "*batch width"]
) -> dict[str, jax.Array]:
    """What a regression reports: `squared_error`."""
    return {"squared_error": squared_error(predicted, target)}


# What a forecast may descend, by name.
FORECAST = {"squared_error": squared_error, "distance": distance}
