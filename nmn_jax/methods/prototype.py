"""Nearest prototypes on the same encoder, trained end to end.

Prototypical networks (Snell et al., 2017): logits are -scale · ‖f(x) - c_k‖² / D with
c_k the mean feature of class k; the scale is learned.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax.feedback import plumbing
from nmn_jax.methods import parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.nets.encoder import Encoder
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Batch, Context, Task
from nmn_jax.types import TrainState

SCALE = 10.0


class PrototypeState(NamedTuple):
    """Everything that changes from step to step."""

    network: TrainState
    stats: Any
    step: jax.Array  # []


class _Design(NamedTuple):
    encoder: Encoder
    optimizer: optax.GradientTransformation
    task: Task


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """Prototypes with the encoder and optimiser of `settings`.

    Raises:
      ValueError: for a task that is no classification: there are no classes to average.
    """
    if task.spec.kind != "classification":
        raise ValueError(
            f"prototypes are class means, but this task is a {task.spec.kind}; choose "
            "another method"
        )
    design = _Design(
        builders.make_encoder(settings.model, task.spec.input_shape),
        builders.make_optimizer(settings.optim, settings.optim.lr, steps=steps),
        task,
    )
    return Method(
        functools.partial(_init, design),
        functools.partial(_step, design),
        functools.partial(_predict, design),
        parts.slim,
        None,
        {"method": "prototype", **parts.encoder_columns(settings.model)},
        settings.model.norm == "batch",
    )


ENTRY = Entry(make, "episodes", parts.ENCODER_AND_OPTIMIZER)


def logits(features: jax.Array, targets: jax.Array, log_scale: jax.Array) -> jax.Array:
    """`[Q, C]` for one episode: features `[S + Q, D]`, support labels `[S, C]`."""
    stored, queries = features[: len(targets)], features[len(targets) :]
    prototypes = targets.T @ stored / jnp.sum(targets, axis=0)[:, None]
    apart = jnp.mean((queries[:, None] - prototypes[None]) ** 2, axis=-1)
    return -jnp.exp(log_scale) * apart


def _init(design: _Design, key: jax.Array) -> PrototypeState:
    params, stats = design.encoder.init(key)
    whole = {"encoder": params, "log_scale": jnp.log(jnp.asarray(SCALE))}
    network = TrainState(whole, design.optimizer.init(whole))
    return parts.own_buffers(PrototypeState(network, stats, jnp.zeros((), jnp.int32)))


def _answer(
    design: _Design, params: Any, given: tuple[Any, Context, jax.Array], phase: str
) -> tuple[jax.Array, Any]:
    """Logits `[B, Q, C]` and the encoder's statistics."""
    stats, context, queries = given
    features, stats = design.encoder.apply(
        params["encoder"], stats, jnp.concatenate([context.inputs, queries], axis=1),
        supports=context.inputs.shape[1], phase=phase,
    )  # fmt: skip
    each = jax.vmap(logits, (0, 0, None))
    return each(features, context.targets, params["log_scale"]), stats


def _step(
    design: _Design, state: PrototypeState, batch: Batch
) -> tuple[PrototypeState, dict[str, jax.Array]]:
    def loss(params: Any) -> tuple:
        given = (state.stats, batch.context, batch.queries)
        answers, stats = _answer(design, params, given, "train")
        each = jax.vmap(jax.vmap(design.task.loss))(answers, batch.answers)
        return jnp.mean(each), (answers, stats)

    value, (answers, stats), grads = plumbing.gradient(loss, state.network.params)
    network = parts.descend(design.optimizer, state.network, grads)
    scores = parts.mean_scores(design.task, answers, batch.answers)
    after = PrototypeState(network, stats, state.step + 1)
    return after, {"loss": value, **scores}


def _predict(
    design: _Design, state: PrototypeState, context: Context, queries: jax.Array
) -> Answer:
    given = (state.stats, context, queries)
    return Answer(_answer(design, state.network.params, given, "test")[0], {})
