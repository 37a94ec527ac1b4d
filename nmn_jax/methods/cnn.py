"""The yardstick of a stream: the paper's encoder with a dense layer, and no memory."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax import builders, losses, networks, presets
from nmn_jax.learner import TrainState, apply
from nmn_jax.stream import StreamLearner
from nmn_jax.window import Window


class CnnState(NamedTuple):
    """Everything that changes from window to window."""

    network: TrainState
    stats: Any
    step: jax.Array  # []


class _Design(NamedTuple):
    encoder: networks.Encoder
    head: Any
    optimizer: optax.GradientTransformation


def make_learner(
    settings: presets.Settings, *, classes: int, steps: int
) -> StreamLearner:
    """A plain network with the encoder and optimiser of `settings`.

    It answers the stream learner's three calls.
    """
    design = _Design(
        builders.make_encoder(settings.model),
        networks.make_dense(classes),
        presets.make_optimizers(settings.optim, steps=steps)[0],
    )

    def init(key: jax.Array) -> CnnState:
        encoder_key, head_key = jax.random.split(key)
        params, stats = design.encoder.init(encoder_key)
        head = design.head.init(head_key, design.encoder.width)
        whole = {"encoder": params, "head": head}
        network = TrainState(whole, design.optimizer.init(whole))
        return CnnState(network, stats, jnp.zeros((), jnp.int32))

    return StreamLearner(
        init, functools.partial(_step, design), functools.partial(_predict, design)
    )


def _answer(
    design: _Design, params: Any, stats: Any, images: jax.Array, phase: str
) -> tuple[jax.Array, Any]:
    features, stats = design.encoder.apply(
        params["encoder"], stats, images[None], supports=len(images), phase=phase
    )
    return design.head.apply(params["head"], features[0]), stats


def _step(design: _Design, state: CnnState, window: Window) -> tuple[CnnState, dict]:
    def loss(params: Any) -> tuple:
        answers, stats = _answer(design, params, state.stats, window.images, "train")
        value = jnp.mean(losses.cross_entropy(answers, window.labels))
        return value, (answers, stats)

    (value, (answers, stats)), grads = jax.value_and_grad(loss, has_aux=True)(
        state.network.params
    )
    accuracy = jnp.mean(losses.accuracy(answers, window.labels))
    network = apply(design.optimizer, state.network, grads)
    after = CnnState(network, stats, state.step + 1)
    return after, {"loss": value, "accuracy": accuracy}


def _predict(design: _Design, state: CnnState, images: jax.Array) -> jax.Array:
    return _answer(design, state.network.params, state.stats, images, "test")[0]
