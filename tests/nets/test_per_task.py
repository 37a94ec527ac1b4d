"""Convolutions with a kernel per task against one convolution after the other."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax import nets
from nmn_jax.nets import bilinear, convolution, per_task

TASKS, IMAGES, OUTPUTS = 4, 2, 3
# Odd and even sides, and one that is small enough for the other maps.
SHAPES = ((1, 5, 6), (2, 5, 6), (2, 3, 3))


@pytest.fixture(autouse=True)
def exact():
    """Formulations differ by rounding only, so float64 tells them from errors."""
    with jax.enable_x64(True):
        yield


def reference(images, kernels):
    """The compiler's convolution of one task after the other."""
    each = [
        convolution.direct(i[None], k) for i, k in zip(images, kernels, strict=True)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *each)


def example(shape):
    channels, height, width = shape
    images = tiny.normal(0, TASKS, IMAGES, height, width, channels)
    return images, tiny.normal(1, TASKS, 3, 3, channels, OUTPUTS)


def loss(formulation, images, kernels):
    """A number to which everything of the result contributes, in its own way."""
    pooled = formulation(images, kernels)
    weights = jnp.cos(jnp.arange(pooled.maximum.size).reshape(pooled.maximum.shape))
    return sum(
        jnp.sum(part)
        for part in (pooled.maximum**3 * weights, pooled.total**3, pooled.squares**2)
    )


def orders(formulation, images, kernels):
    """The result, its gradients, and the gradient of an inner step's loss."""
    whole = functools.partial(loss, formulation)

    def after_a_step(images, kernels):
        return whole(images, kernels - 1e-4 * jax.grad(whole, 1)(images, kernels))

    both = (0, 1)
    return (
        formulation(images, kernels),
        jax.grad(whole, both)(images, kernels),
        jax.grad(after_a_step, both)(images, kernels),
    )


@functools.cache
def expected(shape):
    with jax.enable_x64(True):
        return tiny.jit(functools.partial(orders, reference))(*example(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(per_task.FORMULATIONS))
def test_every_formulation_is_the_convolution_to_second_order(name, shape):
    formulation = per_task.FORMULATIONS[name]
    found = tiny.jit(functools.partial(orders, formulation))(*example(shape))
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected(shape)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(per_task.MAPS))
def test_transpose_and_correlate_are_adjoints_of_convolve(name):
    """On images of odd sides, whose windows reach beyond them."""
    images, kernels = example((2, 5, 3))
    family = per_task.over_tasks(per_task.MAPS[name], per_task.side_by_side, (5, 3))
    maps = bilinear.Family(*map(tiny.jit, family))
    windows = maps.apply(images, kernels, ())
    given = [tiny.normal(2 + n, *each.shape) for n, each in enumerate(windows)]
    # Whatever is said of positions beyond the image says nothing.
    inside = [
        jnp.where(each == 0, 0, g) for each, g in zip(windows, given, strict=True)
    ]
    value = sum(jnp.vdot(a, b) for a, b in zip(windows, inside, strict=True))
    for cotangent in (tuple(given), tuple(inside)):
        left = jnp.vdot(images, maps.left(cotangent, kernels, ()))
        right = jnp.vdot(kernels, maps.right(images, cotangent, ()))
        np.testing.assert_allclose([left, right], [value] * 2, rtol=1e-10)


def test_equal_values_have_one_winner():
    """A blank image: the gradient of a maximum goes to one position, the first."""
    images = jnp.zeros((1, 1, 4, 4, 1))
    for channels in (1, 2):
        blank = jnp.broadcast_to(images, (1, 1, 4, 4, channels))
        kernels = jnp.ones((1, 3, 3, channels, 1))
        slope = jax.grad(
            lambda at, k: per_task.FORMULATIONS["winograd"](at, k).maximum[
                0, 0, 1, 1, 0
            ]
        )
        found = tiny.jit(slope)(blank, kernels)[0, 0, :, :, 0]
        window = np.zeros((4, 4))
        window[1:4, 1:4] = 1
        np.testing.assert_allclose(found, window, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_groups_keep_the_order_of_tasks(size):
    values = tiny.normal(0, 4, 3)
    found = per_task.in_groups(
        lambda one, two: (one * two.sum(), one[0]), values, values + 1, size=size
    )
    np.testing.assert_allclose(found[0], values * (values + 1).sum(1)[:, None])
    np.testing.assert_allclose(found[1], values[:, 0])


def test_a_closed_family_has_derivatives_of_third_order():
    plain = bilinear.Family(
        lambda a, b, given: given * (a @ b),
        lambda c, b, given: given * (c @ b.T),
        lambda a, c, given: given * (a.T @ c),
    )
    closed = bilinear.close(plain)
    a, b, scale = tiny.normal(0, 2, 3), tiny.normal(1, 3, 2), jnp.asarray(0.7)

    def third(apply):
        """For both arguments, so that all three maps are differentiated thrice."""

        def squared(function):
            slope = jax.grad(function, (0, 1))
            return lambda a, b: sum(jnp.sum(each**2) for each in slope(a, b))

        once = lambda a, b: jnp.sum(jnp.sin(apply(a, b, scale)))  # noqa: E731
        return jax.grad(squared(squared(once)), (0, 1))(a, b)

    found, expected = (tiny.jit(lambda f=f: third(f.apply))() for f in (closed, plain))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    # What decides the map has no gradient.
    pull = jax.grad(lambda given: jnp.sum(closed.apply(a, b, given)))(scale)
    assert pull == 0


def test_an_encoder_of_tasks_is_one_encoder_each():
    """With the sign of the gain, which turns normalisation into a decreasing map."""
    shared = nets.make_conv_encoder(
        channels=2, layers=2, image_shape=(6, 6), formulation=convolution.direct
    )
    tasks = nets.make_conv_encoder(
        channels=2, layers=2, image_shape=(6, 6),
        formulation=per_task.FORMULATIONS["winograd"],
    )  # fmt: skip
    shapes = jax.eval_shape(lambda key: shared.init(key)[0], jax.random.key(0))
    each = [tiny.filled(seed, shapes, 1.0) for seed in range(3)]
    images = tiny.normal(5, 3, 4, 6, 6)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    asked = {"supports": 3, "phase": "train"}
    found, _ = tiny.jit(functools.partial(tasks.apply, **asked))(stacked, (), images)
    for task in range(3):
        alone, _ = shared.apply(each[task], (), images[task : task + 1], **asked)
        np.testing.assert_allclose(found[task], alone[0], rtol=1e-9)
