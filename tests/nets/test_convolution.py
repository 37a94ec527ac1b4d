"""The CPU formulations of a convolution against the compiler's, and their parts."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nmn_jax import nets
from nmn_jax.nets import convolution, tiled, windows, winograd

OURS = {
    "tiled": tiled.tiled,
    "windows": partial(windows.windows, products=jnp.float64),
}


@pytest.fixture(autouse=True)
def exact():
    """Formulations differ by rounding only, so float64 tells them from errors."""
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def example(channels):
    """Images of one odd and one even side, a kernel, and cotangents of all results."""
    inputs, kernel = normal(0, 2, 6, 7, 10, channels), normal(1, 3, 3, channels, 5)
    results = jax.eval_shape(convolution.direct, inputs, kernel)
    cotangents = [normal(2 + i, *each.shape) for i, each in enumerate(results)]
    return inputs, kernel, convolution.Pooled(*cotangents)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("channels", (1, 3))
def test_ours_equals_the_compilers_convolution(ours, channels, monkeypatch):
    monkeypatch.setattr(convolution, "IMAGES_AT_ONCE", 4)
    monkeypatch.setattr(windows, "IMAGES_AT_ONCE", 4)
    inputs, kernel, cotangents = example(channels)

    def both(formulation):
        values, pull = jax.vjp(formulation, inputs, kernel)
        return values, pull(cotangents)

    given = jax.jit(both, static_argnums=0)(OURS[ours])
    expected = jax.jit(both, static_argnums=0)(convolution.direct)
    for one, other in zip(
        jax.tree.leaves(given), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("channels", (1, 2))
def test_second_order_gradients(ours, channels):
    inputs, kernel = normal(0, 1, 2, 4, 4, channels), normal(1, 3, 3, channels, 2)

    def penalty(kernel, formulation):
        def loss(kernel):
            pooled = formulation(inputs, kernel)
            return (pooled.maximum**3).sum() + (pooled.squares**2).sum()

        return jnp.square(jax.grad(loss)(kernel)).sum()

    given = jax.jit(jax.grad(penalty), static_argnums=1)(kernel, OURS[ours])
    expected = jax.jit(jax.grad(penalty), static_argnums=1)(kernel, convolution.direct)
    np.testing.assert_allclose(given, expected, rtol=1e-9)


def test_equal_values_have_one_winner():
    """A blank image, where all four values of a window are equal."""
    index = tiled.first_largest([jnp.zeros(3), jnp.array([0.0, 1, 1]), jnp.ones(3)])
    np.testing.assert_array_equal(index, [2, 1, 1])
    kernel = jnp.ones((3, 3, 1, 1))
    pull = jax.vjp(tiled.tiled, jnp.zeros((1, 1, 4, 4, 1)), kernel)[1]
    none = jnp.zeros((1, 1, 1))
    given = convolution.Pooled(jnp.ones((1, 1, 2, 2, 1)), none, none)
    np.testing.assert_array_equal(pull(given)[1], jnp.zeros_like(kernel))


def test_over_images_keeps_the_order_and_adds_up(monkeypatch):
    monkeypatch.setattr(convolution, "IMAGES_AT_ONCE", 3)
    values = jnp.arange(2 * 6.0).reshape(2, 6)
    doubled, total = convolution.over_images(lambda v: (2 * v, v.sum()), values)
    np.testing.assert_array_equal(doubled, 2 * values)
    assert total == values.sum()


def test_cut_and_paste_are_adjoint():
    inputs, tiles = normal(0, 2, 5, 6, 3), normal(1, 4, 4, 2, 3, 3, 3)
    given = winograd.cut(inputs)
    left = sum((given[i][j] * tiles[i, j]).sum() for i in range(4) for j in range(4))
    pasted = winograd.paste([list(row) for row in tiles], 5, 6)
    np.testing.assert_allclose(left, (inputs * pasted).sum(), rtol=1e-12)


def test_kernel_transforms_are_adjoint():
    kernel, kernels = normal(0, 3, 3, 2, 3), normal(1, 4, 4, 2, 3)
    left = (winograd.transform_kernel(kernel) * kernels).sum()
    right = (kernel * winograd.restore_kernel(kernels)).sum()
    np.testing.assert_allclose(left, right, rtol=1e-12)


@pytest.mark.parametrize("ours", OURS)
def test_encoder_is_the_same_on_eight_devices(ours):
    encoder = nets.make_conv_encoder(
        channels=4, layers=2, image_shape=(8, 8), formulation=OURS[ours]
    )
    params, stats = encoder.init(jax.random.key(0))
    images = jnp.abs(normal(1, 8, 4, 8, 8))

    def loss(params, images):
        features, _ = encoder.apply(params, stats, images, supports=2, phase="train")
        return jnp.square(features).mean()

    step = jax.jit(jax.value_and_grad(loss))
    mesh = Mesh(np.array(jax.devices()), ("episode",))
    spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("episode")))
    for one, other in zip(
        jax.tree.leaves(step(params, images)),
        jax.tree.leaves(step(params, spread)),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
