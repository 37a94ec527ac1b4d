"""Accuracy by presentation: how a network that is told labels one step late is scored.

Santoro et al. (2016): the k-th example of a class has k - 1 labelled predecessors, in
an order of all classes together. At the first an accuracy above chance is what is left
when classes that were seen are ruled out; well above is a leak.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

NAME = "accuracy at presentation"


def accuracies(
    outputs: jax.Array, targets: jax.Array, shots: int
) -> dict[str, jax.Array]:
    """Share of right answers `[B]` among the k-th examples of their class, by name.

    Args:
      outputs: `[B, S, C]`, before the label of the step is told.
      targets: one-hot `[B, S, C]`, `shots` of every class.
    """
    right = jnp.argmax(outputs, axis=-1) == jnp.argmax(targets, axis=-1)
    seen = jnp.sum(jnp.cumsum(targets, axis=1) * targets, axis=-1)
    found = {}
    for number in range(1, shots + 1):
        meant = jnp.round(seen) == number
        share = jnp.sum(right & meant, axis=1) / jnp.sum(meant, axis=1)
        found[f"{NAME} {number}"] = share
    return found
