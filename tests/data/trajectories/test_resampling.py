import numpy as np
import pytest

from nmn_jax.data.trajectories import cleaning, records, resampling, sdd


def _curve(seconds):
    return np.stack([np.sin(seconds), 3 * seconds], -1)


def _track(first, length, fps):
    frames = np.arange(first, first + length)
    return frames, _curve(frames / fps)


@pytest.mark.parametrize(
    ("old", "new"), [(25, 10), (30, 25), (3, 10), (10, 25), (30, 10)]
)
def test_points_are_where_numpy_interpolates_them(old, new, make_tracks):
    tracks = make_tracks(_track(7, 40, old), _track(0, 13, old), fps=float(old))
    found = resampling.resample(tracks, float(new))
    for before, after in zip(tracks, found, strict=True):
        assert after.fps == new and after.number == before.number
        old_time, new_time = before.frames / old, after.frames / new
        inside = np.arange(0, 60 * new) / new
        within = (inside >= old_time[0] - 1e-9) & (inside <= old_time[-1] + 1e-9)
        np.testing.assert_allclose(new_time, inside[within])
        for axis in (0, 1):
            expected = np.interp(new_time, old_time, before.xy[:, axis])
            np.testing.assert_allclose(after.xy[:, axis], expected, atol=1e-12)


def test_a_whole_fraction_of_the_rate_takes_points_as_they_are(make_tracks):
    tracks = make_tracks(_track(4, 20, 30), fps=30.0)
    found = resampling.resample(tracks, 10.0)
    assert found.frames.tolist() == [2, 3, 4, 5, 6, 7]
    np.testing.assert_array_equal(found.xy, tracks.xy[2::3])
    same = resampling.resample(tracks, 30.0)
    np.testing.assert_array_equal(same.xy, tracks.xy)
    np.testing.assert_array_equal(same.frames, tracks.frames)


def test_several_rates_become_one(make_tracks):
    mixed = [make_tracks(_track(0, 30, r), fps=float(r)) for r in (3, 25, 30)]
    found = resampling.resample(records.concatenate(mixed), 10.0)
    assert records.one_rate(found) == 10.0 and len(found) == 3


def test_a_track_between_two_frames_is_left_out(make_tracks):
    tracks = make_tracks(_track(1, 2, 30), _track(3, 9, 30), fps=30.0)
    assert resampling.resample(tracks, 10.0).numbers.tolist() == [1]


def test_what_cannot_be_resampled_is_said(make_tracks):
    tracks = make_tracks((np.array([0, 2]), np.zeros((2, 2))))
    with pytest.raises(ValueError, match="misses frames before 2"):
        resampling.resample(tracks, 5.0)
    for fps in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be a positive number"):
            resampling.resample(tracks, fps)


def test_real_tracks_are_straight_between_3_hz_points(real_folder):
    """Back at 30 Hz: off by 0.7 pixel in the median, 3.7 at the 99th percentile."""
    folder = real_folder("trajectories", *sdd.FILES.values())
    coarse = cleaning.gaps().apply(sdd.load("3hz", folder))
    fine = resampling.resample(coarse, 30.0)
    full, scales = sdd.load("30hz", folder), sdd.scales(folder)
    known = {(track.recording, track.number): track for track in full}
    apart = []
    for track in fine:
        if (track.recording, track.number) in known:
            native = known[track.recording, track.number]
            between = track.frames[track.frames % 10 != 0]
            both = np.intersect1d(between, native.frames)
            mine, theirs = (
                each.xy[np.searchsorted(each.frames, both)] for each in (track, native)
            )
            apart += [np.linalg.norm(mine - theirs, axis=1) / scales[track.recording]]
    apart = np.concatenate(apart)
    assert len(apart) > 200_000
    assert np.quantile(apart, [0.5, 0.9]) == pytest.approx([0.7, 2.2], abs=0.15)
    assert np.quantile(apart, 0.99) == pytest.approx(3.7, abs=0.3)
