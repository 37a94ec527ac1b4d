"""An exponential average of the weights around any method: it answers, they learn.

Late in a training the weights of every step lie around a better place than any of
them (Polyak and Juditsky, 1992); here the average forgets as fast as it is told to.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Context, Task


class AveragedState(NamedTuple):
    """What learns, what answers, and the step both are at."""

    inner: Any  # () once slim
    average: Any  # as the method's `slim` leaves a state
    step: jax.Array  # []


def with_average(method: Method, decay: float) -> Method:
    """The method, answering by an average over about 1 / (1 - decay) of its states.

    The average begins at the first state and forgets it soon: after `t` steps its decay
    is (1 + t) / (10 + t) where that is less. Counters are not averaged.

    Args:
      method: of episodes.
      decay: share of the old average that stays in a step, from 0 to below 1; with 0
        the last state answers.

    Raises:
      ValueError: for another decay.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay={decay}: must be at least 0 and below 1")

    def init(key: jax.Array) -> AveragedState:
        inner = method.init(key)
        average = jax.tree.map(jnp.copy, method.slim(inner))
        return AveragedState(inner, average, jnp.copy(inner.step))

    def predict(state: AveragedState, context: Context, queries: Any) -> Answer:
        return method.predict(state.average, context, queries)

    def adapt(state: AveragedState, context: Context, steps: int) -> AveragedState:
        assert method.adapt is not None
        return state._replace(average=method.adapt(state.average, context, steps))

    return method._replace(
        init=init,
        step=functools.partial(_step, method, decay),
        predict=predict,
        slim=lambda state: state._replace(inner=()),
        adapt=method.adapt and adapt,
        columns={**method.columns, "weights": f"average {decay:g}"},
    )


def _step(
    method: Method, decay: float, state: AveragedState, batch: Any
) -> tuple[AveragedState, dict[str, jax.Array]]:
    inner, metrics = method.step(state.inner, batch)
    at = state.step.astype(jnp.float32)
    kept = jnp.minimum(decay, (1 + at) / (10 + at))

    def towards(old: jax.Array, new: jax.Array) -> jax.Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        return new + kept.astype(new.dtype) * (old - new)

    average = jax.tree.map(towards, state.average, method.slim(inner))
    return AveragedState(inner, average, inner.step), metrics


def around(entry: Entry) -> Entry:
    """The line of a method of episodes, averaged where `optim.average` says so."""

    def make(settings: Settings, task: Task, *, steps: int) -> Method:
        method, decay = entry.make(settings, task, steps=steps), settings.optim.average
        return with_average(method, decay) if decay else method

    return entry._replace(make=make, uses=(*entry.uses, "optim.average"))
