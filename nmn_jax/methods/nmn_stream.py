"""The neural memory network on an unbounded stream, in constant memory.

A stream is cut into windows of T examples. What the memory holds is carried over each
cut, gradient is not: the carried state is a constant of the next window. With the
`bootstrap` target a predictor supplies the cotangent of the future at the cut, for the
whole state (`feedback.future`). A task may have B streams side by side; one step learns
from a window of each.
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
from nmn_jax.feedback.future import Cursor, FutureState
from nmn_jax.methods import nmn, parts, stream_pass, stream_window, streams
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Spec, StreamBatch, Task
from nmn_jax.types import NMNState, TrainState


class StreamState(NamedTuple):
    """Everything that changes from window to window; B streams."""

    network: TrainState
    sg: TrainState
    stats: Any
    scale: targets.Scale
    carried: NMNState  # [B], where the last window ended
    previous: jax.Array  # [B, C], the last target seen
    starts: jax.Array  # [B], whether a new sequence starts here
    fast: Any  # [B], learned by the fast path and kept, PerController; None without one
    future: FutureState | None  # what predicts the future; None unless it is predicted
    step: jax.Array  # []

    @property
    def cursor(self) -> Cursor:
        """Where the streams stand."""
        return Cursor(self.carried, self.previous, self.starts)


def make_design(settings: Settings, task: Task) -> StreamDesign:
    """What the settings describe, for the stream of `task`."""
    return StreamDesign(
        builders.make_model(settings.model, task.spec),
        builders.make_sg(settings.sg),
        task.loss,
        settings.stream.target,
        settings.stream.carry,
        builders.make_future(settings.stream),
    )


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """The neural memory network the settings describe, for the stream of `task`."""
    design = make_design(settings, task)
    optimizers = builders.make_optimizers(settings.optim, steps=steps)
    columns = {**parts.columns(settings), **streams.columns(settings.stream)}
    return make_method(design, task, optimizers)._replace(
        columns=columns, transductive=settings.model.norm == "batch"
    )


ENTRY = Entry(
    make,
    "stream",
    ("model", "-model.presentations", "sg", "optim", "-optim.average", "stream"),
)


def make_method(
    design: StreamDesign,
    task: Task,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
) -> Method:
    """The method of a model put together by hand; optimisers of network and SG.

    What predictors regress on is `design.target`. `step`: the gradient of the same
    step's loss; exactly zero for the write controller. `window`: of the window's summed
    loss. `bootstrap_update`: the same, with the write predictor's own prediction as the
    cotangent that reaches the last update from beyond the cut. `bootstrap`: the same,
    with what `design.future` predicts for the whole state at the cut.

    Raises:
      ValueError: for an unknown choice, a future without its target or the other way
        round, or (at the first step) a window of one example that nothing reaches from
        beyond the cut: the write controller would have nothing to learn from.
    """
    sg_lib.check(design.sg)
    _check_future(design)
    for kind, given, known in (
        ("target", design.target, bootstrap.TARGETS),
        ("carry", design.carry, tuple(bootstrap.CARRIES)),
    ):
        if given not in known:
            raise ValueError(f"unknown {kind} {given!r}; choose one of {known}")
    init = functools.partial(_init, design, task.spec, optimizers)
    step = functools.partial(_step, design, (task, *optimizers))
    return Method(init, step, functools.partial(_predict, design), slim, None, {})


def _check_future(design: StreamDesign) -> None:
    future = design.future
    if (future is not None) != (design.target == "bootstrap"):
        raise ValueError(
            f"target {design.target!r} with future={future}: 'bootstrap' needs one, "
            "and no other target does"
        )
    if future is None:
        return
    if design.carry == "episode":
        raise ValueError(
            "target 'bootstrap' with carry 'episode': nothing is carried over a cut, "
            "so there is no future to predict; choose carry 'stream' or 'memory'"
        )
    if design.sg.fast is not None and (
        future.windows > 1 or future.control == "oracle"
    ):
        raise ValueError(
            "a fast path with a trace or the oracle of the future: both run windows "
            "again with the slow weights alone; choose sg.use 'off' or 'decoupled'"
        )


def _init(
    design: StreamDesign, spec: Spec, optimizers: tuple, key: jax.Array
) -> StreamState:
    network_optimizer, sg_optimizer = optimizers
    whole = nmn.Design(design.model, design.sg, design.loss)
    params, stats, sg_params = nmn.start(whole, key)
    fresh = design.model.cell.initial_state(params.cell)
    path = design.sg.fast
    learned = path and fast_lib.zero_delta(path, params.cell.controllers)
    future = design.future and streams.start_future(
        design.future, sg_optimizer, jax.random.fold_in(key, 1), spec=spec, fresh=fresh
    )
    return parts.own_buffers(
        StreamState(
            TrainState(params, network_optimizer.init(params)),
            TrainState(sg_params, sg_optimizer.init(sg_params)),
            stats,
            targets.init_scale(),
            *streams.start_cursor(spec, fresh),
            streams.side_by_side(spec, learned),
            future,
            jnp.zeros((), jnp.int32),
        )
    )


def _step(
    design: StreamDesign, how: tuple, state: StreamState, batch: StreamBatch
) -> tuple[StreamState, dict[str, jax.Array]]:
    check_window(batch, design.target)
    task, network_optimizer, sg_optimizer = how
    batch = streams.with_streams(task.spec, batch)
    way = stream_pass.make_pass(design, state, batch)
    found = pipeline.two_speeds(design.sg, state, way)
    ran = found.back.aux
    future, told = _learn_future(design, sg_optimizer, state, (batch, found.back))
    after = StreamState(
        parts.descend(network_optimizer, state.network, found.network),
        parts.descend(sg_optimizer, state.sg, found.sg),
        found.stats,
        found.regression.scale,
        *plumbing.stop(streams.onward(ran.final, batch)),
        _kept(design.sg, ran.fast),
        future,
        state.step + 1,
    )
    return after, {**_metrics(design, task, found, batch), **told}


def _learn_future(
    design: StreamDesign, optimizer: Any, state: StreamState, given: tuple
) -> tuple[FutureState | None, dict[str, jax.Array]]:
    """The predictor of the future after what this window says of its entry."""
    if design.future is None:
        return None, {}
    batch, back = given
    run = stream_window.make_run(design, state)
    window = streams.Window(batch, back.features.entry, back.aux.beyond, run)
    return streams.learn_future(design.future, optimizer, state, window)


def _kept(sg: sg_lib.SG, learned: Any) -> Any:
    """What the next window starts with of what was learned fast in this one."""
    if sg.fast is None:
        return None
    share = sg.fast.keep
    return plumbing.stop(jax.tree.map(lambda each: share * each, learned))


def slim(state: StreamState) -> StreamState:
    """The state without its optimisers and without what predicts the future."""
    return nmn.slim(state)._replace(future=None)


def _predict(design: StreamDesign, state: StreamState, inputs: jax.Array) -> Answer:
    """Answers `[N, C]` to inputs `[N, ...]`, each asked of the state as it is; of
    several streams, of the first.

    The controllers that answer hold what was learned fast and kept.
    """
    model, params = design.model, state.network.params
    features = model.encoder.apply(
        params.encoder, state.stats, inputs[None], supports=len(inputs), phase="test"
    )[0][0]
    cell, path = params.cell, design.sg.fast
    if path is not None:
        learned = jax.tree.map(lambda leaf: leaf[0], state.fast)
        fast = fast_lib.apply_delta(path, cell.controllers, learned)
        cell = cell._replace(controllers=fast_lib.merge(cell.controllers, fast))
    queries = model_lib.query_inputs(features, state.previous[0])
    begun = stream_window.begin(design, params, state.cursor)
    begun = jax.tree.map(lambda leaf: leaf[0], begun)
    trace = cell_lib.ask(model.cell, cell, begun, queries)
    answers = model_lib.decode(model, params, trace)
    return Answer(answers, {"query_weights": trace.weights})


def check_window(batch: StreamBatch, target: str) -> None:
    """Raises ValueError for a window that cannot teach the write controller."""
    steps = batch.targets.shape[-2]
    if steps < 2 and not target.startswith("bootstrap"):
        raise ValueError(
            f"a window of {steps} example with target={target!r}: the "
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
