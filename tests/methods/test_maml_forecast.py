"""MAML and MAML++ on sequences: the slow gradient by other routes, and what adapts."""

from __future__ import annotations

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax.feedback import plumbing
from nmn_jax.methods import attention, maml_forecast, maml_plus
from nmn_jax.methods.maml_forecast import Design, State
from nmn_jax.settings import override, preset
from nmn_jax.tasks import trajectories
from nmn_jax.tasks.base import ForecastBatch
from nmn_jax.types import TrainState

SEEN, ASKED, HALF, STEPS, RATE, UNTIL = 3, 2, 2, 2, 0.3, 10
TASK = trajectories.forecast(observed=SEEN, horizon=ASKED, batch=2 * HALF)
PLUS = {"multi_step": UNTIL, "first_order": 0, "rates": "learned"}
ORDERS = {"first": plumbing.stop, "second": plumbing.through}


def settings_of(order="second", **plus):
    return override(
        preset("recommended", ways=2, shots=1),
        forecast={"units": 2, "frame": "absolute"},
        maml={"steps": STEPS, "rate": RATE, "order": order},
        maml_plus={**PLUS, **plus},
        optim={"clip": 0.0},
    )


def design_of(kind="plus"):
    """MAML++ or MAML."""
    settings = settings_of()
    added = {"plus": settings.maml_plus, "plain": maml_forecast.PLAIN}[kind]
    learner = attention.make_design(settings, TASK, steps=5)
    return Design(learner, settings.maml, added)


def params_of(design):
    shapes = jax.eval_shape(
        lambda key: maml_forecast._init(design, key), jax.random.key(0)
    )
    return tiny.filled(1, shapes.network.params, 0.6)


def batch_of(count=2 * HALF):
    seen, asked = tiny.normal(2, count, SEEN, 2), tiny.normal(3, count, ASKED, 2)
    return ForecastBatch(seen, asked)


def weights_of(kind, step=0):
    until = UNTIL if kind == "plus" else 0
    return maml_plus.step_weights(jnp.asarray(step), steps=STEPS, until=until)


def loss_of(kind, order="second"):
    """`(params, weights) -> []`."""
    design = design_of(kind)
    return lambda params, weights: maml_forecast.slow_loss(
        design, params, batch_of(), (weights, order)
    )[0]


@functools.cache
def slow(kind, order="second"):
    """`(params, weights) -> ([], gradient)`, compiled once."""
    return tiny.jit(jax.value_and_grad(loss_of(kind, order)))


def by_hand(design, params, weights, constant):
    """Two steps on the first half, each tensor at its own rate; the loss of the second
    half after each."""
    batch = batch_of()
    context = ForecastBatch(*(each[:HALF] for each in batch))
    asked = ForecastBatch(*(each[HALF:] for each in batch))
    learner, found = params["learner"], []
    for step in range(STEPS):
        grads = jax.grad(
            lambda at: attention.loss(design.learner, at, context)[0]
        )(learner)  # fmt: skip
        rates = jax.tree.map(lambda leaf: RATE, learner)
        if "rates" in params:
            rates = jax.tree.map(lambda rate, at=step: rate[at], params["rates"])
        learner = jax.tree.map(
            lambda p, rate, g: p - rate * constant(g), learner, rates, grads
        )
        found.append(attention.loss(design.learner, learner, asked)[0])
    return weights @ jnp.stack(found)


@tiny.float64
def test_the_slow_gradient_is_finite_differences():
    """Of a sum over both inner steps, with a rate for every tensor and step."""
    params, weights = params_of(design_of()), weights_of("plus")
    found = slow("plus")(params, weights)[1]
    numbers = tiny.finite_differences(
        lambda at: loss_of("plus")(at, weights), params, step=1e-6
    )
    chex.assert_trees_all_close(found, numbers, rtol=1e-5, atol=1e-8)
    for part in ("learner", "rates"):
        assert all(np.any(leaf) for leaf in jax.tree.leaves(found[part]))


@pytest.mark.parametrize(
    ("kind", "order"), [("plain", "second"), ("plus", "first")]
)  # fmt: skip
@tiny.float64
def test_a_step_is_written_out(kind, order):
    design, weights = design_of(kind), weights_of(kind, step=3)
    params = params_of(design)

    @tiny.jit
    def expected(params):
        return jax.value_and_grad(
            lambda at: by_hand(design, at, weights, ORDERS[order])
        )(params)  # fmt: skip

    found = slow(kind, order)(params, weights)
    chex.assert_trees_all_close(found, expected(params), rtol=1e-9, atol=1e-12)


def test_annealing_starts_with_inner_gradients_as_constants(monkeypatch):
    """Told by Adam's first moments, a tenth of the gradient."""

    def slow_loss(design, params, batch, how):
        slope = {"first": 1.0, "second": 2.0}[how[1]]
        sums = [jnp.sum(leaf) for leaf in jax.tree.leaves(params)]
        return slope * sum(sums), batch.targets[HALF:]

    monkeypatch.setattr(maml_forecast, "slow_loss", slow_loss)
    method = maml_forecast.make_plus(settings_of(first_order=1), TASK, steps=9)
    state = tiny.blank(jax.eval_shape(method.init, jax.random.key(0)))
    step = tiny.jit(method.step)
    for at, moment in ((0, 0.1), (1, 0.2)):
        after, _ = step(state._replace(step=jnp.asarray(at, jnp.int32)), batch_of())
        found = jax.tree.leaves(after.network.opt_state)[1]
        np.testing.assert_allclose(found, moment, rtol=1e-5)


@tiny.float64
def test_adapting_descends_all_of_a_context_and_keeps_the_last_rates():
    design = design_of()
    params, batch = params_of(design), batch_of()
    none = jnp.zeros((), jnp.int32)
    adapt = tiny.jit(functools.partial(maml_forecast._adapt, design, steps=1))
    states = [State(TrainState(params, ()), none, none)]
    for _ in range(3):
        states.append(adapt(states[-1], batch))
    assert [int(each.taken) for each in states] == [0, 1, 2, 3]
    expected = params["learner"]
    slope = tiny.jit(
        jax.grad(lambda at: attention.loss(design.learner, at, batch)[0])
    )  # fmt: skip
    for step in (0, 1, 1):
        rates = jax.tree.map(lambda rate, at=step: rate[at], params["rates"])
        expected = jax.tree.map(
            lambda p, r, g: p - r * g, expected, rates, slope(expected)
        )
    found = states[-1].network.params
    chex.assert_trees_all_close(found["learner"], expected, rtol=1e-9)
    chex.assert_trees_all_equal(found["rates"], params["rates"])
    said = maml_forecast._predict(design, states[-1], batch.inputs).output
    direct = attention.forecasts(design.learner, expected, batch.inputs)
    np.testing.assert_allclose(said, direct, rtol=1e-9)


def test_many_steps_at_once_are_one_after_the_other():
    design = design_of("plain")
    none = jnp.zeros((), jnp.int32)
    start = State(TrainState(params_of(design), ()), none, none)
    adapt = tiny.jit(
        functools.partial(maml_forecast._adapt, design), static_argnums=2
    )  # fmt: skip
    once = adapt(adapt(start, batch_of(), 1), batch_of(), 1)
    chex.assert_trees_all_close(adapt(start, batch_of(), 2), once, rtol=1e-6)


def test_one_sequence_cannot_be_halved():
    method = maml_forecast.make(settings_of(), TASK, steps=5)
    state = jax.eval_shape(method.init, jax.random.key(0))
    with pytest.raises(ValueError, match="one half is adapted to"):
        jax.eval_shape(method.step, state, batch_of(1))


def test_an_order_that_is_never_reached_is_refused():
    with pytest.raises(ValueError, match="no second order to move to"):
        maml_forecast.make_plus(settings_of("first", first_order=3), TASK, steps=5)
