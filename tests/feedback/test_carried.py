"""A carried state as rows of numbers, and what became of each slot."""

import chex
import jax.numpy as jnp
import numpy as np
import tiny

from nmn_jax import memory
from nmn_jax.feedback import carried
from nmn_jax.types import NMNState, PerController


@tiny.float64
def test_rows_are_the_state_and_go_back_into_it():
    case = tiny.make_case(tiny.KINDS[0])
    rows = carried.groups(case.state)
    assert {name: each.shape for name, each in rows.items()} == {
        "slots": (tiny.L, tiny.K + 1), "input": (1, 2 * tiny.K),
        "output": (1, 2 * tiny.K),
    }  # fmt: skip
    other = tiny.filled(8, case.state)
    chex.assert_trees_all_equal(carried.put(other, rows), case.state)


def test_a_slots_history_counts_steps_and_reads_since_it_was_written():
    state = tiny.make_case().state
    reads = jnp.asarray([[0.5, 0, 0, 0.5], [0, 1, 0, 0], [0.25, 0.25, 0.25, 0.25]])
    writes = jnp.asarray([[1.0, 0, 0, 0], [0, 0.5, 0, 0], [0, 0, 1.0, 0]])
    found = carried.follow(carried.start_history(state), reads, writes)
    np.testing.assert_allclose(found.age, [2, 2, 0, 3])
    np.testing.assert_allclose(found.reads, [0.25, 0.75, 0, 0.75])
    seen = carried.context("slots", carried.groups(state)["slots"], found)
    np.testing.assert_allclose(seen[0], [*np.exp(-2 / np.array(carried.FADES)), 0.25])
    assert carried.context("input", jnp.zeros((1, 4)), found).shape == (1, 0)


def test_slots_that_are_searched_for_have_the_same_rows_and_no_reads():
    made = memory.sparse_slots(
        slots=5, width=3, reads=2, write_rule=memory.WRITE_RULES["in_turn"]
    )
    stored = made.start(tiny.drawn(1, made.init))
    state = NMNState(stored, PerController((), (), ()))
    rows = carried.groups(state)
    assert {name: each.shape for name, each in rows.items()} == {"slots": (5, 4)}
    moved = carried.put(state, {"slots": rows["slots"] + 1})
    chex.assert_trees_all_close(moved.memory.rows, stored.rows + 1)
    chex.assert_trees_all_equal(moved.memory.index, stored.index)
    begun = carried.start_history(state)
    found = carried.follow(begun, jnp.ones((1, 2)), jnp.eye(5)[:1])
    np.testing.assert_array_equal(found.age, [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(found.reads, 0.0)
