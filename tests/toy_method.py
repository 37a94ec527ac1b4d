"""The smallest learner: nearest class means on pixels, with one learned scale.

Also what `tests` put in a method's place where only the contract matters: it compiles
in a blink, learns, and tells what it was given.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.tasks.base import Batch, Context, Task

LR = 10.0


class ToyState(NamedTuple):
    """The scale [], how much was seen in training [], and the steps so far []."""

    scale: jax.Array
    seen: jax.Array
    step: jax.Array


def logits(scale: jax.Array, context: Context, queries: jax.Array) -> jax.Array:
    """-scale · mean squared distance to the mean image of a class, `[B, Q, C]`."""
    stored = context.inputs.reshape(*context.targets.shape[:2], -1)
    asked = queries.reshape(*queries.shape[:2], -1)
    sums = jnp.einsum("bsc,bsd->bcd", context.targets, stored)
    means = sums / jnp.sum(context.targets, axis=1)[:, :, None]
    return -scale * jnp.mean((asked[:, :, None] - means[:, None]) ** 2, axis=-1)


def make(settings: Any, task: Task, *, steps: int) -> Method:
    """The toy of this task; nothing of `settings` matters."""
    del settings, steps

    def init(key: jax.Array) -> ToyState:
        drawn = jax.random.uniform(key)
        return ToyState(1.0 + drawn, 0.0 * drawn, jnp.zeros((), int))

    def loss(scale: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        output = logits(scale, batch.context, batch.queries)
        losses = jax.vmap(jax.vmap(task.loss))(output, batch.answers)
        return jnp.mean(losses), output

    def step(state: ToyState, batch: Batch) -> tuple[ToyState, dict[str, jax.Array]]:
        slope = jax.value_and_grad(loss, has_aux=True)
        (value, output), gradient = slope(state.scale, batch)
        scores = jax.vmap(jax.vmap(task.score))(output, batch.answers)
        # Odd weights: a sum that two different batches do not share.
        ink = jnp.mean(jnp.cos(jnp.arange(batch.queries.size)) * batch.queries.ravel())
        after = ToyState(state.scale - LR * gradient, state.seen + ink, state.step + 1)
        means = {name: jnp.mean(each) for name, each in scores.items()}
        return after, {"loss": value, "ink": ink, **means}

    def predict(state: ToyState, context: Context, queries: jax.Array) -> Answer:
        return Answer(logits(state.scale, context, queries), {})

    def adapt(state: ToyState, context: Context, steps: int) -> ToyState:
        batch = Batch(context, context.inputs, context.targets)
        for _ in range(steps):
            gradient = jax.grad(loss, has_aux=True)(state.scale, batch)[0]
            state = state._replace(scale=state.scale - LR * gradient)
        return state

    def slim(state: ToyState) -> ToyState:
        return state._replace(seen=jnp.zeros(()))

    return Method(init, step, predict, slim, adapt, {"method": "toy"})


ENTRY = Entry(make, "episodes", ("optim",))
