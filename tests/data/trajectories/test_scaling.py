import numpy as np
import pytest

from nmn_jax.data.trajectories import cutting, records, scaling


@pytest.fixture
def two_places(make_tracks):
    """Windows of 4 points: five at one location, five at another, one elsewhere."""
    random = np.random.default_rng(0)

    def place(name, count, centre, size):
        frames = np.arange(4)
        walks = [
            (frames, random.uniform(-1, 1, (4, 2)) * size + centre)
            for _ in range(count)
        ]
        return make_tracks(*walks, recording=f"{name}_0")

    return cutting.windows(
        records.concatenate(
            [
                place("east", 5, [50, -20], [10, 30]),
                place("west", 5, [-400, 3], [5, 2]),
                place("moon", 1, [1000, 1000], [9, 9]),
            ]
        ),
        2,
        2,
    )


def test_every_location_fills_the_unit_square(two_places):
    train = two_places.take(np.array([0, 1, 2, 5, 6, 7]))
    frame = scaling.frame(scaling.fit(train), two_places)
    scaled = frame.scaled(two_places.xy)
    for name, own in (("east", [0, 1, 2]), ("west", [5, 6, 7])):
        place = train.xy[train.locations == name].reshape(-1, 2)
        low, high = place.min(0), place.max(0)
        expected = (two_places.xy[own] - low) / (high - low) - 0.5
        np.testing.assert_allclose(scaled[own], expected, atol=1e-12)
        np.testing.assert_allclose(scaled[own].min((0, 1)), -0.5)
        np.testing.assert_allclose(scaled[own].max((0, 1)), 0.5)
    assert np.abs(scaled[[3, 4, 8, 9]]).max() > 0.5  # these had no say


def test_one_extent_for_all(two_places):
    train = two_places.take(np.arange(10))
    frame = scaling.frame(scaling.fit(train, "global"), two_places)
    scaled = frame.scaled(two_places.xy)[:10]
    np.testing.assert_allclose(scaled.min((0, 1)), -0.5)
    np.testing.assert_allclose(scaled.max((0, 1)), 0.5)
    assert len(np.unique(frame.size, axis=0)) == 1


def test_a_location_without_training_data_is_scaled_like_the_whole(two_places):
    scale = scaling.fit(two_places.take(np.arange(10)))
    whole = scaling.fit(two_places.take(np.arange(10)), "global")
    assert (
        scaling.unseen(scale, two_places) == 1
        and scaling.unseen(whole, two_places) == 0
    )
    np.testing.assert_array_equal(
        scaling.frame(scale, two_places).size[10],
        scaling.frame(whole, two_places).size[10],
    )


def test_the_future_has_no_say_in_the_scale_of_a_track(two_places):
    scale = scaling.fit(two_places, "per_track")
    frame = scaling.frame(scale, two_places)
    seen = frame.scaled(two_places.xy)[:, :2]
    sides = np.ptp(two_places.xy[:, :2], axis=1)
    expected = np.where(sides > scaling.LEAST, 0.5, sides / 2)
    np.testing.assert_allclose(np.abs(seen).max(1), expected)
    other = two_places._replace(xy=two_places.xy + np.array([0, 0, 9, 9])[:, None])
    np.testing.assert_array_equal(scaling.frame(scale, other).size, frame.size)
    np.testing.assert_array_equal(scaling.frame(scale, other).centre, frame.centre)
    earlier = two_places._replace(xy=two_places.xy * np.array([9, 1, 1, 1])[:, None])
    assert (scaling.frame(scale, earlier).size != frame.size).any()


def test_whoever_keeps_going_arrives_at_one(two_places):
    """Of a heading the last point seen is the origin; a turned world looks the same."""
    random = np.random.default_rng(1)
    steps = np.arange(4)[:, None]
    moves = random.uniform(1, 3, (11, 1, 2)) * random.choice([-1, 1], (11, 1, 2))
    straight = two_places._replace(xy=moves * steps, fps=2.0)
    scale = scaling.fit(straight, "heading")
    scaled = scaling.frame(scale, straight).scaled(straight.xy)
    expected = (steps - 1) * np.array([0.5, 0.0])
    np.testing.assert_allclose(scaled, np.tile(expected, (11, 1, 1)), atol=1e-12)

    walks = straight._replace(xy=straight.xy + 0.2 * random.normal(size=(11, 4, 2)))
    scaled = scaling.frame(scale, walks).scaled(walks.xy)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    turned = walks._replace(xy=3 * walks.xy @ turn + 7)
    found = scaling.frame(scale, turned).scaled(turned.xy)
    np.testing.assert_allclose(found, scaled, atol=1e-12)
    # A left turn is one, and the future has no say.
    other = walks._replace(xy=walks.xy + np.array([0, 0, 9, 9])[:, None])
    frames = [scaling.frame(scale, each) for each in (walks, other)]
    for one, two in zip(*frames, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(np.linalg.det(frames[0].axes), 1.0)


def test_a_heading_is_that_of_the_last_half_second(two_places):
    """Two frames at four a second; three were seen, then came a turn."""
    path = np.array([[0.0, 0], [0, 5], [4, 5], [4, 8]])
    windows = two_places._replace(xy=np.tile(path, (11, 1, 1)), observed=3, fps=4.0)
    frame = scaling.frame(scaling.fit(windows, "heading"), windows)
    np.testing.assert_allclose(frame.size[0], np.hypot(4, 5) / 2)
    windows = windows._replace(fps=2.0)
    frame = scaling.frame(scaling.fit(windows, "heading"), windows)
    np.testing.assert_allclose(frame.size[0], 4.0)
    np.testing.assert_allclose(frame.axes[0], np.eye(2))


@pytest.mark.parametrize("kind", ["location", "global", "per_track", "heading"])
def test_metres_come_back(two_places, kind):
    frame = scaling.frame(scaling.fit(two_places, kind), two_places)
    scaled = frame.scaled(two_places.xy)
    np.testing.assert_allclose(frame.metres(scaled), two_places.xy, atol=1e-12)


def test_standing_still_is_not_blown_up(two_places):
    still = two_places._replace(xy=np.full((11, 4, 2), 7.0))
    for kind in ("location", "per_track", "heading"):
        frame = scaling.frame(scaling.fit(still, kind), still)
        assert (frame.size == scaling.LEAST).all() and not frame.scaled(still.xy).any()


def test_what_cannot_be_fitted_is_said(two_places):
    with pytest.raises(ValueError, match="'city': choose one of location, global"):
        scaling.fit(two_places, "city")
    with pytest.raises(ValueError, match="draw at least one"):
        scaling.fit(two_places.take(np.arange(0)))
    for kind in ("per_track", "heading"):
        scale = scaling.fit(two_places, kind)
        none = scaling.frame(scale, two_places.take(np.arange(0)))
        assert none.size.shape == (0, 2)
