"""Yardsticks of a forecast that learn nothing: to stand still, to go on as before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods import parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.settings.records import Settings
from nmn_jax.tasks import decoding
from nmn_jax.tasks.base import ForecastBatch, Task


class KinematicState(NamedTuple):
    """Nothing is learned; steps are counted."""

    step: Any  # [], or () where only answers are needed


def _velocity(settings: Settings, task: Task, *, steps: int) -> Method:
    """x_T + h v, with v the mean velocity of the last `forecast.velocity_frames`."""
    del steps
    frames = settings.forecast.velocity_frames
    frame = decoding.velocity(task.spec.horizon, frames)
    named = {"method": "constant velocity", "decoding": f"of the last {frames} frames"}
    return _make(frame, task)._replace(columns=named)


def _position(settings: Settings, task: Task, *, steps: int) -> Method:
    """x_T for ever."""
    del settings, steps
    frame = decoding.displacement(task.spec.horizon, 1)
    return _make(frame, task)._replace(columns={"method": "constant position"})


VELOCITY = Entry(_velocity, "forecast", ("forecast.velocity_frames",))
POSITION = Entry(_position, "forecast", ())


def _make(frame: decoding.Frame, task: Task) -> Method:
    """The method that says what a frame's answers would be relative to."""
    forecast = _forecast(frame, task.spec.horizon)

    def init(key: jax.Array) -> KinematicState:
        del key
        return KinematicState(jnp.zeros((), jnp.int32))

    def step(state: KinematicState, batch: ForecastBatch) -> tuple[Any, dict]:
        said = forecast(batch.inputs)
        loss = jax.vmap(jax.vmap(task.loss))(said, batch.targets)
        scores = parts.mean_scores(task, said, batch.targets)
        return KinematicState(state.step + 1), {"loss": jnp.mean(loss), **scores}

    def predict(state: KinematicState, inputs: jax.Array) -> Answer:
        del state
        return Answer(forecast(inputs), {})

    def slim(state: KinematicState) -> KinematicState:
        return state._replace(step=())

    return Method(init, step, predict, slim, None, {})


def _forecast(frame: decoding.Frame, horizon: int) -> Callable[[jax.Array], jax.Array]:
    ahead = jnp.arange(1, horizon + 1)
    return jax.vmap(lambda seen: frame.anchors(seen, ahead)[-1])
