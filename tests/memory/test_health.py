"""Every measure of a memory of slots by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax import memory


def test_slot_spread_is_the_rms_distance_from_the_mean_slot():
    rows = jnp.array([[1.0, 0.0], [3.0, 4.0]])
    assert float(memory.slot_spread(rows)) == pytest.approx(np.sqrt(2.5))
    equal = jnp.broadcast_to(jnp.array([[1.0, 2.0]]), (3, 2))
    assert float(memory.slot_spread(equal)) == 0
    two = jnp.stack([rows, 3 * rows])
    assert float(memory.slot_spread(two)) == pytest.approx(2 * np.sqrt(2.5))


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([[0.25] * 4], 1),
        ([[0.0, 1.0, 0.0, 0.0]], 0),
        ([[0.5, 0.5, 0.0, 0.0]], 0.5),
        ([[0.25] * 4, [0.0, 1.0, 0.0, 0.0]], 0.5),
        ([[1.0]], 0),
    ],
)
def test_addressing_entropy_by_hand(weights, expected):
    found = memory.addressing_entropy(jnp.array(weights))
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_memory_health_counts_the_mass_written_to_each_slot():
    writes = jnp.array([[[0.5, 0.5, 0.0]], [[1.0, 0.0, 0.0]]])
    found = memory.memory_health(tiny.normal(1, 2, 3, 4), writes, writes)
    np.testing.assert_allclose(found["memory/write_share"], [0.75, 0.25, 0])
    assert float(found["memory/write_share_max"]) == 0.75
    assert float(found["memory/entropy"]) == pytest.approx(np.log(2) / np.log(3) / 2)
    none = memory.memory_health(tiny.normal(1, 2, 3, 4), writes, 0 * writes)
    np.testing.assert_array_equal(none["memory/write_share"], 0)


def test_repeated_writes_of_diffuse_weights_are_what_collapses():
    rows = tiny.normal(1, 10, 8)
    uniform = jnp.full((10,), 0.1)
    before = memory.slot_spread(rows)

    def body(rows, update):
        return (1 - uniform)[:, None] * rows + jnp.outer(uniform, update), None

    after, _ = jax.lax.scan(body, rows, tiny.normal(2, 20, 8))
    found = memory.slot_spread(after) / before
    assert float(found) == pytest.approx(0.9**20, rel=1e-4)
