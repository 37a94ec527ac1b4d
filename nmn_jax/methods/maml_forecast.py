"""MAML and MAML++ on sequences: learn where gradient steps are to start.

The network is that of the attention baseline. A batch is one task: half of it is
adapted to, and slow learning descends the loss of the other half after the inner steps
(Finn et al., 2017). MAML++ (Antoniou et al., 2019) comes without its parts for norms,
since there are none here; its multi-step loss, annealing and learned rates are those of
`maml_plus`. Adapting takes inner steps as well; where rates are learned, those after
the last inner step of training have the rates of that one.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.feedback import plumbing
from nmn_jax.feedback.inner_loop import inner_loop
from nmn_jax.methods import attention, maml_plus, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.settings.records import Settings
from nmn_jax.settings.rivals import MamlPlusSettings, MamlSettings
from nmn_jax.tasks.base import ForecastBatch, Task
from nmn_jax.types import TrainState

# What of MAML++ leaves MAML.
PLAIN = MamlPlusSettings(multi_step=0, first_order=0, rates="fixed")


class State(NamedTuple):
    """Everything that changes from step to step.

    taken: inner steps since training, []
    """

    network: TrainState
    taken: jax.Array
    step: jax.Array


class Design(NamedTuple):
    """The network, its inner loop, and what is added to it."""

    learner: attention.Design
    inner: MamlSettings
    plus: MamlPlusSettings


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """The attention baseline, trained to be adapted."""
    return _make("maml", PLAIN, (settings, task, steps))


def make_plus(settings: Settings, task: Task, *, steps: int) -> Method:
    """The same with what MAML++ adds.

    Raises:
      ValueError: for annealing to a second order that is never used.
    """
    maml_plus.check_orders(settings)
    method = _make("maml++", settings.maml_plus, (settings, task, steps))
    told = maml_plus.told(settings.maml_plus, norms=False)
    return method._replace(columns={**method.columns, "multi-step": told})


USES = (*attention.ENTRY.uses, "maml.steps", "maml.rate", "maml.order", "maml.keep")
PLUS = ("maml_plus", "-maml_plus.norm_parameters")
MAML = Entry(make, "forecast", USES)
MAML_PLUS = Entry(make_plus, "forecast", (*USES, *PLUS))


def _make(
    name: str, plus: MamlPlusSettings, what: tuple[Settings, Task, int]
) -> Method:
    settings, task, steps = what
    learner = attention.make_design(settings, task, steps=steps)
    design, inner = Design(learner, settings.maml, plus), settings.maml
    return Method(
        functools.partial(_init, design),
        functools.partial(_step, design),
        functools.partial(_predict, design),
        parts.slim,
        functools.partial(_adapt, design),
        {
            "method": name,
            "decoding": f"step by step, {settings.forecast.frame}",
            "inner loop": f"{inner.steps} x {inner.rate:g}, {inner.order} order",
        },
    )


def _init(design: Design, key: jax.Array) -> State:
    whole = {"learner": attention.init(design.learner, key).network.params}
    if design.plus.rates == "learned":
        rate = jnp.full((design.inner.steps,), design.inner.rate)
        whole["rates"] = jax.tree.map(lambda leaf: rate, whole["learner"])
    network = TrainState(whole, design.learner.optimizer.init(whole))
    none = jnp.zeros((), jnp.int32)
    return parts.own_buffers(State(network, none, none))


def _descend(
    design: Design, params: Any, context: ForecastBatch, what: tuple[Any, str]
) -> Any:
    """The parameters after one inner step on a context; `what` is its number, from 0
    on, and the order."""
    at, order = what
    rates: Any = design.inner.rate
    if "rates" in params:
        last = jnp.minimum(at, design.inner.steps - 1)
        rates = jax.tree.map(lambda rate: rate[last], params["rates"])
    learner = inner_loop(
        lambda learner, batch: attention.loss(design.learner, learner, batch)[0],
        params["learner"], context,
        rates=rates, steps=1, order=order, keep=design.inner.keep,
    )  # fmt: skip
    return {**params, "learner": learner}


def slow_loss(
    design: Design, params: Any, batch: ForecastBatch, how: tuple[jax.Array, str]
) -> tuple[jax.Array, jax.Array]:
    """Loss of the second half of a batch after inner steps on the first, and what was
    said of it, `[B - B // 2, H, D]`.

    Args:
      how: weight of the loss after each inner step `[J]`, of which only the last is
        computed without a multi-step loss; and the order.
    """
    weights, order = how
    half = len(batch.inputs) // 2
    context, asked = (
        ForecastBatch(*(each[part] for each in batch))
        for part in (slice(half), slice(half, None))
    )
    found = []
    for at in range(design.inner.steps):
        params = _descend(design, params, context, (at, order))
        if design.plus.multi_step or at == design.inner.steps - 1:
            found.append(attention.loss(design.learner, params["learner"], asked))
    losses = jnp.stack([loss for loss, _ in found])
    return jnp.sum(weights[-len(found) :] * losses), found[-1][1]


def _step(
    design: Design, state: State, batch: ForecastBatch
) -> tuple[State, dict[str, jax.Array]]:
    if len(batch.inputs) < 2:
        raise ValueError(
            "a batch of one sequence: one half is adapted to and the other asked; take "
            "batches of at least 2"
        )
    weights = maml_plus.step_weights(
        state.step, steps=design.inner.steps, until=design.plus.multi_step
    )

    def of(order: str) -> tuple:
        return plumbing.gradient(
            lambda params: slow_loss(design, params, batch, (weights, order)),
            state.network.params,
        )

    value, said, grads = maml_plus.in_order(design.plus, design.inner, state.step, of)
    network = parts.descend(design.learner.optimizer, state.network, grads)
    asked = batch.targets[len(batch.targets) // 2 :]
    scores = parts.mean_scores(design.learner.task, said, asked)
    after = state._replace(network=network, step=state.step + 1)
    return after, {"loss": value, **scores}


def _predict(design: Design, state: State, inputs: jax.Array) -> Answer:
    params = state.network.params["learner"]
    return Answer(attention.forecasts(design.learner, params, inputs), {})


def _adapt(design: Design, state: State, context: ForecastBatch, steps: int) -> State:
    params = state.network.params
    for ahead in range(steps):
        params = _descend(design, params, context, (state.taken + ahead, "first"))
    network = state.network._replace(params=params)
    return state._replace(network=network, taken=state.taken + steps)
