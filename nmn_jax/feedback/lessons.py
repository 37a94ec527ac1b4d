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

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import diagnostics
from nmn_jax.feedback import plumbing, targets
from nmn_jax.feedback.carried import Groups
from nmn_jax.feedback.future import (
    Cut,
    Future,
    FutureState,
    Recorded,
    Run,
    carry_back,
    guesses,
    masked,
    predict,
)


class Lesson(NamedTuple):
    """What one window teaches the predictor.

    entered: the window as it was entered
    target: the cotangent at its entry, with what was believed at its end
    believed: ĝ at its end, zero where a sequence ended
    """

    entered: Recorded
    target: Groups
    cut: Cut
    believed: Groups


class Learned(NamedTuple):
    """The predictor's gradient, what replaces parts of its state, and the metrics."""

    gradient: Any
    scale: targets.Scale
    past: Any
    measures: dict[str, jax.Array]


class _Pair(NamedTuple):
    """A state, the cotangent it had, and for which streams the pair counts."""

    recorded: Recorded
    target: Groups
    counts: jax.Array


def learn(
    future: Future, learner: FutureState, lesson: Lesson, *, run: Run, step: jax.Array
) -> Learned:
    """One regression of the predictors on what the window says about its entry.

    A state that a sequence starts from is the end of no window and is left out; where a
    sequence ends, its last state is paired with zero.

    Args:
      run: one window with the parameters of the moment, for the chain.
      step: windows before this one; a chain counts once it is full.

    Gradients: targets are constants; states are seen as constants.
    """
    pair, past = _traced(future, learner, lesson, (run, step))
    scale = targets.update_scale(learner.scale, pair.target)
    scale = jax.tree.map(
        lambda new, old: jnp.where(jnp.any(pair.counts), new, old), scale, learner.scale
    )
    units = future.scale(scale)

    def loss(params: Any) -> tuple[jax.Array, Groups]:
        at = pair.recorded
        found = guesses(future, params, at.cursor.state, at.history)
        now = {name: each.now for name, each in found.items()}
        goal = {name: each / units[name] for name, each in pair.target.items()}
        total = _error(now, goal, pair.counts)
        total += _ended(future, params, lesson.cut)
        return total + _auxiliary(future, params, lesson, units), now

    value, now, gradient = plumbing.gradient(loss, learner.learned.params)
    predicted = {name: units[name] * each for name, each in now.items()}
    measures = {"future/loss": value, **_measures(predicted, pair)}
    return Learned(gradient, scale, past, measures)


def _traced(
    future: Future, learner: FutureState, lesson: Lesson, given: tuple
) -> tuple[_Pair, Any]:
    """The oldest window of the chain with its λ-target, and the windows kept."""
    run, step = given
    entered = lesson.entered
    if future.windows == 1:
        return _Pair(entered, lesson.target, ~entered.cursor.starts), ()

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
    counts = ~oldest.cursor.starts & (step >= future.windows - 1)
    past = jax.tree.map(
        lambda kept, new: jnp.concatenate([kept[1:], new[None]]), learner.past, entered
    )
    return _Pair(oldest, target, counts), past


def _error(guess: Groups, goal: Groups, counts: jax.Array) -> jax.Array:
    """‖ĝ - g‖² summed over the width, mean over rows and streams, of those that count,
    summed over groups."""
    goal = plumbing.stop(goal)
    each = (jnp.mean(jnp.sum((guess[n] - goal[n]) ** 2, -1), -1) for n in guess)
    return sum(
        (jnp.mean(jnp.where(counts, one, 0.0)) for one in each), start=jnp.zeros(())
    )


def _ended(future: Future, params: Any, cut: Cut) -> jax.Array:
    if cut.ends is None:
        return jnp.zeros(())
    found = guesses(future, params, cut.state, cut.history)
    now = {name: each.now for name, each in found.items()}
    return _error(now, jax.tree.map(jnp.zeros_like, now), cut.ends)


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
    truth = masked(pair.target, pair.counts)
    for name, guess in masked(predicted, pair.counts).items():
        told[f"future/{name}/cosine"] = diagnostics.cosine(guess, truth[name])
        told[f"future/{name}/r2"] = diagnostics.r_squared(guess, truth[name])
        told[f"future/{name}/norm"] = diagnostics.mean_norm(guess)
        told[f"future/{name}/true_norm"] = diagnostics.mean_norm(truth[name])
    return told
