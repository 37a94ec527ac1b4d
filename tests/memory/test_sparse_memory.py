"""Slots of which a few are read: what is recalled, what learns, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import K, float64

from nmn_jax import memory
from nmn_jax.memory import search

SLOTS, READS = 9, 3
IN_TURN = memory.WRITE_RULES["in_turn"]


def make(**options):
    return memory.sparse_slots(
        **{"slots": SLOTS, "width": K, "reads": READS, "write_rule": IN_TURN, **options}
    )


def start(made):
    params = tiny.drawn(1, made.init)
    return params, made.start(params)


@float64
def test_what_is_recalled_is_a_softmax_over_the_likest_slots():
    made = make(similarity=memory.cosine)
    params, state = start(made)
    query = tiny.normal(2, K)
    reading = made.read(params, state, query)
    scores = np.exp(params.log_scale) * memory.cosine(state.rows, query)
    likest = np.argsort(-scores)[:READS]
    weights = np.exp(scores[likest]) / np.exp(scores[likest]).sum()
    np.testing.assert_array_equal(reading.slots, likest)
    np.testing.assert_allclose(reading.weights, weights, rtol=1e-12)
    np.testing.assert_allclose(reading.recalled, weights @ state.rows[likest])


@float64
def test_only_slots_that_are_read_have_a_gradient():
    made = make()
    params, state = start(made)
    query = tiny.normal(2, K)
    read = made.read(params, state, query).slots

    def recalled(rows):
        found = made.read(params, state._replace(rows=rows), query)
        return jnp.sum(found.recalled**2)

    moved = np.abs(jax.grad(recalled)(state.rows)).max(axis=1)
    assert set(np.flatnonzero(moved)) == set(np.asarray(read).tolist())


def test_writes_go_round_and_the_index_follows():
    by_signs = search.by_signs(memory.cosine, width=K)
    made = make(similarity=memory.cosine, search=by_signs)
    params, state = start(made)
    for step in range(SLOTS + 2):
        update = tiny.normal(step, K)
        reading = made.read(params, state, update)
        state, weights = made.write(params, state, reading, update)
        assert weights.shape == (0,)
        np.testing.assert_allclose(state.rows[step % SLOTS], update)
        np.testing.assert_array_equal(state.index, by_signs.start(state.rows))
    np.testing.assert_array_equal(state.usage, [2, 2] + [1] * (SLOTS - 2))


def test_measures_take_the_share_of_writes_from_the_usage():
    made = make()
    _, state = start(made)
    state = state._replace(usage=jnp.arange(SLOTS) / 1.0)
    found = made.measures(state, jnp.full((4, READS), 1 / READS), jnp.zeros((4, 0)))
    np.testing.assert_allclose(
        found["memory/write_share"], np.arange(SLOTS) / 36, rtol=1e-6
    )
    assert float(found["memory/entropy"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"reads": 0}, "must lie between 1 and 9"),
        ({"reads": 10}, "must lie between 1 and 9"),
        ({"write_rule": memory.convex_write}, "a write rule that changes one slot"),
        ({"width": 0}, "at least 1"),
    ],
)
def test_what_makes_no_memory_of_few_reads_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        make(**wrong)
