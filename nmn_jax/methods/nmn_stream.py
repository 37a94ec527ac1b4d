"""The neural memory network on an unbounded stream, in constant memory.

A stream is cut into windows of T examples. What the memory holds is carried over each
cut, gradient is not: the carried state is a constant of the next window. With the
`bootstrap` target a predictor supplies the cotangent of the future at the cut
(decoupled neural interfaces for recurrent nets; Jaderberg et al., 2017).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax import cell as cell_lib
from nmn_jax import diagnostics
from nmn_jax import model as model_lib
from nmn_jax.feedback import bootstrap, pipeline, plumbing, targets
from nmn_jax.feedback import fast as fast_lib
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.methods import nmn, parts, stream_pass
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.stream_pass import StreamDesign
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import StreamBatch, Task
from nmn_jax.types import NMNState, TrainState


class StreamState(NamedTuple):
    """Everything that changes from window to window."""

    network: TrainState
    sg: TrainState
    stats: Any
    scale: targets.Scale
    carried: NMNState  # where the last window ended
    previous: jax.Array  # [C], the last target seen
    fast: Any  # what the fast path learned and kept, PerController; None without one
    step: jax.Array  # []


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """The neural memory network the settings describe, for the stream of `task`."""
    design = StreamDesign(
        builders.make_model(settings.model, task.spec),
        builders.make_sg(settings.sg),
        task.loss,
        settings.stream.target,
        settings.stream.carry,
    )
    optimizers = builders.make_optimizers(settings.optim, steps=steps)
    columns = parts.columns(settings)
    return make_method(design, task, optimizers)._replace(
        columns=columns, transductive=settings.model.norm == "batch"
    )


ENTRY = Entry(
    make, "stream", ("model", "-model.presentations", "sg", "optim", "stream")
)


def make_method(
    design: StreamDesign,
    task: Task,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
) -> Method:
    """The method of a model put together by hand; optimisers of network and SG.

    What predictors regress on is `design.target`. `step`: the gradient of the same
    step's loss; exactly zero for the write controller. `window`: of the window's summed
    loss. `bootstrap`: the same, with the write predictor's own prediction as the
    cotangent that reaches the last update from beyond the cut.

    Raises:
      ValueError: for an unknown choice, or (at the first step) a window of one example
        without `bootstrap`: the write controller would have nothing to learn from.
    """
    sg_lib.check(design.sg)
    for kind, given, known in (
        ("target", design.target, bootstrap.TARGETS),
        ("carry", design.carry, tuple(bootstrap.CARRIES)),
    ):
        if given not in known:
            raise ValueError(f"unknown {kind} {given!r}; choose one of {known}")
    init = functools.partial(_init, design, optimizers)
    step = functools.partial(_step, design, (task, *optimizers))
    return Method(init, step, functools.partial(_predict, design), nmn.slim, None, {})


def _init(design: StreamDesign, optimizers: tuple, key: jax.Array) -> StreamState:
    network_optimizer, sg_optimizer = optimizers
    whole = nmn.Design(design.model, design.sg, design.loss)
    params, stats, sg_params = nmn.start(whole, key)
    path = design.sg.fast
    learned = path and fast_lib.zero_delta(path, params.cell.controllers)
    return parts.own_buffers(
        StreamState(
            TrainState(params, network_optimizer.init(params)),
            TrainState(sg_params, sg_optimizer.init(sg_params)),
            stats,
            targets.init_scale(),
            design.model.cell.initial_state(params.cell),
            jnp.zeros((design.model.targets,)),
            learned,
            jnp.zeros((), jnp.int32),
        )
    )


def _step(
    design: StreamDesign, how: tuple, state: StreamState, batch: StreamBatch
) -> tuple[StreamState, dict[str, jax.Array]]:
    check_window(batch, design.target)
    task, network_optimizer, sg_optimizer = how
    way = stream_pass.make_pass(design, state, batch)
    found = pipeline.two_speeds(design.sg, state, way)
    ran = found.back.aux
    after = StreamState(
        parts.descend(network_optimizer, state.network, found.network),
        parts.descend(sg_optimizer, state.sg, found.sg),
        found.stats,
        found.regression.scale,
        plumbing.stop(ran.final),
        batch.targets[-1],
        _kept(design.sg, ran.fast),
        state.step + 1,
    )
    return after, _metrics(design, task, found, batch)


def _kept(sg: sg_lib.SG, learned: Any) -> Any:
    """What the next window starts with of what was learned fast in this one."""
    if sg.fast is None:
        return None
    share = sg.fast.keep
    return plumbing.stop(jax.tree.map(lambda each: share * each, learned))


def _predict(design: StreamDesign, state: StreamState, inputs: jax.Array) -> Answer:
    """Answers `[N, C]` to inputs `[N, ...]`, each asked of the state as it is.

    The controllers that answer hold what was learned fast and kept.
    """
    model, params = design.model, state.network.params
    features = model.encoder.apply(
        params.encoder, state.stats, inputs[None], supports=len(inputs), phase="test"
    )[0][0]
    cell, path = params.cell, design.sg.fast
    if path is not None:
        fast = fast_lib.apply_delta(path, cell.controllers, state.fast)
        cell = cell._replace(controllers=fast_lib.merge(cell.controllers, fast))
    queries = model_lib.query_inputs(features, state.previous)
    begun = stream_pass.begin(design, params, state)
    trace = cell_lib.ask(model.cell, cell, begun, queries)
    answers = model_lib.decode(model, params, trace)
    return Answer(answers, {"query_weights": trace.weights})


def check_window(batch: StreamBatch, target: str) -> None:
    """Raises ValueError for a window that cannot teach the write controller."""
    if len(batch.targets) < 2 and target != "bootstrap":
        raise ValueError(
            f"a window of {len(batch.targets)} example with target={target!r}: the "
            "write controller's cotangent is exactly zero at a window's last step; "
            "take windows of at least 2 examples or target='bootstrap'"
        )


def _metrics(
    design: StreamDesign, task: Task, found: pipeline.Gradients, batch: StreamBatch
) -> dict[str, jax.Array]:
    """Loss and scores, quality of predictors, health of the memory, applied gradients
    (A25)."""
    regression, ran = found.regression, found.back.aux
    applied = {
        f"applied/{name}/norm": optax.tree.norm(grads)
        for name, grads in found.network.cell.controllers._asdict().items()
    }
    return {
        "loss": found.back.loss,
        **parts.mean_scores(task, ran.outputs, batch.targets),
        "sg/loss": regression.loss,
        **applied,
        **diagnostics.synthetic_quality(regression.predicted, regression.true),
        **design.model.cell.memory.measures(
            ran.final.memory, ran.trace.weights, ran.trace.writes
        ),
    }
