"""The memory of slots as a whole: one step on arrays, its numbers, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import K, L, float64

from nmn_jax import memory


def by_hand(rows, usage, query, update, rule):
    """Eqs. 3, 4 and 7 (or the least used slot) on arrays, slot by slot."""
    scores = np.exp(2.0 * np.array([row @ query for row in rows]))
    weights = scores / scores.sum()
    recalled = sum(w * row for w, row in zip(weights, rows, strict=True))
    written = weights if rule == "convex" else np.eye(L)[np.argmin(usage)]
    after = [(1 - w) * row + w * update for w, row in zip(written, rows, strict=True)]
    kept = usage if rule == "convex" else 0.99 * usage
    return recalled, weights, np.stack(after), kept + written, written


@pytest.mark.parametrize("rule", ["convex", "least_used"])
@float64
def test_slots_are_the_equations_on_arrays(rule):
    made = tiny.make_slots(scale=2.0, write_rule=rule)
    params = tiny.drawn(1, made.init)._replace(log_scale=jnp.log(2.0))
    state = tiny.filled(2, made.start(params))
    query, update = tiny.normal(3, K), tiny.normal(4, K)
    reading = made.read(params, state, query)
    stored = made.write(params, state, reading, update)
    found = (reading.recalled, reading.weights, *stored.state, stored.weights)
    expected = by_hand(*(np.asarray(x) for x in (*state, query, update)), rule)
    for each, known in zip(found, expected, strict=True):
        np.testing.assert_allclose(each, known, rtol=1e-12)
    np.testing.assert_array_equal(reading.query, query)


def test_initial_rows_are_normal_numbers_of_the_key_itself(key):
    """Trained models of one seed begin as they always did: N(0, scale²) of the key."""
    made = memory.slots(slots=L, width=K, memory_scale=3.0, scale=5.0)
    params = made.init(key)
    np.testing.assert_array_equal(params.rows, 3.0 * jax.random.normal(key, (L, K)))
    np.testing.assert_array_equal(params.log_scale, jnp.log(jnp.asarray(5.0)))
    state = made.start(params)
    np.testing.assert_array_equal(state.rows, params.rows)
    np.testing.assert_array_equal(state.usage, np.zeros(L))


def test_measures_are_the_health_of_the_rows():
    made = tiny.make_slots()
    state = tiny.drawn(1, lambda key: made.start(made.init(key)))
    reads, writes = jnp.full((3, L), 1 / L), jnp.eye(3, L)
    found = made.measures(state, reads, writes)
    assert float(found["memory/spread"]) == float(memory.slot_spread(state.rows))
    assert float(found["memory/entropy"]) == pytest.approx(1)
    np.testing.assert_allclose(found["memory/write_share"], [1 / 3] * 3 + [0])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"slots": 0}, "at least 1"),
        ({"width": -1}, "at least 1"),
        ({"scale": 0.0}, "must be positive"),
        ({"scale": float("nan")}, "must be positive"),
    ],
)
def test_slots_refuse_what_makes_no_memory(wrong, said):
    with pytest.raises(ValueError, match=said):
        memory.slots(**{"slots": 2, "width": 3, **wrong})
