"""The yardstick of credit beyond a cut: one LSTM on a stream, without a memory.

What it carries over a cut is h and c; with the `bootstrap` target a predictor supplies
their future cotangent, as in the copy tasks of Jaderberg et al. (2017).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax.feedback import future as future_lib
from nmn_jax.feedback import plumbing
from nmn_jax.feedback.carried import Groups
from nmn_jax.feedback.future import Cursor, Cut, Future, FutureState, Run
from nmn_jax.methods import parts, streams
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.nets import leaves
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import StreamBatch, Task
from nmn_jax.types import Network, TrainState


class LstmState(NamedTuple):
    """Everything that changes from window to window; B streams."""

    network: TrainState
    carried: Any  # [B], h and c where the last window ended
    previous: jax.Array  # [B, C], the last target seen
    starts: jax.Array  # [B], whether a new sequence starts here
    future: FutureState | None  # what predicts the future; None unless it is predicted
    step: jax.Array  # []

    @property
    def cursor(self) -> Cursor:
        """Where the streams stand."""
        return Cursor(self.carried, self.previous, self.starts)


class Params(NamedTuple):
    """Everything slow learning moves."""

    core: Any
    head: Any


class Design(NamedTuple):
    """What an LSTM on a stream is made of; optimisers of network and predictor."""

    core: leaves.Recurrent
    head: Network
    task: Task
    future: Future | None
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation]


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """An LSTM of `model.width` units with a dense layer on it, for inputs of any shape,
    flattened.

    Raises:
      ValueError: as `make_design`.
    """
    return make_method(make_design(settings, task, steps=steps))._replace(
        columns={"method": "lstm", **streams.columns(settings.stream)}
    )


def make_design(settings: Settings, task: Task, *, steps: int) -> Design:
    """What the settings ask for.

    Raises:
      ValueError: for a target of controllers' predictors, which it does not have, or a
        carry other than `stream`.
    """
    stream = settings.stream
    if stream.target not in ("window", "bootstrap") or stream.carry != "stream":
        raise ValueError(
            f"an LSTM with stream.target={stream.target!r}, stream.carry="
            f"{stream.carry!r}: it has the targets 'window' and 'bootstrap', and "
            "carries its whole state ('stream')"
        )
    optim = settings.optim
    return Design(
        leaves.make_lstm(settings.model.width),
        leaves.make_dense(task.spec.targets),
        task,
        builders.make_future(stream),
        (
            builders.make_optimizer(optim, optim.lr, steps=steps),
            builders.make_optimizer(optim, optim.predictor_lr, steps=steps),
        ),
    )


ENTRY = Entry(
    make, "stream",
    ("model.width", "optim.lr", "optim.predictor_lr", "optim.schedule", "optim.clip",
     "stream", "-stream.carry"),
)  # fmt: skip


def make_method(design: Design) -> Method:
    """The method of a design."""
    return Method(
        functools.partial(_init, design),
        functools.partial(_step, design),
        functools.partial(_predict, design),
        lambda state: parts.slim(state)._replace(future=None),
        None,
        {},
    )


def _init(design: Design, key: jax.Array) -> LstmState:
    spec, (network_optimizer, guide_optimizer) = design.task.spec, design.optimizers
    core_key, head_key, guide_key = jax.random.split(key, 3)
    inputs = math.prod(spec.input_shape)
    fresh = design.core.carry()
    params = Params(
        design.core.init(core_key, inputs), design.head.init(head_key, len(fresh[1]))
    )
    future = design.future and streams.start_future(
        design.future, guide_optimizer, guide_key, spec=spec, fresh=fresh
    )
    return parts.own_buffers(
        LstmState(
            TrainState(params, network_optimizer.init(params)),
            *streams.start_cursor(spec, fresh),
            future,
            jnp.zeros((), jnp.int32),
        )
    )


class _Ran(NamedTuple):
    """Answers `[B, T, C]`, where the next window goes on, and what was told of it."""

    outputs: jax.Array
    onward: Cursor
    beyond: streams.Beyond | None


def _unroll(
    design: Design, params: Params, cursor: Cursor, batch: StreamBatch
) -> tuple[jax.Array, Any]:
    """Answers `[B, T, C]` and final states."""
    fresh = design.core.carry()

    def one(state: Any, starts: jax.Array, inputs: jax.Array) -> tuple:
        begun = jax.tree.map(functools.partial(jnp.where, starts), fresh, state)
        flat = inputs.reshape(len(inputs), -1)
        return design.core.unroll(params.core, begun, flat)[:2]

    final, hidden = jax.vmap(one)(cursor.state, cursor.starts, batch.inputs)
    return design.head.apply(params.head, hidden), final


def make_run(design: Design, params: Params) -> Run:
    """One window with these parameters, see `future.Run`."""

    def run(cursor: Cursor, batch: StreamBatch) -> tuple[jax.Array, Cursor]:
        outputs, final = _unroll(design, params, cursor, batch)
        each = streams.losses(design.task.loss, outputs, batch)
        return jnp.sum(each), streams.onward(final, batch)

    return run


def _step(
    design: Design, state: LstmState, batch: StreamBatch
) -> tuple[LstmState, dict[str, jax.Array]]:
    task, (network_optimizer, guide_optimizer) = design.task, design.optimizers
    batch = streams.with_streams(task.spec, batch)
    run = make_run(design, state.network.params)

    def forward(params: Params, entry: Groups, probes: tuple) -> tuple:
        del probes
        return _forward(design, state, (batch, run), (params, entry))

    entry = streams.entry_probes(design.future, state.carried)
    back = plumbing.backprop(forward, state.network.params, entry, ())
    ran: _Ran = back.aux
    future: FutureState | None = None
    told: dict[str, jax.Array] = {}
    if design.future is not None and ran.beyond is not None:
        window = streams.Window(batch, back.features, ran.beyond, run)
        future, told = streams.learn_future(
            design.future, guide_optimizer, state, window
        )
    after = LstmState(
        parts.descend(network_optimizer, state.network, back.params),
        *plumbing.stop(ran.onward),
        future,
        state.step + 1,
    )
    scores = parts.mean_scores(task, ran.outputs, batch.targets)
    return after, {"loss": back.loss, **scores, **told}


def _forward(
    design: Design, state: LstmState, given: tuple, at: tuple
) -> tuple[jax.Array, _Ran]:
    """The window's mean loss with the future's share; for `(params, entry probes)`."""
    (batch, run), (params, entry) = given, at
    cursor = streams.enter(state.cursor, entry)
    outputs, final = _unroll(design, params, cursor, batch)
    loss = jnp.mean(streams.losses(design.task.loss, outputs, batch))
    onward = streams.onward(final, batch)
    if design.future is None or state.future is None:
        return loss, _Ran(outputs, onward, None)
    cut = Cut(plumbing.stop(final), None, batch.ends)
    told = streams.told_beyond(design.future, state.future, cut, (run, onward, batch))
    share = future_lib.surrogate(told.injected, onward.state)
    share = share / batch.targets[..., 0].size
    return loss + share - plumbing.stop(share), _Ran(outputs, onward, told)


def _predict(design: Design, state: LstmState, inputs: jax.Array) -> Answer:
    """Answers `[N, C]` to inputs `[N, ...]`, each asked of the first stream's state."""
    cursor = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:1], (len(inputs), *leaf.shape[1:])),
        state.cursor,
    )
    batch = StreamBatch(inputs[:, None], jnp.zeros((len(inputs), 1, 1)))
    outputs, _ = _unroll(design, state.network.params, cursor, batch)
    return Answer(outputs[:, 0], {})
