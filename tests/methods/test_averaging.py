"""The average of a method's states, against a loop over what it passed through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_method

from nmn_jax.methods import averaging
from nmn_jax.methods.averaging import with_average
from nmn_jax.methods.base import Entry
from nmn_jax.methods.table import EPISODES, METHODS
from nmn_jax.settings import override, preset
from nmn_jax.tasks import episodes

TASK = episodes.classification(
    ways=2, shots=1, queries=1, episodes=3, image_shape=(2, 2)
)
TOY = toy_method.make(None, TASK, steps=9)
SOURCE = jnp.asarray(
    np.random.default_rng(0).integers(0, 256, (5, 4, 2, 2), dtype=np.uint8)
)


def batch(step):
    return TASK.sample(jax.random.key(1), jnp.asarray(step), SOURCE)


def trained(method, steps):
    state = method.init(jax.random.key(2))
    for number in range(steps):
        state, _ = method.step(state, batch(number))
    return state


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.99])
def test_what_answers_is_the_average_of_all_states_so_far(decay):
    state, average = TOY.init(jax.random.key(2)), None
    average = float(state.scale)
    for number in range(6):
        state, _ = TOY.step(state, batch(number))
        kept = min(decay, (1 + number) / (10 + number))
        average = kept * average + (1 - kept) * float(state.scale)
    method = with_average(TOY, decay)
    found = trained(method, 6)
    np.testing.assert_allclose(found.average.scale, average, rtol=1e-5)
    np.testing.assert_array_equal(found.inner.scale, state.scale)
    assert int(found.step) == int(found.average.step) == 6
    asked = batch(7)
    answer = method.predict(method.slim(found), asked.context, asked.queries).output
    expected = toy_method.logits(average, asked.context, asked.queries)
    np.testing.assert_allclose(answer, expected, rtol=1e-5)
    if decay:
        assert abs(average - float(state.scale)) > 1e-3


def test_slim_keeps_what_answers_alone_and_nothing_shares_a_buffer():
    method = with_average(TOY, 0.9)
    state = trained(method, 2)
    slim = method.slim(state)
    assert slim.inner == () and method.slim(slim) == slim
    first = method.init(jax.random.key(0))
    places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(first)]
    assert len(set(places)) == len(places)


def test_adaptation_moves_the_average():
    method = with_average(TOY, 0.9)
    state, asked = trained(method, 4), batch(8)
    adapted = method.adapt(method.slim(state), asked.context, 2)
    expected = TOY.adapt(state.average, asked.context, 2)
    np.testing.assert_array_equal(adapted.average.scale, expected.scale)
    assert float(expected.scale) != float(state.average.scale)
    assert with_average(TOY._replace(adapt=None), 0.9).adapt is None


def test_settings_say_whether_a_method_of_the_table_is_averaged():
    line = averaging.around(Entry(toy_method.make, "episodes", ("optim.lr",)))
    assert line.uses == ("optim.lr", "optim.average")
    settings = preset("recommended", ways=2, shots=1)
    assert line.make(settings, TASK, steps=1).columns == {"method": "toy"}
    settings = override(settings, optim={"average": 0.99})
    method = line.make(settings, TASK, steps=1)
    assert method.columns == {"method": "toy", "weights": "average 0.99"}
    assert isinstance(method.init(jax.random.key(0)), averaging.AveragedState)
    assert all("optim.average" in METHODS[name].uses for name in EPISODES)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5])
def test_a_decay_is_a_share_below_one(decay):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        with_average(TOY, decay)
