"""Matching networks: an answer is the mean label of the supports that are alike.

Vinyals et al. (2016): P(y | x) = Σ_i a_i y_i with a = softmax_i(cos(f(x), f(x_i))). So
the support set is a memory whose slots are features and whose values are labels, and it
is addressed as every memory here. The embedding is that of each image alone; the full
context embeddings of the paper, which did not help it on Omniglot, are left out.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from nmn_jax.memory import addressing
from nmn_jax.methods import end_to_end, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.end_to_end import Readout
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Task

# The logarithm of a class that no support has is finite.
LEAST = 1e-30


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """A matching network with the encoder and optimiser of `settings`.

    Raises:
      ValueError: for a task that is no classification.
    """
    readout = make_readout(settings.matching.scale)
    made = end_to_end.make("matching", readout, settings, task, steps=steps)
    told = {**made.columns, "similarity": f"{settings.matching.scale:g} cosine"}
    return made._replace(columns=told)


def published(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    """Card 8: four blocks, Adam 1e-3."""
    del ways, shots
    return {
        "model": {"layers": 4},
        "optim": {"lr": 1e-3, "schedule": "constant", "clip": 0.0},
    }


USES = (*parts.ENCODER_AND_OPTIMIZER, "matching")
ENTRY = Entry(make, "episodes", USES, published)


def make_readout(scale: float = 1.0) -> Readout:
    """Attention over the support set; nothing in it is learned.

    Args:
      scale: factor on the cosine; 1 as published.
    """
    return Readout(lambda key, width: (), functools.partial(_answer, scale))


def _answer(
    scale: float, params: tuple, supports: jax.Array, *asked: jax.Array
) -> Answer:
    del params
    targets, queries = asked

    def one(query: jax.Array) -> jax.Array:
        return addressing.address(
            supports, query, similarity=addressing.cosine, scale=scale
        )

    weights = jax.vmap(one)(queries)
    # Their softmax is what was read, so cross-entropy is -log P.
    logits = jnp.log(jnp.maximum(weights @ targets, LEAST))
    return Answer(logits, {"query_weights": weights})
