"""A supervised forecaster without memory: encoder, soft attention, decoder.

An LSTM reads the steps that were seen; a second one says the steps that follow, each
time attending to what the first made of every seen step (soft attention as in Fernando
et al., 2018, without neighbours; scores are those of Luong et al., 2015).
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
from nmn_jax.nets import leaves
from nmn_jax.settings import builders
from nmn_jax.settings import forecasts as forecasts_lib
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import ForecastBatch, Task
from nmn_jax.tasks.decoding import Frame
from nmn_jax.types import Network, TrainState


class AttentionState(NamedTuple):
    """Everything that changes from batch to batch."""

    network: TrainState
    step: jax.Array  # []


class Design(NamedTuple):
    """What an attention baseline is made of."""

    lstm: leaves.Recurrent
    score: Network  # decoder's output [U] -> what encoded steps are compared with [U]
    head: Network
    frame: Frame
    units: int
    optimizer: optax.GradientTransformation
    task: Task


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """The forecaster with the frame, width and optimiser of `settings`."""
    return make_method(make_design(settings, task, steps=steps))._replace(
        columns={
            "method": "attention",
            "decoding": f"step by step, {settings.forecast.frame}",
        }
    )


def make_design(settings: Settings, task: Task, *, steps: int) -> Design:
    """The parts of `make`."""
    forecast = settings.forecast
    return Design(
        leaves.make_lstm(forecast.units),
        leaves.make_dense(forecast.units),
        forecasts_lib.make_forecast_head(forecast, task.spec.targets),
        forecasts_lib.make_frame(forecast, task.spec),
        forecast.units,
        builders.make_optimizer(settings.optim, settings.optim.lr, steps=steps),
        task,
    )


def make_method(design: Design) -> Method:
    """The method of a forecaster put together by hand."""

    def predict(state: AttentionState, inputs: jax.Array) -> Answer:
        return Answer(forecasts(design, state.network.params, inputs), {})

    return Method(
        functools.partial(init, design),
        functools.partial(_step, design),
        predict,
        parts.slim,
        None,
        {},
    )


ENTRY = Entry(
    make,
    "forecast",
    (
        "optim.lr", "optim.schedule", "optim.clip", "forecast.frame",
        "forecast.velocity_frames", "forecast.units", "forecast.activation",
    ),
)  # fmt: skip


def init(design: Design, key: jax.Array) -> AttentionState:
    """The state before the first step."""
    keys = jax.random.split(key, 4)
    width, units = design.task.spec.targets, design.units
    params = {
        "encoder": design.lstm.init(keys[0], width),
        "score": design.score.init(keys[1], units),
        "decoder": design.lstm.init(keys[2], width + units),
        "head": design.head.init(keys[3], units),
    }
    network = TrainState(params, design.optimizer.init(params))
    return parts.own_buffers(AttentionState(network, jnp.zeros((), jnp.int32)))


def _attended(design: Design, params: Any, asking: jax.Array, states: jax.Array) -> Any:
    """Mean of encoded steps `[T, U]`, by softmax of their likeness to what is asked."""
    return jax.nn.softmax(states @ design.score.apply(params["score"], asking)) @ states


def _forecast(design: Design, params: Any, seen: jax.Array) -> jax.Array:
    """`[H, D]` after `seen` `[T, D]`; what was said last is what is seen next."""
    frame, lstm = design.frame, design.lstm
    ahead = jnp.arange(design.task.spec.horizon + 1)
    anchors = frame.anchors(seen, ahead)[-1]
    carry, states = jax.lax.scan(
        lambda carry, step: lstm.apply(params["encoder"], carry, step),
        lstm.carry(), frame.inputs(seen),
    )  # fmt: skip

    def one(carried: tuple, anchor: jax.Array) -> tuple:
        carry, hidden, said = carried
        given = jnp.concatenate([said, _attended(design, params, hidden, states)])
        carry, hidden = lstm.apply(params["decoder"], carry, given)
        said = design.head.apply(params["head"], hidden)
        return (carry, hidden, said), frame.unit * said + anchor

    first = carry, states[-1], (seen[-1] - anchors[0]) / frame.unit
    return jax.lax.scan(one, first, anchors[1:])[1]


def forecasts(design: Design, params: Any, inputs: jax.Array) -> jax.Array:
    """What is said, `[N, H, D]`, after sequences `[N, T, D]`."""
    return jax.vmap(functools.partial(_forecast, design, params))(inputs)


def loss(
    design: Design, params: Any, batch: ForecastBatch
) -> tuple[jax.Array, jax.Array]:
    """Mean loss of a batch, and what was said, `[B, H, D]`."""
    said = forecasts(design, params, batch.inputs)
    each = jax.vmap(jax.vmap(design.task.loss))(said, batch.targets)
    return jnp.mean(each), said


def _step(
    design: Design, state: AttentionState, batch: ForecastBatch
) -> tuple[AttentionState, dict[str, jax.Array]]:
    value, said, grads = plumbing.gradient(
        lambda params: loss(design, params, batch), state.network.params
    )
    network = parts.descend(design.optimizer, state.network, grads)
    scores = parts.mean_scores(design.task, said, batch.targets)
    return AttentionState(network, state.step + 1), {"loss": value, **scores}
