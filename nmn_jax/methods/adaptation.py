"""Gradient steps on the support set at test time (methods card A10).

Everything is restored by construction: parameters are copied, adapted and dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import feedback as feedback_lib
from nmn_jax import learner as learner_lib
from nmn_jax.feedback import Batch, Feedback
from nmn_jax.learner import LearnerState
from nmn_jax.model import Model, ModelParams

# What an adaptation step listens to, as a rule of `gradients.combine`.
SOURCES = {"true": "backprop", "sg": "replace", "both": "add"}

Subset = Callable[[ModelParams], ModelParams]


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def _memory_fixed(grads: ModelParams) -> ModelParams:
    """Controllers only: the initial memory and the addressing scale stay."""
    still = _zeros(grads.cell)._replace(controllers=grads.cell.controllers)
    return ModelParams(_zeros(grads.encoder), still, grads.decoder)


SUBSETS: dict[str, Subset] = {
    "all": lambda grads: grads,
    "controllers": lambda grads: _memory_fixed(grads)._replace(
        decoder=_zeros(grads.decoder)
    ),
    "controllers+decoder": _memory_fixed,
    "decoder": lambda grads: _zeros(grads)._replace(decoder=grads.decoder),
}


# Synthetic gradients concern the controllers alone.
HEARD: dict[str, Subset] = {
    "true": lambda grads: grads,
    "sg": SUBSETS["controllers"],
    "both": lambda grads: grads,
}


class Adapter(NamedTuple):
    """start: `(state, batch) -> params`, one copy per episode (leading axis B);
    update: `(state, batch, params) -> params`, one step of gradient descent;
    predict: `(state, batch, params) -> logits [B, Q, C]`."""

    start: Callable[[LearnerState, Batch], ModelParams]
    update: Callable[[LearnerState, Batch, ModelParams], ModelParams]
    predict: Callable[[LearnerState, Batch, ModelParams], jax.Array]


def make_adapter(
    model: Model, feedback: Feedback, *, source: str, subset: str, lr: float
) -> Adapter:
    """Gradient descent on the loss of the support set, asked back after it was stored.

    Args:
      source: `true` gradients, synthetic ones (`sg`, controllers only), or `both`.
      subset: which parameters move, see `SUBSETS`.
      lr: step size of plain gradient descent.

    Raises:
      ValueError: for an unknown source or subset.
    """
    for kind, given, known in (
        ("source", source, SOURCES),
        ("subset", subset, SUBSETS),
    ):
        if given not in known:
            raise ValueError(f"unknown {kind} {given!r}; choose one of {sorted(known)}")
    heard = feedback._replace(rule=SOURCES[source], warmup=0)

    # One encoder for all episodes unless it is to move: a convolution with a kernel per
    # episode is many times slower.
    each: Any = (0 if subset == "all" else None, 0, 0)
    axes = ModelParams(*each)

    def start(state: LearnerState, batch: Batch) -> ModelParams:
        return _copies(state.network.params, len(batch.images), subset)

    def one_update(
        state: LearnerState, params: ModelParams, batch: Batch
    ) -> ModelParams:
        state = _with_params(state, params)
        grads = learner_lib.two_speeds(model, heard, state, batch, phase="test").network
        moved = SUBSETS[subset](HEARD[source](grads))
        return jax.tree.map(lambda p, g: p - lr * g, params, moved)

    def update(state: LearnerState, batch: Batch, params: ModelParams) -> ModelParams:
        asked = jax.vmap(_ask_back)(batch)
        vmapped = jax.vmap(one_update, (None, axes, 0), out_axes=axes)
        return vmapped(state, params, asked)

    def predict(state: LearnerState, batch: Batch, params: ModelParams) -> jax.Array:
        def one(params: ModelParams, batch: Batch) -> jax.Array:
            run = learner_lib.predict(
                model, feedback, _with_params(state, params), batch
            )
            return run.logits[0]

        return jax.vmap(one, (axes, 0))(params, jax.vmap(_alone)(batch))

    return Adapter(start, update, predict)


def _copies(params: ModelParams, episodes: int, subset: str) -> ModelParams:
    """One copy per episode; one encoder for all unless it is to move."""
    copied = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (episodes, *leaf.shape)), params
    )
    return copied if subset == "all" else copied._replace(encoder=params.encoder)


def _with_params(state: LearnerState, params: ModelParams) -> LearnerState:
    return state._replace(network=state.network._replace(params=params))


def _alone(batch: Batch) -> Batch:
    """One episode as a batch of one."""
    return jax.tree.map(lambda leaf: leaf[None], batch)


def _ask_back(batch: Batch) -> Batch:
    """One episode as a batch of one whose queries are its own support set."""
    support = batch.images[: len(batch.support)]
    images = jnp.concatenate([support, support])
    return feedback_lib.Batch(images[None], batch.support[None], batch.support[None])
