import functools
import itertools

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from nmn_jax.data import episodes

CLASSES, DRAWERS = 30, 9
WAYS, SHOTS, QUERIES = 5, 2, 3


@pytest.fixture(scope="module")
def images():
    """Images whose first two pixels are the numbers of class and drawer."""
    data = np.zeros((CLASSES, DRAWERS, 2, 2), np.uint8)
    data[..., 0, 0] = np.arange(CLASSES)[:, None]
    data[..., 0, 1] = np.arange(DRAWERS)
    return data


@pytest.fixture(scope="module")
def draw():
    counts = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES}
    return jax.jit(functools.partial(episodes.sample, episodes=64, **counts))


@pytest.fixture(scope="module")
def batch(draw, images):
    return jax.tree.map(np.asarray, draw(jax.random.key(0), images))


def numbers(pictures):
    """Class and drawer of every image."""
    pixels = np.rint(np.asarray(pictures) * 255).astype(int)
    return pixels[..., 0, 0], pixels[..., 0, 1]


def test_shapes_and_types(batch):
    assert batch.support_images.shape == (64, WAYS * SHOTS, 2, 2)
    assert batch.query_images.shape == (64, WAYS * QUERIES, 2, 2)
    assert batch.support_images.dtype == batch.query_images.dtype == np.float32
    assert batch.support_labels.dtype == batch.query_labels.dtype == np.int32


def test_labels_are_balanced_and_name_one_class_each(batch):
    for pictures, labels, count in (
        (batch.support_images, batch.support_labels, SHOTS),
        (batch.query_images, batch.query_labels, QUERIES),
    ):
        assert (np.sort(labels) == np.repeat(np.arange(WAYS), count)).all()
        classes, _ = numbers(pictures)
        for own, label in zip(classes, labels, strict=True):
            assert len(set(zip(own, label, strict=True))) == len(set(own)) == WAYS


def test_supports_and_queries_agree_on_labels(batch):
    supports, _ = numbers(batch.support_images)
    queries, _ = numbers(batch.query_images)
    for s, sl, q, ql in zip(
        supports, batch.support_labels, queries, batch.query_labels, strict=True
    ):
        assert dict(zip(sl, s, strict=True)) == dict(zip(ql, q, strict=True))


def test_no_drawing_occurs_twice_in_an_episode(batch):
    pictures = np.concatenate([batch.support_images, batch.query_images], axis=1)
    for own in zip(*numbers(pictures), strict=True):
        drawings = set(zip(*own, strict=True))
        assert len(drawings) == WAYS * (SHOTS + QUERIES)


def test_orders_are_shuffled(batch):
    assert len({tuple(labels) for labels in batch.support_labels}) > 60
    assert len({tuple(labels) for labels in batch.query_labels}) > 60


def test_all_classes_and_drawers_are_drawn_about_equally(draw, images):
    drawn = [draw(key, images) for key in jax.random.split(jax.random.key(1), 20)]
    classes, drawers = numbers(np.concatenate([b.query_images for b in drawn]))
    for found, size in ((classes, CLASSES), (drawers, DRAWERS)):
        counts = np.bincount(found.ravel(), minlength=size)
        # a class brings QUERIES images at once: the spread is at most that of
        # counts.sum() / QUERIES independent draws, scaled
        expected = found.size / size
        assert abs(counts - expected).max() < 5 * np.sqrt(QUERIES * expected)


def test_every_assignment_of_labels_is_equally_likely(images):
    draw = jax.jit(
        functools.partial(episodes.sample, episodes=6000, ways=3, shots=1, queries=1)
    )
    batch = draw(jax.random.key(2), images[:3])
    classes, _ = numbers(batch.query_images)
    order = np.argsort(np.asarray(batch.query_labels), axis=1)
    assigned = np.take_along_axis(classes, order, axis=1)  # class of label 0, 1, 2
    counts = [
        (assigned == permutation).all(1).sum()
        for permutation in itertools.permutations(range(3))
    ]
    assert sum(counts) == 6000
    assert abs(np.array(counts) - 1000).max() < 5 * np.sqrt(1000 * 5 / 6)


def test_distinct_is_uniform_over_ordered_pairs():
    bits = jax.random.bits(jax.random.key(3), (20_000, 2, 2))
    pairs = jax.jit(jax.vmap(lambda own: episodes.distinct(own, 5)))(bits)
    counts = np.zeros((5, 5), int)
    np.add.at(counts, tuple(np.asarray(pairs).T), 1)
    assert (counts.diagonal() == 0).all()
    others = counts[~np.eye(5, dtype=bool)]
    assert abs(others - 1000).max() < 5 * np.sqrt(1000 * 0.95)


def test_distinct_can_take_all():
    drawn = episodes.distinct(jax.random.bits(jax.random.key(4), (2, 7)), 7)
    assert sorted(drawn.tolist()) == list(range(7))


def test_many_devices_draw_the_same_episodes(draw, images, batch):
    count = jax.device_count()
    assert count > 1, "the tests need several (fake) devices"
    mesh = jax.make_mesh(
        (count,), ("episode",), axis_types=(jax.sharding.AxisType.Auto,)
    )
    shared, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("episode"))
    many = jax.jit(draw, in_shardings=(shared, shared), out_shardings=split)
    found = many(jax.random.key(0), images)
    assert len(found.query_images.sharding.device_set) == count
    for one, other in zip(batch, found, strict=True):
        np.testing.assert_array_equal(one, np.asarray(other))


def test_fixed_episodes_do_not_depend_on_the_batch(images):
    counts = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES}
    draw = jax.jit(functools.partial(episodes.sample_each, **counts))
    keys = episodes.fixed_keys(7, 12)
    whole = draw(keys, images)
    parts = [draw(keys[:8], images), draw(keys[8:], images)]
    for one, *others in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(one, np.concatenate(others))
    series = jax.random.key_data(keys)
    np.testing.assert_array_equal(
        series[:5], jax.random.key_data(episodes.fixed_keys(7, 5))
    )
    assert len(np.unique(series, axis=0)) == 12


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"ways": 31, "shots": 1, "queries": 1}, "30 classes"),
        ({"ways": 5, "shots": 5, "queries": 5}, "need 10 drawings .* have 9"),
        ({"ways": 5, "shots": 0, "queries": 1}, "at least 1"),
    ],
)
def test_impossible_counts_are_refused(images, counts, message):
    with pytest.raises(ValueError, match=message):
        episodes.sample(jax.random.key(0), images, episodes=2, **counts)
