"""Cotangents, gates, pairings and networks of memories that learn, each by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import float64

from nmn_jax import memory
from nmn_jax.memory import cotangents, gates, networks, pairing

OUTPUT = jnp.array([0.5, -2.0, 0.25])
VALUE = jnp.array([0.0, 1.0, 0.0])
PAIR = gates.Pair(jnp.array([1.0, 2.0]), jnp.array([3.0]), jnp.asarray(4))


def huber(x):
    return np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5)


LOSSES = {
    "squared": lambda f, v: np.sum((f - v) ** 2) / 2,
    "hebb": lambda f, v: -np.sum(f * v),
    "softmax": lambda f, v: np.log(np.sum(np.exp(f))) - np.sum(f * v),
    "huber": lambda f, v: np.sum(huber(f - v)),
}


@pytest.mark.parametrize("name", cotangents.COTANGENTS)
@float64
def test_every_cotangent_is_the_slope_of_its_loss(name):
    output, value = np.asarray(OUTPUT, float), np.asarray(VALUE, float)
    slopes = [
        (LOSSES[name](output + d, value) - LOSSES[name](output - d, value)) / 2e-6
        for d in 1e-6 * np.eye(3)
    ]
    found = cotangents.COTANGENTS[name](jnp.asarray(output), jnp.asarray(value))
    np.testing.assert_allclose(found, slopes, atol=1e-8)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_huber_refuses_a_bound_that_bounds_nothing(bound):
    with pytest.raises(ValueError, match="must be positive"):
        cotangents.make_huber(bound)


@pytest.mark.parametrize(("scale", "start"), [("log", 3.0), ("logit", 0.9)])
@pytest.mark.parametrize("make", [gates.learned, gates.dependent])
def test_learned_gates_begin_where_they_are_told(make, scale, start, key):
    gate = make(start, scale=scale)
    assert float(gate.value(gate.init(key, 3), PAIR)) == pytest.approx(start, rel=1e-6)


def test_gates_on_their_scales_by_hand():
    log, logit = (gates.learned(0.5, scale=scale) for scale in ("log", "logit"))
    assert float(log.value(jnp.log(7.0), PAIR)) == pytest.approx(7)
    assert float(logit.value(jnp.log(3.0), PAIR)) == pytest.approx(0.75)
    assert (log.most, logit.most) == (np.inf, 1.0)
    said = gates.dependent(0.5, scale="log")
    params = {"bias": jnp.asarray(0.5), "kernel": jnp.array([1.0, -1.0, 0.5])}
    assert float(said.value(params, PAIR)) == pytest.approx(np.exp(0.5 + 1 - 2 + 1.5))


def test_a_constant_gate_has_no_parameters(key):
    gate = gates.constant(0.25)
    assert jax.tree.leaves(gate.init(key, 3)) == []
    assert float(gate.value((), PAIR)) == gate.most == 0.25
    assert gates.as_gate(gate) is gate


@pytest.mark.parametrize(
    ("start", "scale", "said"),
    [(0.0, "log", "both excluded"), (1.0, "logit", "both excluded"),
     (float("nan"), "log", "both excluded"), (0.5, "square", "unknown scale")],
)  # fmt: skip
@pytest.mark.parametrize("make", [gates.learned, gates.dependent])
def test_gates_refuse_a_start_outside_their_scale(make, start, scale, said):
    with pytest.raises(ValueError, match=said):
        make(start, scale=scale)


def test_unit_keys_have_length_one_and_spare_the_value():
    made = pairing.unit_keys(pairing.own_keys(4, key_width=2))
    vector = jnp.array([3.0, 4.0, 7.0, 8.0])
    key, value = made.pair(-vector, vector)
    np.testing.assert_allclose(key, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(value, [7, 8])
    np.testing.assert_allclose(made.ask(-vector), [-0.6, -0.8], rtol=1e-6)
    slope = jax.jacobian(made.ask)(jnp.zeros(4))
    assert jnp.all(jnp.isfinite(slope))


@pytest.mark.parametrize("key_width", [0, 4, 5, -1])
def test_own_keys_need_room_for_key_and_value(key_width):
    with pytest.raises(ValueError, match="must lie between 1 and 3"):
        pairing.own_keys(4, key_width=key_width)
    with pytest.raises(ValueError, match="at least 1"):
        pairing.query_keys(key_width - 5)


@float64
def test_a_network_of_two_layers_by_hand(key):
    network = networks.mlp(2, hidden=(3,), activation=jnp.tanh, scale=2.0)
    weights = network.init(key, 4)
    assert [each.shape for each in weights] == [(4, 3), (3, 2)]
    inputs = tiny.normal(1, 4)
    expected = np.tanh(inputs @ weights[0]) @ weights[1]
    np.testing.assert_allclose(network.apply(weights, inputs), expected, rtol=1e-14)


def test_networks_start_at_their_scale(key):
    first, last = networks.mlp(50, hidden=(100,), scale=3.0).init(key, 400)
    assert float(jnp.std(first)) == pytest.approx(3 / 20, rel=0.02)
    assert float(jnp.std(last)) == pytest.approx(3 / 10, rel=0.05)


@pytest.mark.parametrize(
    "wrong", [{"outputs": 0}, {"hidden": (0,)}, {"scale": -1.0}, {"scale": 0.0}]
)
def test_networks_refuse_what_could_not_learn(wrong):
    with pytest.raises(ValueError, match="memory network of widths"):
        networks.mlp(**{"outputs": 2, "hidden": (3,), **wrong})


def test_the_room_lists_its_parts():
    for part in (cotangents, gates, networks, pairing):
        assert getattr(memory, part.__name__.split(".")[-1]) is part
