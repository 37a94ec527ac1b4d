"""An encoder and a readout of its features, trained end to end on queries.

What prototypes, matching networks and other learners without an inner loop have in
common: a support set and queries pass one encoder, and a readout answers the queries of
each episode from features and labels. A method of this kind is its readout.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax.feedback import plumbing
from nmn_jax.methods import parts
from nmn_jax.methods.base import Answer, Method
from nmn_jax.nets.encoder import Encoder
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Batch, Context, Task
from nmn_jax.types import TrainState


class Readout(NamedTuple):
    """How the queries of one episode are answered from features.

    init: `(key, D) -> params`
    answer: `(params, supports [S, D], targets [S, C], queries [Q, D]) -> Answer` with
      outputs `[Q, C]`. A query is to see the support set and itself, no other query.
    """

    init: Callable[[jax.Array, int], Any]
    answer: Callable[[Any, jax.Array, jax.Array, jax.Array], Answer]


class LearnerState(NamedTuple):
    """Everything that changes from step to step; `stats` are the encoder's."""

    network: TrainState
    stats: Any
    step: jax.Array  # []


class Design(NamedTuple):
    """The parts of a method of this kind.

    loss: `(Answer of a batch, Batch) -> []`, what is descended
    """

    encoder: Encoder
    readout: Readout
    optimizer: optax.GradientTransformation
    task: Task
    loss: Callable[[Answer, Batch], jax.Array]


def make(name: str, readout: Readout, settings: Settings, task: Task, *,
         steps: int) -> Method:  # fmt: skip
    """A readout behind the encoder of `settings`, by its optimiser.

    Args:
      name: in tables and errors.

    Raises:
      ValueError: for a task that is no classification.
    """
    design = make_design(name, readout, settings, task, steps=steps)
    return make_method(design)._replace(
        columns={"method": name, **parts.encoder_columns(settings.model)},
        transductive=settings.model.norm == "batch",
    )


def make_design(name: str, readout: Readout, settings: Settings, task: Task, *,
                steps: int, encoder: Encoder | None = None) -> Design:  # fmt: skip
    """The parts of `make`, some of which a method may replace by its own.

    Args:
      encoder: in place of that of `settings`.

    Raises:
      ValueError: as `make`.
    """
    check_classes(name, task)
    shape = task.spec.input_shape
    return Design(
        encoder or builders.make_encoder(settings.model, shape),
        # As one program: a readout of many layers takes seconds to make one by one.
        readout._replace(init=jax.jit(readout.init, static_argnums=1)),
        builders.make_optimizer(settings.optim, settings.optim.lr, steps=steps),
        task,
        functools.partial(query_loss, task),
    )


def check_classes(name: str, task: Task) -> None:
    """Raises ValueError for a task that is no classification."""
    if task.spec.kind != "classification":
        raise ValueError(
            f"method {name!r} tells classes apart, but this task is a "
            f"{task.spec.kind}; choose another method"
        )


def make_method(design: Design) -> Method:
    """The method of parts put together by hand; it names itself nothing."""
    return Method(
        functools.partial(_init, design),
        functools.partial(_step, design),
        functools.partial(_predict, design),
        parts.slim,
        None,
        {},
    )


def query_loss(task: Task, said: Answer, batch: Batch) -> jax.Array:
    """The task's loss, mean over all queries."""
    return jnp.mean(jax.vmap(jax.vmap(task.loss))(said.output, batch.answers))


def _init(design: Design, key: jax.Array) -> LearnerState:
    params, stats = design.encoder.init(key)
    # The key as it came is the encoder's: whatever reads it out, it begins the same.
    readout = design.readout.init(jax.random.fold_in(key, 1), design.encoder.width)
    whole = {"encoder": params, "readout": readout}
    network = TrainState(whole, design.optimizer.init(whole))
    return parts.own_buffers(LearnerState(network, stats, jnp.zeros((), jnp.int32)))


def answer(
    design: Design, params: Any, given: tuple[Any, Context, jax.Array], phase: str
) -> tuple[Answer, Any]:
    """Answers `[B, Q, C]` to a batch of episodes, and the encoder's statistics.

    Args:
      given: statistics, context `[B, S, ...]` and queries `[B, Q, ...]`.
      phase: `train` or `test`, for the encoder's norm.
    """
    stats, context, queries = given
    supports = context.inputs.shape[1]
    features, stats = design.encoder.apply(
        params["encoder"], stats, jnp.concatenate([context.inputs, queries], axis=1),
        supports=supports, phase=phase,
    )  # fmt: skip
    each = jax.vmap(design.readout.answer, (None, 0, 0, 0))
    stored, asked = features[:, :supports], features[:, supports:]
    return each(params["readout"], stored, context.targets, asked), stats


def _step(
    design: Design, state: LearnerState, batch: Batch
) -> tuple[LearnerState, dict[str, jax.Array]]:
    def loss(params: Any) -> tuple:
        given = (state.stats, batch.context, batch.queries)
        said, stats = answer(design, params, given, "train")
        return design.loss(said, batch), (said.output, stats)

    value, (output, stats), grads = plumbing.gradient(loss, state.network.params)
    network = parts.descend(design.optimizer, state.network, grads)
    scores = parts.mean_scores(design.task, output, batch.answers)
    after = LearnerState(network, stats, state.step + 1)
    return after, {"loss": value, **scores}


def _predict(
    design: Design, state: LearnerState, context: Context, queries: jax.Array
) -> Answer:
    given = (state.stats, context, queries)
    return answer(design, state.network.params, given, "test")[0]
