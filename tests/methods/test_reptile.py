"""Reptile: its steps by hand, what a query is normalised with, and what is dropped."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from experiments.omniglot import records
from nmn_jax.feedback import inner_loop
from nmn_jax.methods import reptile, table
from nmn_jax.settings import override, preset
from nmn_jax.tasks import episodes
from tests.methods import test_maml

WAYS, TASKS, SIDE = test_maml.WAYS, test_maml.TASKS, test_maml.SIDE
GIVEN = {"steps": 3, "test_steps": 2, "rate": 0.1, "batch": 4, "outer": 0.5}


@functools.cache
def made(queries="alone"):
    """In the precision of its first use."""
    settings = override(
        preset("paper_fast_lr", ways=WAYS, shots=1),
        model=test_maml.SHAPE, reptile={**GIVEN, "queries": queries},
    )  # fmt: skip
    task = episodes.classification(
        ways=WAYS, shots=1, queries=2, episodes=TASKS, image_shape=(SIDE, SIDE)
    )
    return reptile.make(settings, task, steps=10)


@tiny.float64
def test_steps_on_a_linear_map_are_a_loop():
    draw = np.random.default_rng(0)
    weights, inputs = draw.normal(size=(3, 2)), draw.normal(size=(4, 5, 3))
    targets = draw.normal(size=(4, 5, 2))

    def loss(params, batch):
        return jnp.mean((batch[0] @ params - batch[1]) ** 2)

    given = jnp.asarray(inputs), jnp.asarray(targets)
    optimizer = optax.sgd(0.3)
    start = jnp.asarray(weights), optimizer.init(jnp.asarray(weights))
    found, _ = inner_loop.optimise(loss, start, given, optimizer=optimizer)
    for step in range(4):
        apart = inputs[step] @ weights - targets[step]
        weights = weights - 0.3 * 2 * inputs[step].T @ apart / apart.size
    np.testing.assert_allclose(found, weights, rtol=1e-10)


def by_hand(params, moments, batch, steps):
    """Each task's weights by Adam on its labelled examples in turn, one task alone."""
    adam, found = optax.adam(GIVEN["rate"], b1=0.0), []
    gradient = tiny.jit(jax.grad(test_maml.plain_loss))
    inputs = np.concatenate([batch.context.inputs, batch.queries], axis=1)
    targets = np.concatenate([batch.context.targets, batch.answers], axis=1)
    for task in range(TASKS):
        at, state = params, adam.init(params)
        state = (state[0]._replace(nu=moments.nu, count=moments.count), state[1])
        for step in range(steps):
            places = (4 * step + np.arange(4)) % inputs.shape[1]
            grads = gradient(at, inputs[task, places], targets[task, places])
            updates, state = adam.update(grads, state, at)
            at = optax.apply_updates(at, updates)
        found.append((at, state[0].nu))
    return jax.tree.map(lambda *each: sum(each) / TASKS, *found)


@tiny.float64
def test_two_steps_are_those_of_one_task_after_the_other():
    """The second begins with the moments that the first left, and half the rate is
    what the outer step size has come down to."""
    state = tiny.blank(jax.eval_shape(made().init, jax.random.key(0)))
    params = tiny.filled(0, state.network.params, 0.8)
    state = state._replace(network=state.network._replace(params=params))
    batch, step = test_maml.batch_of(), tiny.jit(made().step)
    for number in range(2):
        mean, nu = by_hand(
            state.network.params, state.moments[0], batch, GIVEN["steps"]
        )
        share = GIVEN["outer"] * (1 - number / 10)
        expected = jax.tree.map(
            lambda theta, phi, share=share: theta + share * (phi - theta),
            state.network.params, mean,
        )  # fmt: skip
        state, _ = step(state, batch)
        chex.assert_trees_all_close(
            state.network.params, expected, rtol=1e-7, atol=1e-9
        )
        chex.assert_trees_all_close(state.moments[0].nu, nu, rtol=1e-7, atol=1e-12)
    assert int(state.moments[0].count) == 2 * GIVEN["steps"]


@pytest.mark.parametrize("queries", ["alone", "together"])
def test_who_is_normalised_with_a_query(queries):
    method, batch = made(queries), test_maml.batch_of()
    state = method.init(jax.random.key(0))
    say = tiny.jit(method.predict)
    whole = say(state, batch.context, batch.queries).output
    found = say(state, batch.context, batch.queries.at[:, 1:].set(0)).output
    same = np.allclose(found[:, 0], whole[:, 0], rtol=1e-4, atol=1e-5)
    assert same == (queries == "alone") != method.transductive
    assert not np.allclose(found[:, 1], whole[:, 1])


def test_moments_answer_and_the_outer_rate_does_not():
    method, batch = made(), test_maml.batch_of()
    state = method.init(jax.random.key(0))
    slim = method.slim(state)
    assert slim.network.opt_state == ()
    moments = jax.tree.map(lambda leaf: leaf + 1, slim.moments)
    say = tiny.jit(method.predict)
    found, other = (
        say(each, batch.context, batch.queries).output
        for each in (slim, slim._replace(moments=moments))
    )
    assert not np.allclose(found, other, atol=1e-3)


@pytest.mark.parametrize(
    ("ways", "expected"), [(5, (5, 1e-3, 10)), (20, (10, 5e-4, 20))]
)
def test_published_settings_are_the_defaults(ways, expected):
    line = table.METHODS["reptile"]
    run = records.Run(method="reptile", ways=ways)
    settings = records.resolve(run, line.uses, line.published(ways, 1))
    given = settings.reptile
    assert (given.steps, given.rate, given.batch) == expected
    assert (given.test_steps, given.outer, given.queries) == (50, 1.0, "alone")
    assert settings.model.layers == 4
    other = dataclasses.replace(run, optim={"lr": 1e-2})
    with pytest.raises(ValueError, match=r"optim\.lr=0\.01 has no effect"):
        records.resolve(other, line.uses, line.published(ways, 1))
