"""The smallest forecaster: it counts whom it sees, and says how often it learned.

It stands in a method's place where only the contract matters. A road user is known by
the number at its first position.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.tasks.base import ForecastBatch, Task

USERS = 64


class ToyState(NamedTuple):
    """How often each road user was learned from [USERS], and the steps so far []."""

    seen: jax.Array
    step: jax.Array


def make(settings: Any, task: Task, *, steps: int) -> Method:
    """The toy of this task; nothing of `settings` matters."""
    del settings, steps

    def init(key: jax.Array) -> ToyState:
        del key
        return ToyState(jnp.zeros(USERS), jnp.zeros((), jnp.int32))

    def step(state: ToyState, batch: ForecastBatch) -> tuple[ToyState, dict]:
        users = jnp.round(batch.inputs[:, 0, 0]).astype(int)
        seen = state.seen + jax.nn.one_hot(users, USERS).sum(axis=0)
        told = jnp.mean(batch.inputs)
        return ToyState(seen, state.step + 1), {"loss": told, "squared_error": told}

    def predict(state: ToyState, inputs: jax.Array) -> Answer:
        shape = (len(inputs), task.spec.horizon, task.spec.targets)
        return Answer(jnp.broadcast_to(state.step.astype(float), shape), {})

    return Method(init, step, predict, lambda state: state, None, {"method": "toy"})


ENTRY = Entry(make, "forecast", ())


def users(xy: jax.Array) -> set[int]:
    """Whom tracks `[..., frames, 2]` belong to."""
    return {int(each) for each in jnp.round(xy[..., 0, 0]).ravel()}
