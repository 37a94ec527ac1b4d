"""Addressing, reading and writing one memory, by hand (Eqs. 3, 4, 7)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import float64, normal

from nmn_jax import memory

L, K = 4, 5
MEMORY = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
QUERY = jnp.array([1.0, 2.0])


def example():
    """Memory, query, weights and update."""
    weights = np.exp(normal(3, L))
    weights = jnp.asarray(weights / weights.sum())
    return normal(1, L, K), normal(2, K), weights, normal(4, K)


def test_init_draws_rows_of_the_given_scale(key):
    rows = memory.init(key, slots=500, width=20, scale=3.0)
    assert rows.shape == (500, 20)
    assert np.mean(rows) == pytest.approx(0, abs=0.1)
    assert np.std(rows) == pytest.approx(3, rel=0.03)


@pytest.mark.parametrize(("slots", "width"), [(0, 3), (3, 0), (-1, 3)])
def test_init_refuses_a_memory_without_room(key, slots, width):
    with pytest.raises(ValueError, match="at least 1"):
        memory.init(key, slots=slots, width=width)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dot", [1, 4, 11]),
        ("scaled_dot", [1 / np.sqrt(2), 4 / np.sqrt(2), 11 / np.sqrt(2)]),
        ("cosine", [1 / np.sqrt(5), 2 / np.sqrt(5), 11 / (5 * np.sqrt(5))]),
        ("euclidean", [-(0 + 4) / 2, -(1 + 0) / 2, -(4 + 4) / 2]),
    ],
)
def test_similarities_by_hand(name, expected):
    found = memory.SIMILARITIES[name](MEMORY, QUERY)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_keyed_compares_the_leading_numbers_only():
    wide = jnp.concatenate([MEMORY, jnp.full((3, 4), 100.0)], axis=1)
    query = jnp.concatenate([QUERY, -jnp.ones((4,))])
    for similarity in memory.SIMILARITIES.values():
        compare = memory.keyed(similarity, width=2)
        np.testing.assert_array_equal(compare(wide, query), similarity(MEMORY, QUERY))


@pytest.mark.parametrize("name", memory.SIMILARITIES)
@float64
def test_address_is_a_softmax_that_sums_to_one(name):
    rows, query, *_ = example()
    similarity = memory.SIMILARITIES[name]
    weights = memory.address(rows, query, similarity=similarity, scale=7.0)
    assert weights.shape == (L,)
    assert float(jnp.sum(weights)) == pytest.approx(1, abs=1e-15)
    powers = np.exp(7 * np.asarray(similarity(rows, query)))
    np.testing.assert_allclose(weights, powers / powers.sum(), rtol=1e-12)


@pytest.mark.parametrize("name", memory.SIMILARITIES)
def test_large_similarities_still_sum_to_one(name):
    rows, query, *_ = example()
    weights = memory.address(
        1e3 * rows, 1e3 * query, similarity=memory.SIMILARITIES[name], scale=10.0
    )
    assert float(jnp.sum(weights)) == pytest.approx(1, abs=1e-6)


def test_read_is_the_weighted_sum_of_the_rows():
    recalled = memory.read(MEMORY, jnp.array([0.5, 0.25, 0.25]))
    np.testing.assert_allclose(recalled, [0.5 + 0.75, 0.5 + 1.0])


@float64
def test_write_by_a_loop_over_slots():
    rows, _, weights, update = example()
    expected = np.empty((L, K))
    for j in range(L):
        for k in range(K):
            expected[j, k] = (1 - weights[j]) * rows[j, k] + weights[j] * update[k]
    np.testing.assert_allclose(
        memory.write(rows, weights, update), expected, rtol=1e-14
    )


@float64
def test_write_keeps_slots_between_old_value_and_update():
    rows, _, weights, update = example()
    after = memory.write(rows, weights, update)
    repeated = jnp.broadcast_to(update, rows.shape)
    assert jnp.all(after >= jnp.minimum(rows, repeated) - 1e-15)
    assert jnp.all(after <= jnp.maximum(rows, repeated) + 1e-15)


def test_one_hot_weights_replace_one_slot_exactly():
    rows, _, _, update = example()
    after = memory.write(rows, jax.nn.one_hot(2, L), update)
    np.testing.assert_array_equal(after, rows.at[2].set(update))


@pytest.mark.parametrize("name", memory.SIMILARITIES)
def test_zero_memory_gives_finite_values_and_gradients(key, name):
    _, query, _, update = example()

    def loss(rows, query):
        weights = memory.address(
            rows, query, similarity=memory.SIMILARITIES[name], scale=10.0
        )
        written = memory.write(rows, weights, update)
        return jnp.sum(memory.read(written, weights) ** 2)

    zeros = jnp.zeros((L, K))
    for at in ((zeros, query), (zeros, jnp.zeros((K,)))):
        value, grads = jax.value_and_grad(loss, argnums=(0, 1))(*at)
        assert jnp.isfinite(value)
        assert all(jnp.all(jnp.isfinite(grad)) for grad in grads)
