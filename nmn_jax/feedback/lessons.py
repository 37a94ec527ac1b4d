"""What a predictor of the future learns from a window, and from a chain of windows.

With a trace λ the target looks further than one window: n consecutive ones are chained,
and at every cut between them

    e = (1 - λ) ĝ + λ (own gradient + pull-back of e)

so λ = 0 is the one-step target and λ = 1 back-propagation through n windows with ĝ at
their end (BP(λ); Pemberton & Costa, 2024). Their eligibility traces would need no past
windows, but the Jacobian of the whole state, (L K)² numbers for a memory; chained
windows cost n - 1 more passes and give exact pull-backs, in memory that does not grow.
Only targets look further: parameters get the window's own gradient and ĝ, whatever λ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import diagnostics
from nmn_jax.feedback import plumbing, targets
from nmn_jax.feedback.carried import Groups
from nmn_jax.feedback.future import (
    Future,
    FutureState,
    Recorded,
    Run,
    carry_back,
    guesses,
    masked,
    predict,
    seen,
)
from nmn_jax.feedback.state_predictors import Pairs


class Lesson(NamedTuple):
    """What one window teaches the predictor.

    entered: the window as it was entered
    target: the cotangent at its entry, with what was believed at its end
    believed: ĝ at its end, zero where a sequence ended
    """

    entered: Recorded
    target: Groups
    believed: Groups


class Learned(NamedTuple):
    """The predictor's gradient or, if it was solved for, its parameters (the other is
    None); what replaces parts of its state, and the metrics."""

    gradient: Any
    fitted: Any
    scale: targets.Scale
    past: Any
    measures: dict[str, jax.Array]


class _Pair(NamedTuple):
    """A state, the cotangent it had, for which streams the pair counts, and for which
    of them the state is carried into a window instead of ending a sequence."""

    recorded: Recorded
    target: Groups
    counts: jax.Array
    carried: jax.Array


def learn(
    future: Future, learner: FutureState, lesson: Lesson, *, run: Run, step: jax.Array
) -> Learned:
    """One regression of the predictors on what the window says about its entry.

    Where a window starts a sequence, the state it is handed ended the last one and is
    not used, so its cotangent is zero: the terminal pair, without a guess of its own.

    Args:
      run: one window with the parameters of the moment, for the chain.
      step: windows before this one; a chain counts once it is full.

    Gradients: targets are constants; states are seen as constants.
    """
    pair, past = _traced(future, learner, lesson, (run, step))
    scale = targets.update_scale(learner.scale, pair.target)
    scale = jax.tree.map(
        lambda new, old: jnp.where(jnp.any(pair.carried), new, old),
        scale, learner.scale,
    )  # fmt: skip
    units = future.scale(scale)
    goal = {name: each / units[name] for name, each in pair.target.items()}
    params = learner.learned.params

    def loss(params: Any) -> tuple[jax.Array, Groups]:
        at = pair.recorded
        found = guesses(future, params, at.cursor.state, at.history)
        now = {name: each.now for name, each in found.items()}
        total = _error(now, goal, pair.counts)
        return total + _auxiliary(future, params, lesson, units), now

    gradient = fitted = None
    if future.predictor.fit is None:
        value, now, gradient = plumbing.gradient(loss, params)
    else:
        value, now = loss(params)
        fitted = _fitted(future.predictor.fit, params, pair, goal)
    predicted = {name: units[name] * each for name, each in now.items()}
    measures = {"future/loss": value, **_measures(predicted, pair)}
    return Learned(gradient, fitted, scale, past, measures)


def _fitted(
    fit: Callable[[Any, Pairs], Any], params: Any, pair: _Pair, goal: Groups
) -> dict[str, Any]:
    """Every group's predictor, solved for with the pairs of all rows and streams."""
    at = pair.recorded
    found = {}
    for name, (each, beside) in seen(at.cursor.state, at.history).items():
        counts = jnp.broadcast_to(pair.counts[:, None], each.shape[:2])
        whole = (each, beside, goal[name], counts)
        flat = (jnp.reshape(leaf, (counts.size, *leaf.shape[2:])) for leaf in whole)
        found[name] = plumbing.stop(fit(params[name], Pairs(*flat)))
    return found


def _traced(
    future: Future, learner: FutureState, lesson: Lesson, given: tuple
) -> tuple[_Pair, Any]:
    """The oldest window of the chain with its λ-target, and the windows kept."""
    run, step = given
    entered = lesson.entered
    if future.windows == 1:
        return _pair(entered, lesson.target, (step, 0)), ()

    def blend(recorded: Recorded, target: Groups) -> Groups:
        state, starts = recorded.cursor.state, recorded.cursor.starts
        predicted = predict(future, learner, state, recorded.history)
        share = future.trace
        mixed = jax.tree.map(
            lambda p, t: (1 - share) * p + share * future.weight * t, predicted, target
        )
        return masked(mixed, ~starts)

    def back(exit: Groups, recorded: Recorded) -> tuple[Groups, Groups]:
        target = carry_back(run, recorded, exit)
        return blend(recorded, target), target

    first = blend(entered, lesson.target)
    entries = jax.lax.scan(back, first, learner.past, reverse=True)[1]
    oldest, target = jax.tree.map(lambda leaf: leaf[0], (learner.past, entries))
    past = jax.tree.map(
        lambda kept, new: jnp.concatenate([kept[1:], new[None]]), learner.past, entered
    )
    return _pair(oldest, target, (step, future.windows - 1)), past


def _pair(recorded: Recorded, target: Groups, when: tuple[jax.Array, int]) -> _Pair:
    """Of a window so many before this one; before the first one nothing ended."""
    step, before = when
    starts = recorded.cursor.starts
    carried = ~starts & (step >= before)
    return _Pair(
        recorded, masked(target, ~starts), carried | (starts & (step > before)), carried
    )


def _error(guess: Groups, goal: Groups, counts: jax.Array) -> jax.Array:
    """‖ĝ - g‖² summed over the width, mean over rows and streams, of those that count,
    summed over groups."""
    goal = plumbing.stop(goal)
    each = (jnp.mean(jnp.sum((guess[n] - goal[n]) ** 2, -1), -1) for n in guess)
    return sum(
        (jnp.mean(jnp.where(counts, one, 0.0)) for one in each), start=jnp.zeros(())
    )


def _auxiliary(
    future: Future, params: Any, lesson: Lesson, units: dict[str, Any]
) -> jax.Array:
    if not future.auxiliary:
        return jnp.zeros(())
    at = lesson.entered
    found = guesses(future, params, at.cursor.state, at.history)
    ahead = {name: each.next for name, each in found.items()}
    goal = {name: each / units[name] for name, each in lesson.believed.items()}
    return future.auxiliary * _error(ahead, goal, ~at.cursor.starts)


def _measures(predicted: Groups, pair: _Pair) -> dict[str, jax.Array]:
    """Cosine, R² and both norms per group, `future/<group>/<measure>`."""
    told = {}
    truth = masked(pair.target, pair.carried)
    for name, guess in masked(predicted, pair.carried).items():
        told[f"future/{name}/cosine"] = diagnostics.cosine(guess, truth[name])
        told[f"future/{name}/r2"] = diagnostics.r_squared(guess, truth[name])
        told[f"future/{name}/norm"] = diagnostics.mean_norm(guess)
        told[f"future/{name}/true_norm"] = diagnostics.mean_norm(truth[name])
    return told
