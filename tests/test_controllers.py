"""Controllers by hand: skips, gains, how labels and the memory come in."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import drawn, float64, jit, linear_controller, normal

from nmn_jax import controllers, nets
from nmn_jax.nets import kernels

K = 4
KINDS = tuple(controllers.CONTROLLERS)


def make(kind, kernel=kernels.identity_kernel):
    return controllers.CONTROLLERS[kind](K, kernel)


def run(controller, params, steps):
    carry, outputs = controller.carry(), []
    for inputs in steps:
        carry, output = controller.step(params, carry, inputs)
        outputs.append(output)
    return jnp.stack(outputs)


@pytest.mark.parametrize("inputs", [2, 4, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_every_controller_maps_any_width_to_its_own(kind, inputs):
    controller = make(kind)
    params = drawn(1, controller.init, inputs)
    carry, output = controller.step(params, controller.carry(), jnp.ones((inputs,)))
    assert output.shape == (controller.width,) == (K,)
    assert jax.tree.structure(carry) == jax.tree.structure(controller.carry())


def test_identity_kernel_passes_leading_inputs_on(key):
    np.testing.assert_array_equal(
        kernels.identity_kernel(key, (2, 3)), [[1, 0, 0], [0, 1, 0]]
    )
    tall = kernels.identity_kernel(key, (5, 3))
    np.testing.assert_array_equal(tall[:3], np.eye(3))
    assert jnp.all(tall[3:] != 0)


def test_random_kernel_keeps_the_scale_of_its_input(key):
    kernel = kernels.random_kernel(key, (400, 100))
    outputs = normal(1, 50, 400) @ kernel
    assert float(jnp.std(outputs)) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("kind", ["skip_lstm", "stateless"])
def test_untrained_controller_with_a_skip_is_the_skip(key, kind):
    controller = make(kind)
    inputs = jnp.arange(1.0, 4.0)
    params = controller.init(key, 3)
    _, output = controller.step(params, controller.carry(), inputs)
    np.testing.assert_array_equal(output, [1, 2, 3, 0])


@float64
def test_skip_lstm_is_a_skip_plus_a_gated_lstm():
    controller, lstm = make("skip_lstm"), nets.make_lstm(K)
    params = drawn(1, controller.init, 3)
    steps = normal(2, 4, 3)
    carry, expected = lstm.carry(), []
    for inputs in steps:
        carry, hidden = lstm.apply(params["lstm"], carry, inputs)
        expected.append(inputs @ params["skip"] + params["gain"] * hidden)
    np.testing.assert_allclose(run(controller, params, steps), expected, rtol=1e-13)


@float64
def test_lstm_controller_by_its_equations():
    controller = make("lstm")
    params = drawn(1, controller.init, 3)
    steps = normal(2, 4, 3)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    cell, hidden, expected = np.zeros(K), np.zeros(K), []
    for inputs in steps:
        gates = {
            gate: inputs @ np.asarray(params[f"i{gate}"]["kernel"])
            + hidden @ np.asarray(params[f"h{gate}"]["kernel"])
            + np.asarray(params[f"h{gate}"]["bias"])
            for gate in "ifgo"
        }
        kept, new = sigmoid(gates["f"]) * cell, sigmoid(gates["i"])
        cell = kept + new * np.tanh(gates["g"])
        hidden = sigmoid(gates["o"]) * np.tanh(cell)
        expected.append(hidden)
    np.testing.assert_allclose(run(controller, params, steps), expected, rtol=1e-12)


@float64
def test_stateless_is_a_skip_plus_a_gated_layer_and_forgets():
    controller = make("stateless")
    params = drawn(1, controller.init, 3)
    inputs = normal(2, 3)
    dense = params["dense"]
    hidden = jnp.tanh(inputs @ dense["kernel"] + dense["bias"])
    expected = inputs @ params["skip"] + params["gain"] * hidden
    outputs = run(controller, params, [inputs, inputs])
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-13)
    np.testing.assert_array_equal(outputs[0], outputs[1])


@pytest.mark.parametrize("kind", ["lstm", "skip_lstm"])
def test_recurrent_controllers_remember(kind):
    controller = make(kind)
    params = drawn(1, controller.init, 3)
    outputs = run(controller, params, [jnp.ones((3,)), jnp.ones((3,))])
    assert jnp.all(outputs[0] != outputs[1])


@pytest.mark.parametrize("kind", ["skip_lstm", "stateless"])
def test_the_kernel_of_the_skip_is_an_argument(key, kind):
    halves = lambda key, shape: jnp.full(shape, 0.5)  # noqa: E731
    params = make(kind, halves).init(key, 3)
    np.testing.assert_array_equal(params["skip"], np.full((3, K), 0.5))


def test_kernels_of_slots_of_key_and_value_by_hand(key):
    """Slots of width 4: two numbers of key, two of value; two classes."""
    output = kernels.make_output_kernel(2)(key, (10, 4))
    query, recalled = jnp.array([1.0, 2, 3, 4]), jnp.array([5.0, 6, 7, 8])
    given = jnp.concatenate([query, recalled, jnp.array([9.0, 9])])
    np.testing.assert_array_equal(given @ output, [1, 2, 7, 8])
    write = kernels.make_write_kernel(2)(key, (6, 4))
    given = jnp.concatenate([given @ output, jnp.array([0.0, 1])])
    np.testing.assert_array_equal(given @ write, [1, 2, 0, 2])
    decoder = kernels.make_decoder_kernel(2)(key, (4, 2))
    np.testing.assert_array_equal(given @ write @ decoder, [0, 2])


def test_write_kernel_without_labels_passes_the_key_alone(key):
    write = kernels.make_write_kernel(2)(key, (4, 4))
    np.testing.assert_array_equal(jnp.arange(1.0, 5) @ write, [1, 2, 0, 0])


def test_compose_by_hand():
    query, recalled = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([5.0, 6.0, 7.0, 8.0])
    weights = jnp.array([0.25, 0.75, 0.0])
    compose = {
        name: function(query, recalled, weights)
        for name, function in controllers.COMPOSE.items()
    }
    np.testing.assert_array_equal(compose["mem_only"], recalled)
    np.testing.assert_array_equal(compose["query_mem"], [1, 2, 3, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(
        compose["query_mem_weights"], [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 0]
    )


def test_label_inputs_by_hand():
    values, label = jnp.array([1.0, 2.0]), jnp.array([0.0, 1.0])
    seen = {
        name: (
            list(chosen.features(values, label)),
            list(chosen.output(values, label)),
        )
        for name, chosen in controllers.LABEL_INPUTS.items()
    }
    assert seen == {
        "none": ([1, 2], [1, 2]),
        "offset": ([1, 2, 0, 1], [1, 2]),
        "write": ([1, 2], [1, 2, 0, 1]),
    }


def test_a_controller_is_any_record_of_pure_functions():
    controller = linear_controller()
    params = drawn(1, controller.init, 2)
    _, output = controller.step(params, controller.carry(), jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(output, params["kernel"][0])


@pytest.mark.parametrize("kind", [*KINDS, "linear"])
@float64
def test_unrolling_is_a_loop_and_so_are_its_gradients(kind):
    controller = linear_controller(K) if kind == "linear" else make(kind)
    params, steps = drawn(1, controller.init, 5), normal(2, 6, 5)
    carry = jax.tree.map(lambda leaf: normal(3, *leaf.shape), controller.carry())
    told = normal(4, 6, K)

    def at_once(params, carry, steps):
        after, outputs, _ = controllers.unroll(controller, params, carry, steps)
        return jnp.sum(outputs * told), (after, outputs)

    def in_turn(params, carry, steps):
        outputs = []
        for inputs in steps:
            carry, output = controller.step(params, carry, inputs)
            outputs.append(output)
        outputs = jnp.stack(outputs)
        return jnp.sum(outputs * told), (carry, outputs)

    found, expected = (
        jit(jax.value_and_grad(each, (0, 1, 2), has_aux=True))(params, carry, steps)
        for each in (at_once, in_turn)
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", [*KINDS, "linear"])
@float64
def test_what_was_recorded_again_has_the_gradients_of_the_first_time(kind):
    """Of a batch, in the parameters; cotangents arrive at the carry at the end too."""
    controller = linear_controller(K) if kind == "linear" else make(kind)
    params, steps = drawn(1, controller.init, 5), normal(2, 2, 6, 5)
    carry = jax.tree.map(lambda leaf: normal(3, 2, *leaf.shape), controller.carry())
    unroll = functools.partial(controllers.unroll, controller)
    before = jit(jax.vmap(unroll, (None, 0, 0)))(params, carry, steps).before

    @jit
    def both(params):
        first, pull_first = jax.vjp(
            lambda p: jax.vmap(unroll, (None, 0, 0))(p, carry, steps)[:2], params
        )
        again, pull = jax.vjp(
            lambda p: controllers.again(controller, p, before, steps), params
        )
        told = tiny.filled(4, first, 1.0)
        return (first, pull_first(told)), (again, pull(told))

    first, again = both(params)
    chex.assert_trees_all_close(again, first, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@float64
def test_a_linear_tensor_enters_the_output_and_nothing_else(kind):
    controller = make(kind)
    params, inputs = drawn(1, controller.init, 5), normal(2, 5)
    before = controller.step(params, controller.carry(), inputs)
    linear = set() if kind == "normalised" else {"skip"} & set(params)
    assert set(controller.linear) == linear
    for name in controller.linear:
        change = normal(3, *params[name].shape)
        moved = {**params, name: params[name] + change}
        after = controller.step(moved, controller.carry(), inputs)
        chex.assert_trees_all_equal(after[0], before[0])
        np.testing.assert_allclose(after[1] - before[1], inputs @ change, rtol=1e-10)


@float64
def test_a_normalised_controller_keeps_directions_and_one_size():
    plain, bounded = make("stateless"), make("normalised")
    params = drawn(1, plain.init, 3)
    for size in (0.1, 1.0, 1e4):
        _, output = plain.step(params, (), jnp.full((3,), size))
        _, found = bounded.step(params, (), jnp.full((3,), size))
        expected = output / jnp.sqrt(jnp.mean(output**2) + 1e-6)
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert float(jnp.mean(found**2)) <= 1


def test_a_random_write_kernel_mixes_keys_and_keeps_labels(key):
    width, keys = 8, 5
    kernel = kernels.make_random_write_kernel(keys)(key, (width + 2, width))
    matched = kernels.make_write_kernel(keys)(key, (width + 2, width))
    np.testing.assert_array_equal(kernel[width:], matched[width:])
    np.testing.assert_array_equal(kernel[:width, keys:], 0.0)
    np.testing.assert_array_equal(kernel[keys:width], 0.0)
    assert jnp.all(kernel[:keys, :keys] != 0)
    wide = kernels.make_random_write_kernel(80)(key, (100, 100))
    outputs = normal(1, 50, 100) @ wide
    assert float(jnp.std(outputs[:, :80])) == pytest.approx(1, rel=0.1)
