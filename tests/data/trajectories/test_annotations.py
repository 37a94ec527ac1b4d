import numpy as np
import pytest

from nmn_jax.data.trajectories import annotations

ROWS = """\
0 10 20 30 60 5 0 0 0 "Biker"
0 11 20 32 60 6 0 0 1 "Biker"
0 11 20 32 60 8 1 0 1 "Biker"
4 50 20 60 40 5 0 1 1 "Skater"
7 0 0 8 8 1 0 0 0 "Pedestrian"
"""


@pytest.fixture
def folder(tmp_path):
    for scene, video in (("gates", 3), ("quad", 12)):
        path = tmp_path / scene / f"video{video}"
        path.mkdir(parents=True)
        (path / "annotations.txt").write_text(ROWS)
    return tmp_path


def test_the_centre_of_a_box_becomes_metres(folder):
    path = folder / "gates" / "video3" / "annotations.txt"
    tracks = annotations.read(path, "gates", 3, 0.5)
    assert tracks.labels.tolist() == ["cyclist", "Skater", "pedestrian"]
    assert tracks[0][:5] == ("gates_3", "gates", 0, "cyclist", 30.0)
    assert tracks[0].frames.tolist() == [5, 6, 8]
    assert tracks[0].xy.tolist() == [[10, 20], [10.75, 20], [10.75, 20]]
    assert tracks[2].xy.tolist() == [[2, 2]]
    assert tracks.lost.tolist() == [0, 0, 1, 0, 0]


def test_every_video_of_a_folder_has_its_scale(folder):
    tracks = annotations.read_folder(folder, {"gates_3": 0.5, "quad_12": 0.25})
    assert tracks.recordings.tolist() == ["gates_3"] * 3 + ["quad_12"] * 3
    np.testing.assert_array_equal(tracks[0].xy, 2 * tracks[3].xy)
    with pytest.raises(ValueError, match="no scale for 'quad_12'"):
        annotations.read_folder(folder, {"gates_3": 0.5})


@pytest.mark.parametrize("scale", [0.0, -0.1, float("nan")])
def test_a_scale_is_positive(scale, folder):
    path = folder / "gates" / "video3" / "annotations.txt"
    with pytest.raises(ValueError, match="must be a positive number, metres per pixel"):
        annotations.read(path, "gates", 3, scale)


def test_a_folder_without_annotations_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="give the folder 'annotations'"):
        annotations.read_folder(tmp_path, {})
