"""Gradient steps on the context at test time (methods card A10).

Everything is restored by construction: parameters are copied, adapted and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from nmn_jax.feedback import pipeline
from nmn_jax.feedback.subsets import REACHED, SOURCES, SUBSETS
from nmn_jax.methods import episode_pass
from nmn_jax.methods.episode_pass import Design
from nmn_jax.settings.records import AdaptSettings
from nmn_jax.tasks import episodes
from nmn_jax.tasks.base import Context


def make_adapt(
    design: Design, settings: AdaptSettings
) -> Callable[[Any, Context, int], Any]:
    """`(state, context, steps) -> state`: plain gradient descent on the loss of the
    context, asked back after it was stored.

    Args:
      settings: `source`: true gradients, synthetic ones (`sg`, controllers only), or
        `both`. `params`: which parameters move, see `subsets.SUBSETS`. `lr`: step size.
    """
    sg = design.sg._replace(rule=SOURCES[settings.source], warmup=0)
    listening = design._replace(sg=sg)

    def one_step(state: Any, context: Context) -> Any:
        way = episode_pass.make_pass(
            listening, state, episodes.ask_back(context), "test"
        )
        grads = pipeline.two_speeds(sg, state, way).network
        # Zeros in place of gradients that are not wanted: mapped over episodes, what
        # does not move stays one for all (an encoder of its own is many times slower).
        moved = SUBSETS[settings.params](REACHED[settings.source](grads))
        params = jax.tree.map(
            lambda p, g: p - settings.lr * g, state.network.params, moved
        )
        return state._replace(network=state.network._replace(params=params))

    def adapt(state: Any, context: Context, steps: int) -> Any:
        for _ in range(steps):
            state = one_step(state, context)
        return state

    return adapt
