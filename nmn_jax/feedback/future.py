"""Credit beyond a cut: the future's cotangent of the whole carried state, predicted.

At the end of a window a predictor supplies ĝ = ∂L_future/∂(state), so a window's vjp of
`loss + ⟨stop(ĝ), state⟩` gives parameters what back-propagation through the future
would (decoupled neural interfaces; Jaderberg et al., 2017). The same vjp gives the
cotangent at the window's entry, its own gradient and the pull-back of ĝ, which is what
the predictor learns there, see `feedback.lessons`.

Everything has an axis of B streams in front; cotangents are of the summed loss of the
steps of one stream.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.feedback import carried, plumbing, targets
from nmn_jax.feedback.carried import Groups, History
from nmn_jax.feedback.state_predictors import Guess, StatePredictor
from nmn_jax.types import TrainState

Find = Callable[[], Groups]
LARGEST = 2.0


class Cursor(NamedTuple):
    """Where B streams stand between two windows.

    state: what is carried
    previous: `[B, C]`, the last target seen
    starts: `[B]`, whether a new sequence starts here: then the state is not used
    """

    state: Any
    previous: jax.Array
    starts: jax.Array


# `(cursor, window) -> (loss [] summed over streams and steps, cursor)`: one window with
# parameters that are constants.
Run = Callable[[Cursor, Any], tuple[jax.Array, Cursor]]


class Recorded(NamedTuple):
    """A window as it was entered."""

    cursor: Cursor
    history: History | None
    window: Any


class Cut(NamedTuple):
    """The end of a window: where it ended, before any restart; the slots' history; and
    `[B]` whether a sequence ends there, so that nothing lies beyond; None is never."""

    state: Any
    history: History | None
    ends: jax.Array | None


def _shuffled(predicted: Groups, find: Find) -> Groups:
    """Of another stream, or of another row where there is only one stream."""
    del find
    return {
        name: jnp.roll(each, 1, axis=0 if len(each) > 1 else 1)
        for name, each in predicted.items()
    }


CONTROLS: dict[str, Callable[[Groups, Find], Groups]] = {
    "none": lambda predicted, find: predicted,
    "zeroed": lambda predicted, find: jax.tree.map(jnp.zeros_like, predicted),
    "shuffled": _shuffled,
    # The truth about the windows that come, which a batch has to bring along.
    "oracle": lambda predicted, find: find(),
}


class Future(NamedTuple):
    """How the future is predicted and used.

    control: a name of `CONTROLS`; what is injected. The predictor learns from its own
      predictions whatever the control is
    weight: factor on ĝ at a cut, for the window and for the target alike, so that it is
      also a discount per window
    trace, windows: λ, and n of the chain it looks along (1 with λ = 0)
    auxiliary: weight of predicting the next window's prediction
    scale: units of cotangents, see `targets.SCALES`
    """

    predictor: StatePredictor
    control: str = "none"
    weight: float = 1.0
    trace: float = 0.0
    windows: int = 1
    auxiliary: float = 0.0
    scale: Callable[[targets.Scale], Any] = targets.rms_scale

    @property
    def believes(self) -> bool:
        """Whether what is injected is what the target is made of: one vjp for both."""
        return self.control == "none"


class FutureState(NamedTuple):
    """What changes from window to window.

    learned: parameters of every group's predictor with their optimiser's state
    history: of the slots, where the last window ended, before any restart; None
      without slots
    past: the last n - 1 windows as they were entered, or () for n = 1
    """

    learned: TrainState
    scale: targets.Scale
    history: History | None
    past: Any


def init_params(future: Future, key: jax.Array, state: Any) -> dict[str, Any]:
    """Parameters of one predictor for each group of the state of one stream."""
    rows, history = carried.groups(state), carried.start_history(state)
    keys = jax.random.split(key, len(rows))
    return {
        name: future.predictor.init(
            each_key, each.shape[1], carried.context(name, each, history).shape[1]
        )
        for each_key, (name, each) in zip(keys, rows.items(), strict=True)
    }


def start(future: Future, learned: TrainState, recorded: Recorded) -> FutureState:
    """Before the first window, which is `recorded` as far as its shapes go."""
    past: Any = ()
    if future.windows > 1:
        shape = (future.windows - 1,)
        past = jax.tree.map(
            lambda leaf: jnp.zeros((*shape, *leaf.shape), leaf.dtype), recorded
        )
    scale = targets.init_scale(dict.fromkeys(learned.params, 0))
    return FutureState(learned, scale, recorded.history, past)


def guesses(
    future: Future, params: Any, state: Any, history: History | None
) -> dict[str, Guess]:
    """Both guesses of every group, in normalised units; states are constants."""
    found = {}
    for name, (rows, beside) in seen(state, history).items():
        # Rows of all streams as one product, whose gradient is one, too.
        count = rows.shape[0] * rows.shape[1]
        flat = (leaf.reshape(count, leaf.shape[-1]) for leaf in (rows, beside))
        guess = future.predictor.predict(params[name], *flat)
        shaped = (each.reshape(rows.shape) for each in guess)
        found[name] = Guess(*shaped)
    return found


def seen(state: Any, history: History | None) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Of every group its rows `[B, n, d]` and what predictors see beside them
    `[B, n, c]`, as constants."""
    found = {}
    for name, rows in plumbing.stop(jax.vmap(carried.groups)(state)).items():
        beside = jax.vmap(functools.partial(carried.context, name))(rows, history)
        found[name] = (rows, plumbing.stop(beside))
    return found


def predict(
    future: Future, learner: FutureState, state: Any, history: History | None
) -> Groups:
    """ĝ of every group `[B, n, d]` in the units of one stream's loss, times the weight;
    a constant.

    Guesses make the targets that units and guesses follow. So that no error can feed
    itself, a group whose guesses exceed `LARGEST` times the running size of all targets
    so far is scaled back to that.
    """
    units = future.scale(learner.scale)
    found = guesses(future, learner.learned.params, state, history)
    believed = {}
    for name, guess in found.items():
        size = jnp.sqrt(jnp.mean(guess.now**2)) / LARGEST
        factor = future.weight * units[name] / jnp.maximum(size, 1.0)
        believed[name] = factor * guess.now
    return plumbing.stop(believed)


def masked(rows: Groups, keep: jax.Array | None) -> Groups:
    """Zero for the streams that are not kept, `[B]`; None keeps all."""
    if keep is None:
        return rows
    return {
        name: jnp.where(keep[:, None, None], each, 0.0) for name, each in rows.items()
    }


def injected(future: Future, believed: Groups, find: Find, cut: Cut) -> Groups:
    """What arrives from beyond the cut: nothing where a sequence ends."""
    return unended(CONTROLS[future.control](believed, find), cut)


def unended(rows: Groups, cut: Cut) -> Groups:
    """Cotangents at a cut, as constants; zero where a sequence ends there."""
    return plumbing.stop(masked(rows, None if cut.ends is None else ~cut.ends))


def surrogate(cotangents: Groups, state: Any) -> jax.Array:
    """Σ ⟨stop(ĝ), state⟩ over streams.

    Gradients: the state receives exactly ĝ, which is a constant.
    """
    rows = jax.vmap(carried.groups)(state)
    return sum(
        (jnp.sum(plumbing.stop(cotangents[name]) * rows[name]) for name in rows),
        start=jnp.zeros(()),
    )


def _entered(cursor: Cursor, rows: Groups) -> Cursor:
    return cursor._replace(state=jax.vmap(carried.put)(cursor.state, rows))


def carry_back(run: Run, recorded: Recorded, exit: Groups) -> Groups:
    """The cotangent at a window's entry: its own gradient and the pull-back of what
    arrives at its end."""

    def through(rows: Groups) -> tuple[jax.Array, Groups]:
        loss, after = run(_entered(recorded.cursor, rows), recorded.window)
        return loss, jax.vmap(carried.groups)(after.state)

    rows = jax.vmap(carried.groups)(recorded.cursor.state)
    one = jnp.ones((), jnp.result_type(float))
    return plumbing.pull(through, rows, (one, exit))


def look_ahead(run: Run, cursor: Cursor, windows: Any) -> Groups:
    """The true cotangent of the summed loss of the windows to come, `[H, ...]`."""

    def loss(rows: Groups) -> tuple[jax.Array, None]:
        def one(cursor: Cursor, window: Any) -> tuple[Cursor, jax.Array]:
            each, after = run(cursor, window)
            return after, each

        return jnp.sum(jax.lax.scan(one, _entered(cursor, rows), windows)[1]), None

    rows = jax.vmap(carried.groups)(cursor.state)
    return plumbing.stop(plumbing.gradient(loss, rows)[2])
