"""The smallest learner of a stream: it counts what it sees, and tells it.

It stands in a method's place where only the contract matters: it compiles in a blink,
and its metrics say what a window held.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.tasks.base import StreamBatch, Task
from nmn_jax.types import CONTROLLERS

RARE = slice(5, 10)


class ToyState(NamedTuple):
    """Examples seen of every class [C], the ink seen [], and the steps so far []."""

    seen: jax.Array
    ink: jax.Array
    step: jax.Array


def make(settings: Any, task: Task, *, steps: int) -> Method:
    """The toy of this task; nothing of `settings` matters."""
    del settings, steps

    def init(key: jax.Array) -> ToyState:
        start = jax.random.uniform(key)
        return ToyState(jnp.zeros(task.spec.targets), start, jnp.zeros((), jnp.int32))

    def step(state: ToyState, batch: StreamBatch) -> tuple[ToyState, dict]:
        ink = jnp.mean(batch.inputs)
        after = ToyState(
            state.seen + batch.targets.sum(axis=0), state.ink + ink, state.step + 1
        )
        norm = 2.0 + 4.0 * jnp.mean(batch.targets[:, RARE].sum(axis=1))
        norms = {
            f"{kind}/{name}/{measure}": norm
            for name in CONTROLLERS
            for kind, measure in (
                ("sg", "norm"), ("sg", "true_norm"), ("applied", "norm")
            )
        }  # fmt: skip
        share = {"memory/write_share": state.seen}
        return after, {"loss": 1.0 + ink, "accuracy": ink, **norms, **share}

    def predict(state: ToyState, inputs: jax.Array) -> Answer:
        ways = task.spec.targets
        guess = jnp.round(inputs[:, 0, 0] * 255).astype(int) % ways
        return Answer(jax.nn.one_hot(guess, ways) + 0.0 * state.ink, {})

    return Method(init, step, predict, lambda state: state, None, {"method": "toy"})


ENTRY = Entry(make, "stream", ("model", "sg", "optim"))
