"""Leaf networks: the encoder against a plain formulation, shapes, and errors."""

from __future__ import annotations

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmn_jax import nets


def plain_encoder(params, images, *, supports, norm):
    """The encoder as one would write it: two-pass batch norm before the pooling."""
    episodes, count = images.shape[:2]
    features = images.reshape(-1, *images.shape[2:], 1)
    for block in params:
        values = jax.lax.conv_general_dilated(
            features, block.kernel, (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        values = values.reshape(episodes, count, *values.shape[1:])
        counted = {"support": values[:, :supports]}.get(norm, values)
        axes = (0, 1, 2, 3) if norm == "running" else (1, 2, 3)
        mean = counted.mean(axes, keepdims=True)
        variance = jnp.square(counted - mean).mean(axes, keepdims=True)
        values = (values - mean) / jnp.sqrt(variance + nets.encoder.EPSILON)
        values = jax.nn.relu(values * block.gain[(None,) * 4] + block.bias[(None,) * 4])
        features = jax.lax.reduce_window(
            values.reshape(-1, *values.shape[2:]), -jnp.inf, jax.lax.max,
            (1, 2, 2, 1), (1, 2, 2, 1), "VALID",
        )  # fmt: skip
    return features.reshape(episodes, count, -1)


def example(seed=0, *, episodes=2, count=5, side=14, channels=6, **options):
    """An encoder with random gains of both signs, and images mostly blank."""
    encoder = nets.make_conv_encoder(
        channels=channels, layers=2, image_shape=(side, side), **options
    )
    keys = jax.random.split(jax.random.key(seed), 4)
    params, stats = encoder.init(keys[0])
    params = tuple(
        block._replace(
            gain=jax.random.normal(key, block.gain.shape),
            bias=0.1 * jax.random.normal(key, block.bias.shape),
        )
        for block, key in zip(params, keys[1:], strict=False)
    )
    images = jax.random.uniform(keys[3], (episodes, count, side, side))
    return encoder, params, stats, jnp.maximum(images - 0.8, 0) * 5


@pytest.mark.parametrize(
    ("norm", "formulation"),
    [
        ("support", "tiled"), ("support", "direct"),
        ("batch", "direct"), ("running", "direct"),
    ],
)  # fmt: skip
def test_encoder_equals_the_plain_formulation(norm, formulation):
    with jax.enable_x64(True):
        encoder, params, stats, images = example(
            norm=norm, formulation=nets.encoder.FORMULATIONS["float32"][formulation]
        )
        weights = jax.random.normal(jax.random.key(9), (2, 5, encoder.width))

        def loss(params):
            features, _ = encoder.apply(
                params, stats, images, supports=3, phase="train"
            )
            return (features * weights).sum()

        def plain(params):
            features = plain_encoder(params, images, supports=3, norm=norm)
            return (features * weights).sum()

        value, grads = jax.jit(jax.value_and_grad(loss))(params)
        expected, expected_grads = jax.jit(jax.value_and_grad(plain))(params)
        assert value.dtype == jnp.float64
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        chex.assert_trees_all_close(grads, expected_grads, rtol=1e-9, atol=1e-9)


def test_support_statistics_ignore_the_queries():
    encoder, params, stats, images = example(norm="support")
    changed = images.at[:, 3:].multiply(0.5)
    first, _ = encoder.apply(params, stats, images, supports=3, phase="test")
    second, _ = encoder.apply(params, stats, changed, supports=3, phase="test")
    np.testing.assert_array_equal(first[:, :3], second[:, :3])
    assert not np.allclose(first[:, 3:], second[:, 3:])


@pytest.mark.parametrize("norm", ("support", "batch"))
def test_episodes_do_not_touch_each_other(norm):
    encoder, params, stats, images = example(norm=norm)
    both, _ = encoder.apply(params, stats, images, supports=3, phase="train")
    alone, _ = encoder.apply(params, stats, images[1:], supports=3, phase="train")
    np.testing.assert_allclose(both[1:], alone, rtol=1e-5, atol=1e-5)


def test_running_statistics_approach_those_of_the_batch():
    encoder, params, stats, images = example(norm="running", momentum=0.5)
    trained, _ = encoder.apply(params, stats, images, supports=3, phase="train")
    for _ in range(40):
        _, stats = encoder.apply(params, stats, images, supports=3, phase="train")
    tested, kept = encoder.apply(params, stats, images, supports=3, phase="test")
    np.testing.assert_allclose(tested, trained, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_equal(kept, stats)


def test_running_statistics_are_those_of_the_unsigned_convolution():
    encoder, params, stats, images = example(norm="running", momentum=0.0)
    _, stats = encoder.apply(params, stats, images, supports=3, phase="train")
    values = jax.lax.conv_general_dilated(
        images.reshape(-1, 14, 14, 1), params[0].kernel, (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    np.testing.assert_allclose(stats[0].mean, values.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(stats[0].variance, values.var((0, 1, 2)), rtol=1e-4)


def test_a_blank_image_set_has_finite_features_and_gradients():
    encoder, params, stats, images = example()
    blank = jnp.zeros_like(images)

    def loss(params):
        return encoder.apply(params, stats, blank, supports=3, phase="train")[0].sum()

    chex.assert_tree_all_finite(jax.value_and_grad(loss)(params))


def test_the_paper_encoder_has_576_features():
    encoder = nets.make_conv_encoder()
    params, stats = jax.eval_shape(encoder.init, jax.random.key(0))
    assert encoder.width == 576 and stats == ()
    assert [block.kernel.shape for block in params] == [
        (3, 3, 1, 64), (3, 3, 64, 64), (3, 3, 64, 64),
    ]  # fmt: skip


# inspect.unwrap: where annotations are enforced, they would refuse first
def test_encoder_errors_name_what_was_given():
    with pytest.raises(ValueError, match="norm is 'layer'"):
        inspect.unwrap(nets.make_conv_encoder)(norm="layer")
    with pytest.raises(ValueError, match="precision is 'float16'; .* bfloat16"):
        inspect.unwrap(nets.make_conv_encoder)(precision="float16")
    with pytest.raises(ValueError, match="5 poolings"):
        nets.make_conv_encoder(layers=5)
    encoder, params, stats, images = example()
    apply = inspect.unwrap(encoder.apply)
    with pytest.raises(ValueError, match="made for"):
        encoder.init(jax.random.key(0), (28, 28))
    with pytest.raises(ValueError, match="supports is 6"):
        apply(params, stats, images, supports=6, phase="train")
    with pytest.raises(ValueError, match="phase is 'fit'"):
        apply(params, stats, images, supports=3, phase="fit")
    with pytest.raises(ValueError, match="inputs have shape"):
        apply(params, stats, images[0], supports=3, phase="train")


def test_lstm_equals_its_equations():
    cell = nets.make_lstm(4)
    params = cell.init(jax.random.key(0), 3)
    state, inputs = (jnp.full((4,), 0.5), jnp.arange(4.0)), jnp.array([1.0, -2.0, 0.5])

    def gate(name):
        hidden = params["h" + name]
        kernel = params["i" + name]["kernel"]
        return inputs @ kernel + state[1] @ hidden["kernel"] + hidden["bias"]

    sigmoid = jax.nn.sigmoid
    memory = sigmoid(gate("f")) * state[0] + sigmoid(gate("i")) * jnp.tanh(gate("g"))
    (carry, _), output = cell.apply(params, state, inputs)
    np.testing.assert_allclose(carry, memory, rtol=1e-5)
    np.testing.assert_allclose(
        output, sigmoid(gate("o")) * jnp.tanh(memory), rtol=1e-5, atol=1e-6
    )
    chex.assert_trees_all_equal(cell.carry(), (jnp.zeros(4), jnp.zeros(4)))


def test_dense_by_hand():
    dense = nets.make_dense(2, kernel_init=jax.nn.initializers.ones)
    params = dense.init(jax.random.key(0), 3)
    output = dense.apply(params, jnp.ones((4, 3)))
    np.testing.assert_array_equal(output, jnp.full((4, 2), 3))
