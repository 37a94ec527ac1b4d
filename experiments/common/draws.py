"""Several draws of one experiment side by side in one program.

A draw has parameters, batches and data of its own. What holds for a method and a task
holds for a stack of them: loop, checkpoint and step know nothing of it.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods.base import Method
from nmn_jax.tasks.base import Task


class Stack(NamedTuple):
    """States of all draws, `[draws, ...]`, and the steps that each of them took."""

    inner: Any
    step: jax.Array  # []


def method(inner: Method, draws: int) -> Method:
    """The same method once for every draw; metrics are means over draws.

    `predict` is given inputs `[draws, N, ...]`, each for the draw of its place.
    """

    def init(key: jax.Array) -> Stack:
        return Stack(jax.vmap(inner.init)(keys(key, draws)), jnp.zeros((), jnp.int32))

    def step(state: Stack, batch: Any) -> tuple[Stack, dict[str, jax.Array]]:
        after, metrics = jax.vmap(inner.step)(state.inner, batch)
        means = jax.tree.map(lambda each: jnp.mean(each, axis=0), metrics)
        return Stack(after, state.step + 1), means

    def predict(state: Stack, *asked: Any) -> Any:
        return jax.vmap(inner.predict)(state.inner, *asked)

    def slim(state: Stack) -> Stack:
        return state._replace(inner=jax.vmap(inner.slim)(state.inner))

    def adapt(state: Stack, context: Any, steps: int) -> Stack:
        assert inner.adapt is not None
        each = functools.partial(_adapt, inner.adapt, steps)
        return state._replace(inner=jax.vmap(each)(state.inner, context))

    return Method(
        init, step, predict, slim, adapt if inner.adapt else None, inner.columns,
        inner.transductive,
    )  # fmt: skip


def _adapt(adapt: Any, steps: int, state: Any, context: Any) -> Any:
    return adapt(state, context, steps)


def task(inner: Task, draws: int) -> Task:
    """The same task once for every draw, each with a source of its own."""

    def sample(key: jax.Array, step: jax.Array, source: Any) -> Any:
        each = jax.vmap(inner.sample, in_axes=(0, None, 0))
        return each(keys(key, draws), step, source)

    return inner._replace(sample=sample)


def keys(key: jax.Array, draws: int) -> jax.Array:
    """A key for every draw, the same however many there are."""
    return jax.vmap(lambda draw: jax.random.fold_in(key, draw))(jnp.arange(draws))
