"""Answers averaged over several views of an episode, around any method.

Every view distorts all images of the episode, each on its own, and is answered as it
is; the mean of the outputs, for classes a geometric mean of probabilities, is the
answer. Nothing is learned, and no query is told of another one.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nmn_jax.methods.base import Answer, Method
from nmn_jax.tasks.base import Context
from nmn_jax.tasks.distortion import Distort

# Decides the views. An image's distortions go by its place in its episode, so an
# episode is answered alike in any batch.
SEED = 17


def with_views(method: Method, distort: Distort, count: int) -> Method:
    """The method, answering by the mean over `count` views; the first is the images as
    they are, and what it came to by it is the evidence.

    Args:
      method: of episodes.
      distort: makes the other views.

    Raises:
      ValueError: for fewer than one view.
    """
    if count < 1:
        raise ValueError(f"count={count}: there must be at least one view")

    spread = jax.vmap(distort, in_axes=(None, 0))

    def predict(state: Any, context: Context, queries: jax.Array) -> Answer:
        plain = method.predict(state, context, queries)

        def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            support, query = jax.random.split(key)
            seen = context._replace(inputs=spread(support, context.inputs))
            found = method.predict(state, seen, spread(query, queries))
            return total + found.output, None

        keys = jax.random.split(jax.random.key(SEED), count - 1)
        total, _ = jax.lax.scan(add, plain.output, keys)
        return plain._replace(output=total / jnp.asarray(count, total.dtype))

    return method._replace(predict=predict)
