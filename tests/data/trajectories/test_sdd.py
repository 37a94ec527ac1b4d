import io

import numpy as np
import pytest

from nmn_jax.data.trajectories import packed as packing
from nmn_jax.data.trajectories import records, sdd


def test_pixels_become_metres_by_the_scale_of_the_video(packed, save):
    tracks = packing.read(save(packed))
    assert tracks.recordings.tolist() == ["quad_4", "quad_4", "gates_2"]
    assert tracks.locations.tolist() == ["quad", "quad", "gates"]
    assert tracks.labels.tolist() == ["cyclist", "pedestrian", "pedestrian"]
    assert tracks.numbers.tolist() == [7, 9, 7] and set(tracks.fps) == {3.0}
    assert tracks[0].xy.tolist() == [[0, 0], [0.5, 1], [1, 2]]
    assert tracks[2].xy.tolist() == [[1.25, 2.5], [1.5, 3], [1.75, 3.5], [2, 4]]


def test_frames_are_counted_at_the_rate_of_the_file(packed, save):
    tracks = packing.read(save(packed))
    assert tracks[0].frames.tolist() == [0, 10, 30]
    packed["fps"] = np.array(30.0)
    del packed["native_fps"], packed["lost"]
    tracks = packing.read(save(packed))
    assert tracks[0].frames.tolist() == [0, 100, 300] and not tracks.lost.any()


def test_marks_of_lost_points_are_kept(packed, save):
    assert packing.read(save(packed)).lost.tolist() == packed["lost"].tolist()


def test_scales_are_named_by_video(packed, save):
    assert packing.scales(save(packed)) == {"quad_4": 0.5, "gates_2": 0.25}


def _changed(name, place, value):
    def change(arrays):
        arrays[name][place] = value

    return change


def _replaced(name, value):
    return lambda arrays: arrays.update({name: value})


WRONG = {
    "missing array": (lambda a: a.pop("x"), "column 'x': this array is missing"),
    "missing scales": (
        lambda a: a.pop("video_metres_per_pixel"), "'video_metres_per_pixel'"
    ),
    "whole numbers": (_replaced("x", np.arange(9)), "'x': dtype int64 where float"),
    "text": (_replaced("frame", np.array(["1"] * 9)), "'frame': dtype <U1 where int"),
    "objects": (_replaced("scene", np.array([1, None, 0])), "not a readable npz"),
    "shape": (_replaced("y", np.zeros((9, 1), np.float32)), r"'y': shape \(9, 1\)"),
    "short array": (_replaced("y", np.zeros(8, np.float32)), "'y': 8 points .* has 9"),
    "few labels": (_replaced("label", np.zeros(2, int)), "'label': 2 tracks .* has 3"),
    "scalar rate": (_replaced("fps", np.array([3.0])), r"'fps': shape \(1,\) where"),
    "no number": (_changed("x", 4, np.nan), "point 4, column 'x': not a finite"),
    "infinite": (_changed("y", 8, -np.inf), "point 8, column 'y': not a finite"),
    "same frame": (_changed("frame", 1, 0), "point 1, column 'frame': frames .* rise"),
    "falling frame": (_changed("frame", 7, 10), "point 7, column 'frame': frames"),
    "negative frame": (_changed("frame", 3, -10), "point 3, column 'frame': frames"),
    "odd frame": (_changed("frame", 8, 83), "point 8, .*: not a multiple of 10"),
    "offsets fall": (_changed("offset", 2, 2), "track 1, .* offsets do not"),
    "offset begin": (_changed("offset", 0, 1), "'offset': from 1 to 9 where 0 to 9"),
    "offset end": (_changed("offset", 3, 8), "'offset': from 0 to 8 where 0 to 9"),
    "few offsets": (_replaced("offset", np.array([0, 3, 9])), "3 offsets for 3 tracks"),
    "wrong length": (_changed("length", 2, 5), "track 2, column 'length'"),
    "label": (_changed("label", 1, 2), "track 1, column 'label': out of range.* has 2"),
    "label name": (
        _replaced("label_names", np.array(["Biker", "Car"])),
        "name 1, column 'label_names': not one of Biker, Pedestrian",
    ),
    "scene": (_changed("scene", 2, 7), "track 2, column 'scene': out of range"),
    "video": (_changed("video", 0, 5), "track 0, column 'video': this"),
    "twice a video": (
        lambda a: a.update(video_scene=np.ones(2, int), video_index=np.full(2, 4)),
        "video 1, column 'video_index': a second row",
    ),
    "scale zero": (
        _changed("video_metres_per_pixel", 1, 0.0), "video 1, .*_per_pixel'"
    ),
    "scale negative": (
        _changed("video_metres_per_pixel", 0, -0.1), "video 0, .*positive number"
    ),
    "scale nan": (
        _changed("video_metres_per_pixel", 0, np.nan), "video 0, .*positive number"
    ),
    "rate zero": (_replaced("fps", np.array(0.0)), "'fps': 0.0 where a positive"),
    "rates": (_replaced("fps", np.array(7.0)), "'fps': 7.0 frames .* out of 30"),
    "mark": (_changed("lost", 6, 3), "point 6, column 'lost': not -1, 0 or 1"),
    "twice a track": (_changed("track_id", 1, 7), "track 1, .*'track_id': a second"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_in_a_packed_file_is_named(case, packed, save):
    change, message = WRONG[case]
    change(packed)
    path = save(packed)
    with pytest.raises(ValueError, match=message) as caught:
        packing.read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("keep", [0, 10, 2000, -200, -1])
def test_a_cut_off_packed_file_is_named(keep, packed, save):
    path = save(packed)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="packed.npz: not a readable npz file"):
        packing.read(path)


def test_one_array_alone_is_no_packed_file(tmp_path):
    path = tmp_path / "packed.npz"
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    path.write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="one array, no npz"):
        packing.read(path)


def test_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        sdd.load("30hz", tmp_path)
    for part in (sdd.FILES["30hz"], "NMN_DATA_DIR", "pack the authors'", "synthetic"):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="'25hz': choose one of 30hz, 3hz"):
        sdd.load("25hz", tmp_path)


@pytest.fixture(scope="session")
def folder(real_folder):
    return real_folder("trajectories", *sdd.FILES.values())


def _path_speeds(tracks, label):
    """Length of the path over the time it took, track by track, m/s."""
    return [
        np.linalg.norm(np.diff(track.xy, axis=0), axis=1).sum()
        / (track.frames[-1] - track.frames[0])
        * track.fps
        for track in tracks
        if track.label == label
    ]


def test_real_tracks_at_full_rate(folder):
    """Counts and medians as the data's own description has them."""
    tracks = sdd.load("30hz", folder)
    assert (len(tracks), len(tracks.frames)) == (836, 412_950)
    assert (tracks.labels == "cyclist").sum() == 308
    assert len(set(tracks.recordings)) == 23 and set(tracks.fps) == {30.0}
    assert np.median(tracks.lengths) == 429 and tracks.lengths.max() == 3545
    assert np.median(_path_speeds(tracks, "cyclist")) == pytest.approx(3.9, abs=0.05)
    assert np.median(_path_speeds(tracks, "pedestrian")) == pytest.approx(
        1.37, abs=0.01
    )


def test_real_tracks_of_all_videos(folder):
    tracks = sdd.load("3hz", folder)
    assert (len(tracks), len(tracks.frames)) == (3610 + 4068, 492_482)
    assert (tracks.labels == "cyclist").sum() == 3610
    assert len(set(tracks.recordings)) == 60 == len(sdd.scales(folder))
    long = tracks.lengths >= 100
    assert (long & (tracks.labels == "cyclist")).sum() == 103
    assert (long & (tracks.labels == "pedestrian")).sum() == 1206
    assert 0.20 < (tracks.lost == records.LOST).sum() / (tracks.lost >= 0).sum() < 0.22


def test_both_rates_show_the_same_paths(folder):
    """Every tenth frame of the full rate is the point at 3 Hz, in metres."""
    full, coarse = (
        {
            (t.recording, t.number, int(f)): xy
            for t in tracks
            for f, xy in zip(t.frames, t.xy, strict=True)
        }
        for tracks in (sdd.load("30hz", folder), sdd.load("3hz", folder))
    )
    shared = [
        (full[(r, n, 10 * f)], xy)
        for (r, n, f), xy in coarse.items()
        if (r, n, 10 * f) in full
    ]
    assert len(shared) > 30_000
    np.testing.assert_allclose(*zip(*shared, strict=True), rtol=0, atol=1e-6)
