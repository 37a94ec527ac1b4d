"""The yardstick of a stream: the paper's encoder with a dense layer, and no memory."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax.feedback import plumbing
from nmn_jax.methods import parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.nets import leaves
from nmn_jax.nets.encoder import Encoder
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import StreamBatch, Task
from nmn_jax.types import Network, TrainState


class CnnState(NamedTuple):
    """Everything that changes from window to window."""

    network: TrainState
    stats: Any
    step: jax.Array  # []


class _Design(NamedTuple):
    encoder: Encoder
    head: Network
    optimizer: optax.GradientTransformation
    task: Task


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """A plain network with the encoder and optimiser of `settings`."""
    design = _Design(
        builders.make_encoder(settings.model, task.spec.input_shape),
        leaves.make_dense(task.spec.targets),
        builders.make_optimizer(settings.optim, settings.optim.lr, steps=steps),
        task,
    )
    return Method(
        functools.partial(_init, design),
        functools.partial(_step, design),
        functools.partial(_predict, design),
        parts.slim,
        None,
        {"method": "cnn", **parts.encoder_columns(settings.model)},
        settings.model.norm == "batch",
    )


ENTRY = Entry(make, "stream", parts.ENCODER_AND_OPTIMIZER)


def _init(design: _Design, key: jax.Array) -> CnnState:
    encoder_key, head_key = jax.random.split(key)
    params, stats = design.encoder.init(encoder_key)
    head = design.head.init(head_key, design.encoder.width)
    whole = {"encoder": params, "head": head}
    network = TrainState(whole, design.optimizer.init(whole))
    return parts.own_buffers(CnnState(network, stats, jnp.zeros((), jnp.int32)))


def _answer(
    design: _Design, params: Any, given: tuple[Any, jax.Array], phase: str
) -> tuple[jax.Array, Any]:
    """Outputs `[T, C]` and the encoder's statistics."""
    stats, inputs = given
    features, stats = design.encoder.apply(
        params["encoder"], stats, inputs[None], supports=len(inputs), phase=phase
    )
    return design.head.apply(params["head"], features[0]), stats


def _step(
    design: _Design, state: CnnState, batch: StreamBatch
) -> tuple[CnnState, dict[str, jax.Array]]:
    def loss(params: Any) -> tuple:
        answers, stats = _answer(design, params, (state.stats, batch.inputs), "train")
        each = jax.vmap(design.task.loss)(answers, batch.targets)
        return jnp.mean(each), (answers, stats)

    value, (answers, stats), grads = plumbing.gradient(loss, state.network.params)
    network = parts.descend(design.optimizer, state.network, grads)
    scores = parts.mean_scores(design.task, answers, batch.targets)
    return CnnState(network, stats, state.step + 1), {"loss": value, **scores}


def _predict(design: _Design, state: CnnState, inputs: jax.Array) -> Answer:
    given = (state.stats, inputs)
    return Answer(_answer(design, state.network.params, given, "test")[0], {})
