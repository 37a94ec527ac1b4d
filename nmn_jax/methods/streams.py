"""What methods of a stream share: where B streams stand, and what lies beyond a cut."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax.feedback import carried, lessons, plumbing
from nmn_jax.feedback import future as future_lib
from nmn_jax.feedback.carried import Groups
from nmn_jax.feedback.future import Cursor, Cut, Future, FutureState, Recorded, Run
from nmn_jax.methods import parts
from nmn_jax.settings.records import StreamSettings
from nmn_jax.tasks.base import Loss, Spec, StreamBatch
from nmn_jax.types import TrainState


def side_by_side(spec: Spec, tree: Any) -> Any:
    """One thing for each of the task's streams, `[B, ...]`."""
    count = max(spec.streams, 1)
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), tree
    )


def start_cursor(spec: Spec, fresh: Any) -> Cursor:
    """Before the first window: every stream in a fresh state, which is carried like any
    other."""
    none = jnp.zeros((spec.targets,)), jnp.zeros((), bool)
    return Cursor(*side_by_side(spec, (fresh, *none)))


def blank_window(spec: Spec) -> StreamBatch:
    """A window of zeros, as the task's are with their axis of streams."""
    inputs = jnp.zeros((spec.window, *spec.input_shape))
    window = StreamBatch(inputs, jnp.zeros((spec.window, spec.targets)))
    return side_by_side(spec, window)._replace(
        ends=jnp.zeros((max(spec.streams, 1),), bool)
    )


def with_streams(spec: Spec, batch: StreamBatch) -> StreamBatch:
    """The window with an axis of streams."""
    if spec.streams:
        return batch
    one = jax.tree.map(lambda leaf: leaf[None], batch._replace(beyond=None))
    return one._replace(beyond=jax.tree.map(lambda leaf: leaf[:, None], batch.beyond))


def enter(cursor: Cursor, entry: Groups) -> Cursor:
    """The cursor with the probes of the entry added to its state.

    Gradients: the state is a constant; the probes' cotangent is that of the state.
    """
    cursor = plumbing.stop(cursor)
    if not entry:
        return cursor
    rows = jax.vmap(carried.groups)(cursor.state)
    moved = jax.tree.map(jnp.add, rows, entry)
    return cursor._replace(state=jax.vmap(carried.put)(cursor.state, moved))


def entry_probes(future: Future | None, state: Any) -> Groups:
    """Zeros like the rows of the carried states `[B]`; none where nobody asks for the
    cotangent at the entry."""
    if future is None:
        return {}
    return jax.tree.map(jnp.zeros_like, jax.vmap(carried.groups)(state))


def ends(batch: StreamBatch) -> jax.Array:
    """Whether a sequence ends with the window, `[B]`."""
    if batch.ends is None:
        return jnp.zeros((len(batch.targets),), bool)
    return batch.ends


def onward(final: Any, batch: StreamBatch) -> Cursor:
    """Where the next window goes on: at the states `[B]` this one ended in, or with a
    new sequence, for which these and the last targets count for nothing."""
    ended = ends(batch)
    last = jnp.where(ended[:, None], 0.0, batch.targets[:, -1])
    return Cursor(final, last, ended)


def losses(loss: Loss, outputs: jax.Array, batch: StreamBatch) -> jax.Array:
    """Of every step, `[B, T]`."""
    return jax.vmap(jax.vmap(loss))(outputs, batch.targets)


class Beyond(NamedTuple):
    """What a window is told of its future: the end it is about, what is believed of it,
    and what is injected there."""

    cut: Cut
    believed: Groups
    injected: Groups


def told_beyond(
    future: Future, learner: FutureState, cut: Cut, given: tuple[Run, Cursor, Any]
) -> Beyond:
    """What is believed of the future and what is injected, at the end of a window whose
    next goes on at a cursor; for `(run, cursor, batch)`.

    Raises:
      ValueError: if the control is the oracle and the batch has no windows to come.
    """
    run, at, batch = given
    believed = future_lib.predict(future, learner, cut.state, cut.history)
    believed = future_lib.unended(believed, cut)

    def find() -> Groups:
        if batch.beyond is None:
            raise ValueError(
                "the oracle of the future looks at the windows to come: give them as "
                "StreamBatch.beyond, or choose another stream.control"
            )
        return future_lib.look_ahead(run, plumbing.stop(at), batch.beyond)

    given_in = future_lib.injected(future, believed, find, cut)
    return Beyond(cut, believed, given_in)


class Window(NamedTuple):
    """A window that was learned from, for the predictor of the future.

    entry: the cotangent of the mean loss at its entry, by rows
    run: one window with the parameters of the moment
    """

    batch: StreamBatch
    entry: Groups
    beyond: Beyond
    run: Run


def start_future(
    future: Future, optimizer: optax.GradientTransformation, key: jax.Array, *,
    spec: Spec, fresh: Any,
) -> FutureState:  # fmt: skip
    """What predicts the future of a state that starts `fresh`, before the first window.

    Raises:
      ValueError: for a chain of windows where the task does not say how long one is.
    """
    if future.windows > 1 and not spec.window:
        raise ValueError(
            f"a chain of {future.windows} windows is kept, but the task does not say "
            "how long one is; give its Spec a window, or take a horizon of 1"
        )
    params = future_lib.init_params(future, key, fresh)
    history = side_by_side(spec, carried.start_history(fresh))
    entered = Recorded(start_cursor(spec, fresh), history, blank_window(spec))
    solved = future.predictor.fit is not None
    learned = TrainState(params, () if solved else optimizer.init(params))
    return future_lib.start(future, learned, entered)


def learn_future(
    future: Future, optimizer: optax.GradientTransformation, state: Any, window: Window
) -> tuple[FutureState, dict[str, jax.Array]]:
    """What predicts the future after what a window says of its entry, and metrics.

    Where a control changed what was injected, the target is made by a pass of its own,
    so that the predictor learns as it would without.

    Args:
      state: the method's, with `cursor`, `future` and `step`.
    """
    learner: FutureState = state.future
    batch = window.batch._replace(beyond=None, ends=ends(window.batch))
    entered = Recorded(plumbing.stop(state.cursor), learner.history, batch)
    told = window.beyond
    if future.believes:
        count = float(batch.targets[..., 0].size)
        target = jax.tree.map(lambda each: count * each, window.entry)
    else:
        target = future_lib.carry_back(window.run, entered, told.believed)
    lesson = lessons.Lesson(entered, target, told.believed)
    found = lessons.learn(future, learner, lesson, run=window.run, step=state.step)
    if found.fitted is None:
        learned = parts.descend(optimizer, learner.learned, found.gradient)
    else:
        learned = learner.learned._replace(params=found.fitted)
    after = FutureState(learned, found.scale, told.cut.history, found.past)
    return after, found.measures


def restarted(history: Any, starts: jax.Array) -> Any:
    """The slots' history: nothing was written or read where a new sequence starts."""
    return jax.tree.map(lambda leaf: jnp.where(starts[:, None], 0.0, leaf), history)


def columns(settings: StreamSettings) -> dict[str, str]:
    """How tables name what reaches a window from beyond its end, e.g. `bootstrap,
    λ = 0.5 (shuffled)`; nothing for the defaults."""
    if settings.target in ("step", "window"):
        return {}
    notes = [settings.target]
    notes += [f"λ = {settings.trace:g}"] if settings.target == "bootstrap" else []
    default = StreamSettings.predictor
    notes += [settings.predictor] if settings.predictor != default else []
    notes += ["auxiliary task"] if settings.auxiliary else []
    notes += [f"weight {settings.weight:g}"] if settings.weight != 1 else []
    control = f" ({settings.control})" if settings.control != "none" else ""
    return {"beyond the window": ", ".join(notes) + control}
