"""The neural memory network on episodes: two speeds of learning as one pure step.

The backward passes are `feedback.pipeline`; here are state, optimisers and metrics.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax import diagnostics
from nmn_jax import model as model_lib
from nmn_jax.feedback import pipeline, targets
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.methods import episode_pass, parts
from nmn_jax.methods.adaptation import make_adapt
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.episode_pass import Design
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Batch, Context, Task
from nmn_jax.types import TrainState


class NMNLearnerState(NamedTuple):
    """Everything that changes from step to step."""

    network: TrainState
    sg: TrainState
    stats: Any  # the encoder's running statistics, if it keeps any
    scale: targets.Scale
    step: jax.Array  # []


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """The neural memory network the settings describe, for episodes of `task`."""
    model = builders.make_model(settings.model, task.spec)
    optimizers = builders.make_optimizers(settings.optim, steps=steps)
    design = Design(model, builders.make_sg(settings.sg), task.loss)
    return make_method(design, task, optimizers)._replace(
        adapt=make_adapt(design, settings.adapt),
        columns=parts.columns(settings),
        transductive=settings.model.norm == "batch",
    )


ENTRY = Entry(make, "episodes", ("model", "sg", "-sg.keep", "optim", "adapt"))


def make_method(
    design: Design,
    task: Task,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
) -> Method:
    """The method of a model put together by hand; optimisers of network and SG.

    Raises:
      ValueError: for an unknown `train` or `rule` of the second feedback path.
    """
    sg_lib.check(design.sg)
    network_optimizer, sg_optimizer = optimizers

    def init(key: jax.Array) -> NMNLearnerState:
        params, stats, sg_params = start(design, key)
        return parts.own_buffers(
            NMNLearnerState(
                TrainState(params, network_optimizer.init(params)),
                TrainState(sg_params, sg_optimizer.init(sg_params)),
                stats,
                targets.init_scale(),
                jnp.zeros((), jnp.int32),
            )
        )

    def step(state: NMNLearnerState, batch: Batch) -> tuple[NMNLearnerState, dict]:
        way = episode_pass.make_pass(design, state, batch, "train")
        found = pipeline.two_speeds(design.sg, state, way)
        return NMNLearnerState(
            parts.descend(network_optimizer, state.network, found.network),
            parts.descend(sg_optimizer, state.sg, found.sg),
            found.stats, found.regression.scale, state.step + 1,
        ), _metrics(design, task, found, batch)  # fmt: skip

    predict = functools.partial(_predict, design)
    return Method(init, step, predict, slim, None, {})


def start(design: Design, key: jax.Array) -> tuple[Any, Any, sg_lib.SGParams]:
    """Parameters, encoder statistics and what the second feedback path learns."""
    network_key, predictor_key = jax.random.split(key)
    params, stats = model_lib.init(design.model, network_key)
    sg_params = sg_lib.init(
        design.sg, predictor_key, params.cell.controllers,
        width=design.model.cell.width, targets=design.model.targets,
    )  # fmt: skip
    return params, stats, sg_params


def slim(state: Any) -> Any:
    """The state without its optimisers."""
    return parts.slim(state)._replace(sg=state.sg._replace(opt_state=()))


def _predict(
    design: Design, state: NMNLearnerState, context: Context, queries: jax.Array
) -> Answer:
    run = episode_pass.answer(design, state, context, queries)
    memory = design.model.cell.memory
    if memory.reads < memory.slots:
        # Weights of a few slots do not say which: there is nothing to draw them over.
        return Answer(run.outputs, {})
    evidence = {
        "support_weights": run.support.trace.weights,
        "support_writes": run.support.trace.writes,
        "query_weights": run.query.weights,
    }
    return Answer(run.outputs, evidence)


def _metrics(
    design: Design, task: Task, found: pipeline.Gradients, batch: Batch
) -> dict[str, jax.Array]:
    """Loss and scores, quality of the predictors, health of the memory."""
    run, regression = found.back.aux, found.regression
    return {
        "loss": found.back.loss,
        **parts.mean_scores(task, run.outputs, batch.answers),
        "sg/loss": regression.loss,
        **diagnostics.synthetic_quality(regression.predicted, regression.true),
        **design.model.cell.memory.measures(
            run.support.state.memory, run.query.weights, run.support.trace.writes
        ),
    }
