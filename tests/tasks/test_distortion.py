"""Distortions against SciPy, and within their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from nmn_jax.tasks import distortion
from nmn_jax.tasks.distortion import Limits

SIDE = 9
ALL = Limits(rotate=20.0, stretch=0.2, shear=0.3, shift=1.5, stroke=0.4)


def noise(*shape):
    draw = np.random.default_rng(4)
    return jnp.asarray(draw.uniform(0, 1, shape), jnp.float32)


def test_no_limits_change_nothing():
    images = noise(3, 2, SIDE, SIDE)
    distort = distortion.make_distort(Limits())
    np.testing.assert_array_equal(distort(jax.random.key(0), images), images)


def test_an_image_is_seen_through_its_matrix_as_scipy_does():
    image, amounts = noise(SIDE, SIDE), jnp.array([0.5, -1.0, 0.25, 0.7])
    shift = jnp.array([0.8, -1.3])
    matrix = np.asarray(distortion.matrix(ALL, amounts))
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, 0], [0.21, 1]])
    by_hand = turn @ slant @ np.diag(np.exp([-0.2, 0.05]))
    np.testing.assert_allclose(matrix, by_hand, rtol=1e-6)
    middle = np.full(2, (SIDE - 1) / 2)
    found = distortion.move(image, jnp.asarray(matrix), shift)
    expected = ndimage.affine_transform(
        np.pad(image, 3), matrix, middle + 3 - matrix @ (middle + 3) + shift, order=1
    )[3:-3, 3:-3]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("amount", "filtered"), [
    (0.4, ndimage.maximum_filter), (-0.25, ndimage.minimum_filter),
])  # fmt: skip
def test_a_line_goes_part_of_the_way_to_its_neighbours(amount, filtered):
    image = noise(SIDE, SIDE)
    found = distortion.redraw(image, jnp.asarray(amount))
    far = filtered(image, 3, mode="nearest")
    np.testing.assert_allclose(found, image + abs(amount) * (far - image), rtol=1e-6)


def test_every_image_is_moved_on_its_own_and_no_farther_than_told():
    image = jnp.zeros((SIDE, SIDE)).at[4, 4].set(1)
    distort = jax.jit(distortion.make_distort(Limits(shift=1.5)))
    found = np.asarray(distort(jax.random.key(1), jnp.stack([image] * 400)))
    places = np.stack(np.mgrid[:SIDE, :SIDE], -1).reshape(-1, 2)
    moved = found.reshape(400, -1) @ places - 4
    np.testing.assert_allclose(found.sum((1, 2)), 1, rtol=1e-5)
    assert len(np.unique(moved[:, 0].round(4))) > 390
    assert np.all(abs(moved) < 1.5 + 1e-5)
    # Uniform on both sides: the ends are reached, the mean is nowhere near them.
    assert moved.min(0).max() < -1.4 and moved.max(0).min() > 1.4
    assert np.all(abs(moved.mean(0)) < 0.15)
    again = distort(jax.random.key(1), jnp.stack([image] * 400))
    np.testing.assert_array_equal(found, again)
    other = distort(jax.random.key(2), jnp.stack([image] * 400))
    assert np.any(np.asarray(other) != found)


@pytest.mark.parametrize("name", Limits._fields)
def test_every_limit_has_an_effect_and_none_is_below_zero(name):
    images = noise(2, SIDE, SIDE)
    distort = distortion.make_distort(Limits(**{name: 0.5}))
    found = np.asarray(distort(jax.random.key(0), images))
    assert np.all(abs(found - images).max((1, 2)) > 1e-3)
    assert found.min() >= 0 and found.max() <= 1
    with pytest.raises(ValueError, match="no limit may be below 0"):
        distortion.make_distort(Limits(**{name: -0.5}))
