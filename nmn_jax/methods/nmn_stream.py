"""Learning from an unbounded stream in constant memory: window, cut, carry.

A stream is cut into windows of T examples. What the memory holds is carried over each
cut, gradient is not: the carried state is a constant of the next window. With the
`bootstrap` target a predictor supplies the cotangent of the future at the cut
(decoupled neural interfaces for recurrent nets; Jaderberg et al., 2017).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax import cell as cell_lib
from nmn_jax import diagnostics, gradients, losses, synthetic
from nmn_jax import fast as fast_lib
from nmn_jax import feedback as feedback_lib
from nmn_jax import model as model_lib
from nmn_jax import window as window_lib
from nmn_jax.feedback import Feedback
from nmn_jax.learner import Gradients, TrainState, apply
from nmn_jax.model import Model
from nmn_jax.types import NMNState
from nmn_jax.window import StreamState, Window


class StreamLearner(NamedTuple):
    """init: `(key) -> StreamState`; step: `(state, window) -> (state, metrics)`;
    predict: `(state, images [N, H, W]) -> logits [N, C]`, nothing changed.

    The state is whatever `init` returns, a `StreamState` for `make_stream_learner`; it
    has the number of steps taken as its field `step`.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[Any, Window], tuple[Any, dict[str, jax.Array]]]
    predict: Callable[[Any, jax.Array], jax.Array]


Carry = Callable[[NMNState, NMNState], NMNState]

# What the next window starts from, given the fresh state and the one reached.
CARRIES: dict[str, Carry] = {
    "stream": lambda fresh, reached: reached,
    "episode": lambda fresh, reached: fresh,
    # Memory goes on, controllers start afresh: LSTM state does not outlive its window.
    "memory": lambda fresh, reached: reached._replace(carries=fresh.carries),
}
TARGETS = ("step", "window", "bootstrap")


def make_stream_learner(
    model: Model,
    feedback: Feedback,
    optimizer: optax.GradientTransformation,
    predictor_optimizer: optax.GradientTransformation,
    *,
    target: str = "window",
    carry: str = "stream",
) -> StreamLearner:
    """Two speeds of learning on a stream, one window a step.

    Args:
      target: what predictors regress on. `step`: the gradient of the same step's loss;
        exactly zero for the write controller. `window`: of the window's summed loss.
        `bootstrap`: the same, with the write predictor's own guess as the cotangent
        that reaches the last update from beyond the cut.
      carry: what survives a cut, see `CARRIES`.

    Raises:
      ValueError: for an unknown choice, or (at the first step) a window of one example
        without `bootstrap`: the write controller would have nothing to learn from.
    """
    feedback_lib.check(feedback)
    for kind, given, known in (("target", target, TARGETS), ("carry", carry, CARRIES)):
        if given not in known:
            raise ValueError(f"unknown {kind} {given!r}; choose one of {tuple(known)}")

    def init(key: jax.Array) -> StreamState:
        params, stats, fed = _start(model, feedback, key)
        first = model.cell.initial_state(params.cell)
        return StreamState(
            TrainState(params, optimizer.init(params)),
            TrainState(fed, predictor_optimizer.init(fed)),
            stats,
            synthetic.init_scale(),
            # A copy: a donated state must not hold the same buffer twice.
            jax.tree.map(jnp.copy, first),
            jnp.zeros((model.classes,)),
            _nothing_learned(feedback, params),
            jnp.zeros((), jnp.int32),
        )

    def step(state: StreamState, window: Window) -> tuple[StreamState, dict]:
        check_window(window, target)
        found = window_lib.two_speeds(model, feedback, state, window, target)
        moved = apply(optimizer, state.network, found.network)
        fresh = model.cell.initial_state(moved.params.cell)
        after = StreamState(
            moved,
            apply(predictor_optimizer, state.synthetic, found.synthetic),
            found.stats,
            found.regression.scale,
            gradients.stop(CARRIES[carry](fresh, found.back.aux.final)),
            window.labels[-1],
            _kept(feedback, found.back.aux.fast),
            state.step + 1,
        )
        return after, _metrics(found, window)

    return StreamLearner(init, step, functools.partial(predict, model, feedback))


def _start(model: Model, feedback: Feedback, key: jax.Array) -> tuple:
    """Parameters, encoder statistics and what the second feedback path learns."""
    network_key, predictor_key = jax.random.split(key)
    params, stats = model_lib.init(model, network_key)
    fed = feedback_lib.init(
        feedback, predictor_key, params.cell.controllers,
        width=model.cell.width, classes=model.classes,
    )  # fmt: skip
    return params, stats, fed


def _nothing_learned(feedback: Feedback, params: model_lib.ModelParams) -> Any:
    if feedback.fast is None:
        return None
    return fast_lib.nothing_learned(feedback.fast, params.cell.controllers)


def _kept(feedback: Feedback, learned: Any) -> Any:
    """What the next window starts with of what was learned fast in this one."""
    if feedback.fast is None:
        return None
    share = feedback.fast.keep
    return gradients.stop(jax.tree.map(lambda each: share * each, learned))


def predict(
    model: Model, feedback: Feedback, state: StreamState, images: jax.Array
) -> jax.Array:
    """Logits `[N, C]` of images `[N, H, W]`, each asked of the state as it is.

    The controllers that answer hold what was learned fast and kept.
    """
    features, _, _ = window_lib.encode(model, state, images, "test")
    params = state.network.params
    cell = params.cell
    if feedback.fast is not None:
        fast = fast_lib.shifted(feedback.fast, cell.controllers, state.fast)
        cell = cell._replace(controllers=fast_lib.merge(cell.controllers, fast))
    asked = model_lib.query_inputs(features, state.previous[None])
    trace = cell_lib.probe(model.cell, cell, state.carried, asked)
    return model.decoder.apply(params.decoder, trace.outputs.output)


def check_window(window: Window, target: str) -> None:
    """Raises ValueError for a window that cannot teach the write controller."""
    if len(window.labels) < 2 and target != "bootstrap":
        raise ValueError(
            f"a window of {len(window.labels)} example with target={target!r}: the "
            "write controller's cotangent is exactly zero at a window's last step; "
            "take windows of at least 2 examples or target='bootstrap'"
        )


def _metrics(found: Gradients, window: Window) -> dict[str, jax.Array]:
    """Loss, quality of predictors, health of the memory, applied gradients (A25)."""
    back, regression, ran = found.back, found.regression, found.back.aux
    applied = {
        f"applied/{name}/norm": optax.tree.norm(grads)
        for name, grads in found.network.cell.controllers._asdict().items()
    }
    return {
        "loss": back.loss,
        "accuracy": jnp.mean(losses.accuracy(ran.logits, window.labels)),
        "sg/loss": regression.loss,
        **applied,
        **diagnostics.synthetic_quality(regression.predicted, regression.true),
        **diagnostics.memory_health(
            ran.final.memory, ran.trace.weights, ran.trace.writes
        ),
    }
