import numpy as np
import pytest

from nmn_jax.data.trajectories import cutting, records


def _numbered(make_tracks, lengths, label="cyclist", recording="here_0"):
    """Tracks whose x is the track's number and whose y is the frame."""
    tracks = []
    for number, length in enumerate(lengths):
        frames = np.arange(7, 7 + length)
        tracks.append((frames, np.stack([np.full(length, number), frames], -1)))
    return make_tracks(*tracks, label=label, recording=recording)


def test_windows_follow_each_other_without_overlap(make_tracks):
    cut = cutting.windows(_numbered(make_tracks, [4, 11, 5]), 3, 2)
    assert cut.xy.shape == (3, 5, 2) and cut.observed == 3 and cut.fps == 10.0
    assert cut.numbers.tolist() == [1, 1, 2] and cut.starts.tolist() == [7, 12, 7]
    np.testing.assert_array_equal(cut.xy[..., 0], np.repeat([[1.0], [1], [2]], 5, 1))
    np.testing.assert_array_equal(
        cut.xy[..., 1], cut.starts[:, None] + np.arange(5.0)[None]
    )


def test_stride_takes_every_so_many_frames(make_tracks):
    tracks = _numbered(make_tracks, [13, 12])
    cut = cutting.windows(tracks, 3, 2, stride=3)
    assert cut.xy[:, :, 1].tolist() == [[7, 10, 13, 16, 19]]
    assert cut.fps == pytest.approx(10 / 3)
    every = cutting.windows(tracks, 3, 2, stride=2, every=1)
    assert every.starts.tolist() == [7, 8, 9, 10, 11, 7, 8, 9, 10]


def test_what_makes_no_window_is_refused(make_tracks):
    tracks = _numbered(make_tracks, [9])
    for name in ("observed", "predicted", "stride", "every"):
        with pytest.raises(ValueError, match=f"{name}=0: must be at least 1"):
            cutting.windows(tracks, **{name: 0})
    frames, xy = np.array([0, 1, 3]), np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"track 0 .*'here_0' misses frames before 3"):
        cutting.windows(make_tracks((frames, xy)), 1, 1)
    mixed = [tracks, make_tracks((frames[:2], xy[:2]), fps=25.0)]
    with pytest.raises(ValueError, match="one rate is needed"):
        cutting.windows(records.concatenate(mixed), 1, 1)


@pytest.fixture
def both(make_tracks):
    """30 cyclists with 1 to 4 windows, 20 pedestrians of whom 5 were cut in two."""
    cyclists = _numbered(make_tracks, [5 + 5 * (k % 4) for k in range(30)])
    walkers = _numbered(make_tracks, [20] * 20, "pedestrian", "there_0")
    starts = (walkers.frames == 17) & (walkers.owners < 5)
    tracks = records.concatenate([cyclists, records.cut(walkers, starts)])
    assert len(tracks) == 55
    return cutting.windows(tracks, 3, 2)


@pytest.mark.parametrize("per_track", ["one", "all"])
def test_no_road_user_is_on_two_sides(both, per_track):
    parts = cutting.draw(both, 3, train=12, support=6, per_track=per_track)
    users = [set(both.users[part].tolist()) for part in parts]
    assert [len(each) for each in users] == [12, 18, 6, 14]
    assert len(set.union(*users)) == 50  # the pieces of a cut track are one
    for part, label in zip(parts, ["cyclist"] * 2 + ["pedestrian"] * 2, strict=True):
        assert set(both.labels[part]) == {label}
    if per_track == "one":
        assert [len(part) for part in parts] == [12, 18, 6, 14]
    else:
        assert sum(map(len, parts)) == len(both.users)


def test_a_draw_depends_on_its_seed_alone(both):
    first, again, other = (
        cutting.draw(both, s, train=12, support=6) for s in (0, 0, 1)
    )
    for part, same, else_ in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(part, same)
        assert set(part.tolist()) != set(else_.tolist())
    fewer = cutting.draw(both, 0, train=3, support=6)
    np.testing.assert_array_equal(first.support, fewer.support)
    assert set(fewer.train.tolist()) < set(first.train.tolist())


def test_every_window_of_a_road_user_can_be_drawn(both):
    drawn = [cutting.draw(both, s, train=29, support=1).held_out for s in range(40)]
    walkers = np.flatnonzero(both.labels == "pedestrian")
    assert set(np.concatenate(drawn).tolist()) == set(walkers.tolist())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"train": 31}, "train=31: there are 30 road users of class 'cyclist'"),
        ({"support": 21}, "support=21: there are 20 road users of class 'pedestrian'"),
        ({"support": 20}, "support=20: no pedestrian is left"),
        ({"train": 0}, "train=0: .* choose from 1"),
        ({"support": 0}, "support=0: .* choose from 1"),
    ],
)
def test_too_few_road_users_are_said(both, asked, message):
    with pytest.raises(ValueError, match=message):
        cutting.draw(both, 0, **{"train": 12, "support": 6, **asked})


def test_one_window_or_all(both):
    with pytest.raises(Exception, match="per_track"):
        cutting.draw(both, 0, train=12, support=6, per_track="most")


def test_windows_are_taken_with_all_their_columns(both):
    taken = both.take(np.array([40, 2]))
    assert taken.xy.shape == (2, 5, 2) and taken.observed == 3
    for column, chosen in zip(both[:-2], taken[:-2], strict=True):
        np.testing.assert_array_equal(column[[40, 2]], chosen)
