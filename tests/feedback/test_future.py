"""What a predictor of the future learns, where the future is known in closed form."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from nmn_jax.feedback import carried, future, lessons, plumbing, state_predictors
from nmn_jax.feedback.future import Cursor, Cut, Future, Recorded
from nmn_jax.feedback.lessons import Lesson
from nmn_jax.types import TrainState

B, D, STEPS = 256, 3, 2
LINEAR = state_predictors.make_linear_state_predictor()


def system():
    """s' = A s + noise, with the loss ½‖C s‖² after every step; A contracts."""
    transition, seen = tiny.normal(1, D, D), tiny.normal(2, 2, D)
    return 0.8 * transition / jnp.linalg.norm(transition, 2), seen


def run(cursor, window):
    """One window of the system for B streams; a window is its noise `[B, T, D]`."""
    transition, seen = system()

    def step(state, noise):
        state = state @ transition.T + noise
        return state, 0.5 * jnp.sum((state @ seen.T) ** 2)

    state, each = jax.lax.scan(step, cursor.state, jnp.swapaxes(window, 0, 1))
    return jnp.sum(each), cursor._replace(state=state)


def closed_form():
    """∂L_future/∂s = P s with P = Σ (Aᵏ)ᵀ CᵀC Aᵏ: noise of mean zero adds nothing."""
    transition, seen = map(np.asarray, system())
    power, found = transition, 0.0
    for _ in range(200):
        found, power = found + power.T @ seen.T @ seen @ power, power @ transition
    return found


def begun(rule, optimizer):
    cursor = Cursor(jnp.zeros((B, D)), jnp.zeros((B, 1)), jnp.zeros((B,), bool))
    params = future.init_params(rule, jax.random.key(0), cursor.state[0])
    entered = Recorded(cursor, None, jnp.zeros((B, STEPS, D)))
    solved = rule.predictor.fit is not None
    learned = TrainState(params, () if solved else optimizer.init(params))
    return cursor, future.start(rule, learned, entered)


def taught(rule, learner, cursor, window):
    """The lesson of a window, and where it ended."""
    after = plumbing.stop(run(cursor, window)[1])
    believed = future.predict(rule, learner, after.state, None)
    entered = Recorded(cursor, None, window)
    target = future.carry_back(run, entered, believed)
    return Lesson(entered, target, believed), after


SOLVED = state_predictors.make_least_squares_state_predictor(ridge=1e-9)


@pytest.mark.parametrize(
    ("predictor", "trace", "windows", "count"),
    [(LINEAR, 0.0, 1, 4_000), (LINEAR, 0.9, 3, 4_000), (SOLVED, 0.0, 1, 1_000)],
    ids=["descended", "descended-trace", "solved"],
)
@tiny.float64
def test_a_converged_predictor_is_the_closed_form(predictor, trace, windows, count):
    rule = Future(predictor, trace=trace, windows=windows)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.03, count))

    def step(carried_on, key):
        cursor, learner, at = carried_on
        lesson, after = taught(rule, learner, cursor, noise(key))
        found = lessons.learn(rule, learner, lesson, run=run, step=at)
        learned = TrainState(found.fitted, ())
        if found.fitted is None:
            updates, moments = optimizer.update(
                found.gradient, learner.learned.opt_state
            )
            params = optax.apply_updates(learner.learned.params, updates)
            learned = TrainState(params, moments)
        learner = future.FutureState(learned, found.scale, None, found.past)
        return (after, learner, at + 1), None

    def noise(key):
        return 0.3 * jax.random.normal(key, (B, STEPS, D), float)

    @jax.jit
    def learn(cursor, learner):
        keys = jax.random.split(jax.random.key(1), count)
        start = (cursor, learner, jnp.zeros((), jnp.int32))
        return jax.lax.scan(step, start, keys)[0]

    _, learner, _ = learn(*begun(rule, optimizer))
    states = tiny.normal(5, B, D)
    guess = future.predict(rule, learner, states, None)["carry"][:, 0]
    true = states @ closed_form().T
    assert np.linalg.norm(guess - true) < 0.01 * np.linalg.norm(true)


def drawn(rule):
    """A learner nowhere near its start, and three windows in a row."""
    cursor, learner = begun(rule, optax.sgd(1.0))
    learner = tiny.filled(1, learner, 0.1)
    learner = learner._replace(scale=tiny.blank(learner.scale))
    cursor = cursor._replace(state=tiny.normal(2, B, D))
    return cursor, learner, tiny.normal(3, 3, B, STEPS, D)


def weights(learner):
    """Of a linear predictor."""
    params = learner.learned.params["carry"]
    return params["kernel"], params["bias"]


@tiny.float64
def test_a_trace_looks_along_the_chain_of_windows():
    """The target of the oldest of three, by the equation, window by window."""
    share, weight = 0.4, 0.9
    rule = Future(
        LINEAR, trace=share, windows=3, weight=weight,
        scale=lambda scale: {"carry": 1.0},
    )  # fmt: skip
    cursor, learner, windows = drawn(rule)
    # Nothing but their number says that windows before the first are none.
    none = learner.past.cursor._replace(starts=jnp.zeros((2, B), bool))
    learner = learner._replace(past=learner.past._replace(cursor=none))
    step = jax.jit(functools.partial(lessons.learn, rule, run=run))
    cursors = [cursor]
    for at, window in enumerate(windows):
        lesson, after = taught(rule, learner, cursors[-1], window)
        found = step(learner, lesson, step=jnp.asarray(at))
        assert bool(np.any(found.gradient["carry"]["kernel"])) == (at == 2)
        learner = learner._replace(past=found.past)
        cursors.append(after)
    kernel, bias = weights(learner)
    transition, seen = system()

    def pulled(state, window, given):
        """Own gradient and pull-back of one window, by hand."""
        states = [state]
        for step in range(STEPS):
            states.append(states[-1] @ transition.T + window[:, step])
        for reached in reversed(states[1:]):
            given = (given + reached @ seen.T @ seen) @ transition
        return given

    guess = lambda state: state @ kernel + bias[None]  # noqa: E731
    given = weight * guess(cursors[3].state)
    for at in (2, 1, 0):
        target = pulled(cursors[at].state, windows[at], given)
        mixed = (1 - share) * guess(cursors[at].state) + share * target
        given = weight * mixed
    error = 2 * (guess(cursor.state) - target) / B
    expected = cursor.state.T @ error
    np.testing.assert_allclose(
        found.gradient["carry"]["kernel"], expected, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("windows", [1, 3])
@tiny.float64
def test_what_ended_a_sequence_is_paired_with_zero(windows):
    """A window that starts one was handed the last state of another; before the first
    window there was none."""
    trace = 0.4 if windows > 1 else 0.0
    rule = Future(
        LINEAR, trace=trace, windows=windows, scale=lambda scale: {"carry": 1.0}
    )
    cursor, learner, noise = drawn(rule)
    lesson, _ = taught(rule, learner, cursor, noise[0])
    ended = cursor._replace(starts=jnp.ones((B,), bool))
    lesson = lesson._replace(entered=lesson.entered._replace(cursor=ended))
    if windows > 1:
        past = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), lesson.entered)
        learner = learner._replace(past=past)
    kernel, bias = weights(learner)
    error = 2 * (cursor.state @ kernel + bias[None]) / B
    learn = functools.partial(lessons.learn, rule, learner, lesson, run=run)
    for step in range(windows + 1):
        found = learn(step=jnp.asarray(step))
        expected = (cursor.state.T @ error) * (step == windows)
        np.testing.assert_allclose(
            found.gradient["carry"]["kernel"], expected, rtol=1e-9, atol=1e-12
        )
        # Nothing was carried, so the units stay.
        chex.assert_trees_all_equal(found.scale, learner.scale)


@tiny.float64
def test_nothing_is_injected_where_a_sequence_ends():
    rule = Future(LINEAR)
    cursor, learner, noise = drawn(rule)
    lesson, after = taught(rule, learner, cursor, noise[0])
    cut = Cut(after.state, None, jnp.arange(B) < 5)
    given = future.injected(rule, lesson.believed, dict, cut)
    np.testing.assert_array_equal(given["carry"][:5], 0.0)
    np.testing.assert_array_equal(given["carry"][5:], lesson.believed["carry"][5:])


@tiny.float64
def test_a_weight_discounts_what_is_believed():
    rule = Future(LINEAR, scale=lambda scale: {"carry": 3.0})
    cursor, learner, _ = drawn(rule)
    whole, part = (
        future.predict(each, learner, cursor.state, None)["carry"]
        for each in (rule, rule._replace(weight=0.1))
    )
    kernel, bias = weights(learner)
    np.testing.assert_allclose(whole[:, 0], 3 * (cursor.state @ kernel + bias[None]))
    np.testing.assert_allclose(part, 0.1 * whole)


@tiny.float64
def test_the_auxiliary_guess_learns_the_next_windows_guess():
    rule = Future(
        state_predictors.make_mlp_state_predictor(4), auxiliary=0.5,
        scale=lambda scale: {"carry": 2.0},
    )  # fmt: skip
    cursor, learner, windows = drawn(rule)
    lesson, _ = taught(rule, learner, cursor, windows[0])

    def loss(params):
        def one(state):
            rows = carried.groups(state)["carry"]
            return rule.predictor.predict(params["carry"], rows, jnp.zeros((1, 0)))

        guess = jax.vmap(one)(cursor.state)
        first = jnp.sum((guess.now - lesson.target["carry"] / 2) ** 2)
        second = jnp.sum((guess.next - lesson.believed["carry"] / 2) ** 2)
        return (first + 0.5 * second) / B

    found = lessons.learn(rule, learner, lesson, run=run, step=jnp.asarray(0))
    expected = jax.grad(loss)(learner.learned.params)
    chex.assert_trees_all_close(found.gradient, expected, rtol=1e-9, atol=1e-12)
    assert np.any(expected["carry"]["next"]["kernel"])


def test_controls_say_nothing_or_what_belongs_elsewhere_or_the_truth():
    guess, truth = {"a": tiny.normal(1, 3, 2, 4)}, {"a": tiny.normal(2, 3, 2, 4)}
    go_on = Cut(None, None, None)

    def given(control, guess=guess):
        rule = Future(LINEAR, control=control)
        return future.injected(rule, guess, lambda: truth, go_on)["a"]

    np.testing.assert_array_equal(given("none"), guess["a"])
    np.testing.assert_array_equal(given("zeroed"), 0.0)
    np.testing.assert_array_equal(given("oracle"), truth["a"])
    np.testing.assert_array_equal(given("shuffled")[1:], guess["a"][:-1])
    alone = {"a": guess["a"][:1]}
    shuffled = given("shuffled", alone)
    np.testing.assert_array_equal(shuffled[0, 1], guess["a"][0, 0])


@tiny.float64
def test_guesses_beyond_all_targets_so_far_are_scaled_back():
    rule = Future(LINEAR, scale=lambda scale: {"carry": 3.0})
    cursor, learner, _ = drawn(rule)
    kernel, bias = weights(learner)
    guess = 100 * (cursor.state @ kernel + bias[None])
    large = learner._replace(
        learned=TrainState({"carry": {"kernel": 100 * kernel, "bias": 100 * bias}}, ())
    )
    found = future.predict(rule, large, cursor.state, None)["carry"][:, 0]
    expected = 3 * future.LARGEST * guess / jnp.sqrt(jnp.mean(guess**2))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
