"""Distortions against SciPy, and within their limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from tiny import jit

from nmn_jax.tasks import distortion
from nmn_jax.tasks.distortion import Limits

SIDE = 9
show = jit(distortion.show)
ALL = Limits(rotate=20.0, stretch=0.2, shear=0.3, shift=1.5, stroke=0.4)


def noise(*shape):
    draw = np.random.default_rng(4)
    return jnp.asarray(draw.uniform(0, 1, shape), jnp.float32)


def test_no_limits_change_nothing():
    images = noise(3, 2, SIDE, SIDE)
    distort = jit(distortion.make_distort(Limits()))
    np.testing.assert_array_equal(distort(jax.random.key(0), images), images)


def test_an_image_is_seen_through_its_matrix_as_scipy_does():
    image = noise(SIDE, SIDE)
    amounts = jnp.zeros(distortion.AMOUNTS)
    amounts = amounts.at[:6].set(jnp.array([0.5, -1, 0.25, 0.7, 0.8, -0.9]))
    view = distortion.view(ALL, amounts)
    angle = np.deg2rad(10)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1, 0], [0.21, 1]])
    matrix = turn @ slant @ np.diag(np.exp([-0.2, 0.05]))
    np.testing.assert_allclose(view.matrix, matrix, rtol=1e-6)
    found = show(image, view)
    middle, shift = np.full(2, (SIDE - 1) / 2 + 3), np.array([1.2, -1.35])
    expected = ndimage.affine_transform(
        np.pad(image, 3), matrix, middle - matrix @ middle + shift, order=1
    )[3:-3, 3:-3]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_bend_moves_places_by_waves_that_end_at_the_border():
    rows, columns, limits = 10, 8, Limits(bend=3.0)
    amounts = jax.random.uniform(jax.random.key(6), (distortion.AMOUNTS,), minval=-1.0)
    view = distortion.view(limits, amounts)
    down = np.array([-5.0, -4.5, 0.0, 2.3, 5.0])
    across = np.array([-4.0, 1.0, 3.5, 4.0])
    places = jnp.asarray(np.stack(np.meshgrid(down, across, indexing="ij")))
    found = distortion.through(view, places, (rows, columns))
    drawn = np.asarray(amounts[8:]).reshape(2, 3, 3)
    for at, (y, x) in np.ndenumerate(
        np.rec.fromarrays(np.meshgrid(down, across, indexing="ij"))
    ):
        moved = [
            sum(
                3.0 * drawn[axis, i - 1, j - 1] * 2 / (i**2 + j**2)
                * np.sin(np.pi * i * (y / rows + 0.5))
                * np.sin(np.pi * j * (x / columns + 0.5))
                for i in (1, 2, 3) for j in (1, 2, 3)
            )
            for axis in (0, 1)
        ]  # fmt: skip
        np.testing.assert_allclose(found[:, *at], np.array([y, x]) + moved, atol=1e-5)
        if abs(y) == rows / 2 or abs(x) == columns / 2:
            np.testing.assert_allclose(moved, 0, atol=1e-6)


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
    distort = jit(distortion.make_distort(Limits(shift=1.5)))
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


def test_the_share_told_is_mirrored():
    image = noise(SIDE, SIDE)
    distort = jit(distortion.make_distort(Limits(mirror=0.3)))
    found = np.asarray(distort(jax.random.key(1), jnp.stack([image] * 1000)))
    plain, mirrored = (
        np.isclose(found, each, atol=1e-6).all((1, 2))
        for each in (image, image[:, ::-1])
    )
    assert np.all(plain ^ mirrored)
    assert 0.25 < mirrored.mean() < 0.35


def test_a_character_is_changed_alike_and_then_each_of_its_images():
    # A smooth image: two interpolations are then one, nearly.
    side, key = 33, jax.random.key(2)
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    image = np.exp(-((rows - 2) ** 2 + rows * columns / 3 + 2 * columns**2) / 60)
    image = jnp.asarray(image, jnp.float32)
    images = Limits(rotate=10.0, stretch=0.1, shift=2.0, bend=2.0)
    characters = Limits(rotate=40.0, shear=0.3, mirror=0.5, bend=4.0)
    recast = jit(distortion.make_recast(images, characters))
    labels = jnp.array([0, 1, 0, 2])
    found = recast(key, jnp.stack([image] * 4), labels)
    own, shared = jax.random.split(key)
    drawn = jax.random.uniform(own, (4, distortion.AMOUNTS), minval=-1.0)
    for place, label in enumerate(labels):
        alike = jax.random.uniform(
            jax.random.fold_in(shared, label), (distortion.AMOUNTS,), minval=-1.0
        )
        character = show(image, distortion.view(characters, alike))
        expected = show(character, distortion.view(images, drawn[place]))
        np.testing.assert_allclose(found[place], expected, atol=0.02)
        assert np.abs(found[place] - character).max() > 0.05
        assert np.abs(character - image).max() > 0.05


def test_without_changes_of_their_own_all_images_of_a_character_are_alike():
    image, labels = noise(SIDE, SIDE), jnp.array([3, 0, 3, 3, 1])
    recast = jit(distortion.make_recast(Limits(), ALL._replace(mirror=0.5)))
    found = np.asarray(recast(jax.random.key(0), jnp.stack([image] * 5), labels))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[0], found[3])
    assert np.abs(found[0] - found[1]).max() > 0.1 < np.abs(found[0] - found[4]).max()
    again = np.asarray(recast(jax.random.key(1), jnp.stack([image] * 5), labels))
    assert np.abs(found[0] - again[0]).max() > 0.1


def test_thickness_of_a_character_and_of_an_image_add_up():
    image, labels = noise(SIDE, SIDE), jnp.array([0])
    key = jax.random.key(3)
    own, shared = jax.random.split(key)
    common = jax.random.fold_in(shared, 0)
    total = sum(
        limit * jax.random.uniform(each, (distortion.AMOUNTS,), minval=-1.0)[6]
        for limit, each in ((0.1, own), (0.3, common))
    )
    recast = jit(distortion.make_recast(Limits(stroke=0.1), Limits(stroke=0.3)))
    expected = distortion.redraw(image, total)
    np.testing.assert_allclose(recast(key, image[None], labels)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("name", Limits._fields)
def test_every_limit_has_an_effect_and_none_is_below_zero(name):
    images = noise(2, SIDE, SIDE)
    limit = 1.0 if name == "mirror" else 0.5
    distort = jit(distortion.make_distort(Limits(**{name: limit})))
    found = np.asarray(distort(jax.random.key(0), images))
    assert np.all(abs(found - images).max((1, 2)) > 1e-3)
    assert found.min() >= 0 and found.max() <= 1
    with pytest.raises(ValueError, match="no limit may be below 0"):
        distortion.make_distort(Limits(**{name: -0.5}))


def test_not_more_than_all_can_be_mirrored():
    for make in (
        distortion.make_distort,
        lambda limits: distortion.make_recast(limits, Limits()),
        lambda limits: distortion.make_recast(Limits(), limits),
    ):
        with pytest.raises(ValueError, match="at most 1"):
            make(Limits(mirror=1.1))
        with pytest.raises(ValueError, match="below 0"):
            make(Limits(shift=-0.1))
