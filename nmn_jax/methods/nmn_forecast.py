"""The neural memory network on sequences that it is asked to continue (section 4.2)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax import diagnostics
from nmn_jax.feedback import bootstrap, pipeline, plumbing, targets
from nmn_jax.feedback import fast as fast_lib
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.methods import forecast_pass, nmn, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.forecast_pass import ForecastDesign
from nmn_jax.settings import builders, forecasts
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import ForecastBatch, Task
from nmn_jax.types import NMNState, TrainState

Optimizers = tuple[optax.GradientTransformation, optax.GradientTransformation]


class ForecastState(NamedTuple):
    """Everything that changes from batch to batch.

    carried: where the last sequence ended
    fast: what the fast path learned in the last batch, PerController; None without one.
      It answers what is asked next, and `keep` of it begins the next batch
    """

    network: TrainState
    sg: TrainState
    stats: Any
    scale: targets.Scale
    carried: NMNState
    fast: Any
    step: jax.Array  # []


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """The neural memory network the settings describe, for the forecasts of `task`.

    Targets lie in the future, so no label is an input whatever the settings say, and
    slots have no key part.
    """
    model = dataclasses.replace(settings.model, label_input="none", key_width=0)
    settings = dataclasses.replace(settings, model=model)
    decoding = forecasts.make_decoding(settings.forecast, task.spec)
    design = ForecastDesign(
        forecasts.make_forecast_model(settings, task.spec),
        builders.make_sg(settings.sg),
        task.loss,
        decoding,
        settings.stream.carry,
    )
    optimizers = builders.make_optimizers(settings.optim, steps=steps)
    told = {
        "method": f"nmn {settings.preset}",
        "synthetic gradients": parts.sg_name(settings),
        "decoding": f"{settings.forecast.decode}, {settings.forecast.frame}",
        "memory": {"episode": "of each track"}.get(design.carry, "of all tracks"),
    }
    return make_method(design, task, optimizers)._replace(columns=told)


ENTRY = Entry(
    make,
    "forecast",
    (
        "model", "-model.presentations", "-model.label_input", "-model.key_width",
        "-model.channels", "-model.layers", "-model.norm", "-model.precision",
        "sg", "optim", "-optim.average", "stream.carry", "forecast",
    ),
)  # fmt: skip


def make_method(design: ForecastDesign, task: Task, optimizers: Optimizers) -> Method:
    """The method of a model put together by hand; optimisers of network and SG.

    Raises:
      ValueError: for an unknown choice.
    """
    sg_lib.check(design.sg)
    if design.carry not in bootstrap.CARRIES:
        raise ValueError(
            f"unknown carry {design.carry!r}; choose one of {tuple(bootstrap.CARRIES)}"
        )
    init = functools.partial(_init, design, optimizers)
    step = functools.partial(_step, design, (task, *optimizers))
    return Method(init, step, functools.partial(_predict, design), nmn.slim, None, {})


def _init(
    design: ForecastDesign, optimizers: Optimizers, key: jax.Array
) -> ForecastState:
    network_optimizer, sg_optimizer = optimizers
    whole = nmn.Design(design.model, design.sg, design.loss)
    params, stats, sg_params = nmn.start(whole, key)
    path = design.sg.fast
    return parts.own_buffers(
        ForecastState(
            TrainState(params, network_optimizer.init(params)),
            TrainState(sg_params, sg_optimizer.init(sg_params)),
            stats,
            targets.init_scale(),
            design.model.cell.initial_state(params.cell),
            path and fast_lib.zero_delta(path, params.cell.controllers),
            jnp.zeros((), jnp.int32),
        )
    )


def _step(
    design: ForecastDesign, how: tuple, state: ForecastState, batch: ForecastBatch
) -> tuple[ForecastState, dict[str, jax.Array]]:
    task, network_optimizer, sg_optimizer = how
    laid = forecast_pass.lay(design, batch)
    way = forecast_pass.make_pass(design, state, laid)
    found = pipeline.two_speeds(design.sg, state, way)
    ran = found.back.aux
    after = ForecastState(
        parts.descend(network_optimizer, state.network, found.network),
        parts.descend(sg_optimizer, state.sg, found.sg),
        found.stats,
        found.regression.scale,
        plumbing.stop(ran.final),
        plumbing.stop(ran.fast),
        state.step + 1,
    )
    return after, _metrics(design, task, found, batch)


def _predict(design: ForecastDesign, state: ForecastState, inputs: jax.Array) -> Answer:
    """Forecasts `[N, H, D]` of sequences `[N, T, D]`, each from the state as it is."""

    def run(laid: jax.Array) -> jax.Array:
        return forecast_pass.answer(design, state, laid)[0]

    return Answer(design.decoding.answer(run, inputs), {})


def _metrics(
    design: ForecastDesign, task: Task, found: pipeline.Gradients, batch: ForecastBatch
) -> dict[str, jax.Array]:
    """Loss and scores, quality of the predictors, health of the memory."""
    regression, ran = found.regression, found.back.aux
    said = jax.vmap(design.decoding.read)(ran.outputs, batch.inputs, batch.targets)
    return {
        "loss": found.back.loss,
        **parts.mean_scores(task, said, batch.targets),
        "sg/loss": regression.loss,
        **diagnostics.synthetic_quality(regression.predicted, regression.true),
        **design.model.cell.memory.measures(
            ran.final.memory, ran.trace.weights, ran.trace.writes
        ),
    }
