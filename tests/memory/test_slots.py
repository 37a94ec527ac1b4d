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


@pytest.mark.parametrize("name", memory.SIMILARITIES)
@pytest.mark.parametrize("rule", ["convex", "additive"])
@float64
def test_permuting_slots_permutes_everything(name, rule):
    rows, query, _, update = example()
    order = jnp.array([2, 0, 3, 1])
    address = lambda m: memory.address(  # noqa: E731
        m, query, similarity=memory.SIMILARITIES[name]
    )
    weights, shuffled = address(rows), address(rows[order])
    np.testing.assert_allclose(shuffled, weights[order], rtol=1e-12)
    np.testing.assert_allclose(
        memory.read(rows[order], shuffled), memory.read(rows, weights), rtol=1e-12
    )
    written = memory.WRITE_RULES[rule](rows, jnp.zeros((L,)), weights, update)
    moved = memory.WRITE_RULES[rule](rows[order], jnp.zeros((L,)), shuffled, update)
    for before, after in zip(written, moved, strict=True):
        np.testing.assert_allclose(after, before[order], rtol=1e-12)


def test_additive_write_erases_nothing():
    written = memory.additive_write(
        MEMORY, jnp.array([1.0, 0.0, 0.0]), jnp.array([0.5, 0.5, 0.0]), QUERY
    )
    np.testing.assert_allclose(written.memory, [[1.5, 1.0], [0.5, 3.0], [3.0, 4.0]])
    np.testing.assert_allclose(written.usage, [1.5, 0.5, 0.0])
    np.testing.assert_allclose(written.weights, [0.5, 0.5, 0.0])


def test_convex_write_is_equation_seven():
    rows, _, weights, update = example()
    written = memory.convex_write(rows, jnp.ones((L,)), weights, update)
    np.testing.assert_array_equal(written.memory, memory.write(rows, weights, update))
    np.testing.assert_array_equal(written.usage, 1 + weights)
    np.testing.assert_array_equal(written.weights, weights)


def test_least_used_fills_the_slots_in_order_and_then_starts_again():
    rows, _, weights, _ = example()
    written = memory.Written(rows, jnp.zeros((L,)), weights)
    for step in range(2 * L + 1):
        update = jnp.full((K,), float(step))
        written = memory.WRITE_RULES["least_used"](
            written.memory, written.usage, weights, update
        )
        np.testing.assert_array_equal(written.weights, jax.nn.one_hot(step % L, L))
    expected = [2 * L, *range(L + 1, 2 * L)]
    np.testing.assert_array_equal(written.memory[:, 0], expected)


def test_least_used_usage_by_hand():
    rule = memory.make_least_used_write(decay=0.5)
    usage, weights = jnp.zeros((3,)), jnp.full((3,), 1 / 3)
    for expected in ([1, 0, 0], [0.5, 1, 0], [0.25, 0.5, 1], [1.125, 0.25, 0.5]):
        usage = rule(MEMORY, usage, weights, QUERY).usage
        np.testing.assert_allclose(usage, expected)


def test_mann_rule_by_hand():
    # Half of the write goes where it was read, half to the least used slot.
    weights, usage = jnp.array([0.6, 0.4, 0.0]), jnp.array([2.0, 1.0, 3.0])
    written = memory.WRITE_RULES["mann"](MEMORY, usage, weights, QUERY)
    np.testing.assert_allclose(written.weights, [0.3, 0.7, 0.0])
    np.testing.assert_allclose(
        written.memory, [[0.7 + 0.3, 0.6], [0.7, 0.6 + 1.4], [3.0, 4.0]], rtol=1e-6
    )
    # 0.95 · usage + write + read.
    expected = [1.9 + 0.3 + 0.6, 0.95 + 0.7 + 0.4, 2.85]
    np.testing.assert_allclose(written.usage, expected, rtol=1e-6)


def test_the_choice_of_the_least_used_slot_carries_no_gradient():
    rule = memory.make_least_used_write()

    def loss(usage):
        return jnp.sum(rule(MEMORY, usage, jnp.ones((3,)) / 3, QUERY).memory ** 2)

    np.testing.assert_array_equal(jax.grad(loss)(jnp.array([0.3, 0.1, 0.2])), 0)


@pytest.mark.parametrize("options", [{"decay": 1.1}, {"gate": -0.1}, {"reads": -1.0}])
def test_least_used_refuses_impossible_numbers(options):
    with pytest.raises(ValueError, match="must lie in"):
        memory.make_least_used_write(**options)


@pytest.mark.parametrize("rule", memory.WRITE_RULES)
def test_every_write_rule_moves_no_mass_beyond_its_weights(rule):
    rows, _, weights, update = example()
    written = memory.WRITE_RULES[rule](rows, jnp.zeros((L,)), weights, update)
    assert float(jnp.sum(written.weights)) == pytest.approx(1, abs=1e-6)
    still = memory.WRITE_RULES[rule](rows, jnp.zeros((L,)), 0 * weights, update)
    untouched = np.asarray(still.weights) == 0
    np.testing.assert_array_equal(still.memory[untouched], rows[untouched])


def test_same_value_write_keeps_one_slot_for_each_value():
    rule = memory.make_same_value_write(key_width=1, threshold=0.5, rate=0.25)
    rows, usage = jnp.array([[9.0, 0.3, 0.1], [7.0, 0.0, 1.0]]), jnp.zeros(2)
    unread = jnp.full((2,), 0.5)
    # A slot that was never written holds no value, however much it looks like one.
    first = rule(rows, usage, unread, jnp.array([1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(first.weights, [1.0, 0.0])
    np.testing.assert_array_equal(first.memory[0], [1.0, 0.0, 2.0])
    # The same value at another scale moves that slot by the rate, key and value.
    second = rule(first.memory, first.usage, unread, jnp.array([5.0, 0.0, 4.0]))
    np.testing.assert_allclose(second.weights, [0.25, 0.0])
    np.testing.assert_allclose(second.memory[0], [2.0, 0.0, 2.5])
    # Another value takes the slot written least often, the first stays as it is.
    third = rule(second.memory, second.usage, unread, jnp.array([1.0, 3.0, 0.0]))
    np.testing.assert_array_equal(third.weights, [0.0, 1.0])
    np.testing.assert_array_equal(third.memory[0], second.memory[0])
    np.testing.assert_allclose(third.usage, [1.25, 1.0])


@pytest.mark.parametrize(
    "wrong", [{"key_width": 0}, {"rate": 0.0}, {"rate": 1.5}, {"threshold": 2.0}]
)
def test_same_value_write_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ValueError, match="same-value write with"):
        memory.make_same_value_write(**{"key_width": 1, **wrong})
