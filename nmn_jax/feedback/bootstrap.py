"""What crosses the cut between two windows of a stream: state onwards, and, with a
predictor, the cotangent of the future backwards, at the last update alone or, by
`feedback.future`, at the whole state (decoupled neural interfaces)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nmn_jax.feedback import plumbing
from nmn_jax.types import NMNState

# What reaches a window, and what predictors regress on; see `methods.nmn_stream`.
TARGETS = ("step", "window", "bootstrap_update", "bootstrap")

# What a window starts from, given the fresh state and the one the last reached.
CARRIES: dict[str, Callable[[NMNState, NMNState], NMNState]] = {
    "stream": lambda fresh, reached: reached,
    "episode": lambda fresh, reached: fresh,
    # Memory goes on, controllers start afresh: LSTM state does not outlive its window.
    "memory": lambda fresh, reached: reached._replace(carries=fresh.carries),
}


def bootstrap(update: jax.Array, predicted: jax.Array) -> jax.Array:
    """⟨stop(ĝ), m'_T⟩: the future's cotangent at a window's end (DNI).

    Added to a window's loss, it makes the vjp see ĝ as the gradient that arrives from
    beyond the cut. Only the last update m'_T is used: it is the one output of the step
    at the cut whose whole influence lies in the future, so nothing is counted twice.

    Gradients: ĝ is a constant; m'_T receives exactly ĝ.
    """
    return jnp.sum(plumbing.stop(predicted) * update)
