"""Draws side by side are the draws one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from experiments.common import draws
from tests.methods import contract


def test_a_stack_of_draws_is_every_draw_by_itself(key):
    """Two draws with data of their own; up to the rounding of another program."""
    case = contract.case("attention")
    sources = jnp.stack([case.source, 0.5 * case.source])
    method, task = draws.method(case.method, 2), draws.task(case.task, 2)
    step = tiny.jit(
        lambda state, key, source: method.step(
            state, task.sample(key, state.step, source)
        )
    )
    state, batch_key = method.init(key), jax.random.key(5)
    alone = [case.method.init(each) for each in draws.keys(key, 2)]
    for _ in range(3):
        state, metrics = step(state, batch_key, sources)
        losses = []
        for place, own in enumerate(draws.keys(batch_key, 2)):
            alone[place], told = contract.program("attention")(
                alone[place], own, sources[place]
            )
            losses.append(told["loss"])
        np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)
    assert int(state.step) == 3
    asked = jnp.stack([each[:4, :3] for each in sources])
    said = method.predict(method.slim(state), asked).output
    for place in range(2):
        expected = case.method.predict(alone[place], asked[place]).output
        np.testing.assert_allclose(said[place], expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(said[0], said[1], atol=1e-3)


def test_a_draw_is_the_same_however_many_there_are(key):
    few, many = draws.keys(key, 2), draws.keys(key, 5)
    np.testing.assert_array_equal(
        jax.random.key_data(few), jax.random.key_data(many)[:2]
    )
