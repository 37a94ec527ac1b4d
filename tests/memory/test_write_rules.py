"""Every write rule by hand (Eq. 7 and what stands in its place)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import float64, normal

from nmn_jax import memory
from nmn_jax.memory import write_rules

L, K = 4, 5
MEMORY = jnp.array([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
QUERY = jnp.array([1.0, 2.0])


def example():
    """Memory, query, weights and update."""
    weights = np.exp(normal(3, L))
    weights = jnp.asarray(weights / weights.sum())
    return normal(1, L, K), normal(2, K), weights, normal(4, K)


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


@pytest.mark.parametrize("floor", [-0.1, 1.1, float("nan")])
def test_hebbian_write_refuses_a_floor_that_is_no_share(floor):
    with pytest.raises(ValueError, match="must lie in"):
        memory.make_hebbian_write(floor=floor)


@pytest.mark.parametrize("values", [[3.0, 1, 2, 1], [0.0, 0, 0], [2.0, jnp.inf, 1]])
def test_the_first_of_the_least_is_argmin(values):
    values = jnp.asarray(values)
    assert int(write_rules.first_least(values)) == int(jnp.argmin(values))


def test_beside_what_is_no_number_some_slot_is_still_chosen():
    assert int(write_rules.first_least(jnp.asarray([1.0, jnp.nan]))) == 0


@float64
def test_a_rule_without_a_gate_is_the_gated_one_in_the_limit():
    rows, usage = normal(1, 4, 3), jnp.asarray([0.3, 0.1, 0.2, 0.5])
    weights, update = jnp.asarray([0.1, 0.2, 0.3, 0.4]), normal(2, 3)
    options = {"decay": 0.9, "reads": 0.5}
    one = memory.make_least_used_write(**options)
    other = memory.make_least_used_write(**options, gate=1e-14)
    assert isinstance(one, memory.OneHotRule)
    assert not isinstance(other, memory.OneHotRule)
    found = one(rows, usage, weights, update)
    expected = other(rows, usage, weights, update)
    for each, known in zip(found, expected, strict=True):
        np.testing.assert_allclose(each, known, atol=1e-12)
