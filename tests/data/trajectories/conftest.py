"""Small packed files, and tracks made by hand."""

import numpy as np
import pytest

from nmn_jax.data.trajectories import records


@pytest.fixture
def packed():
    """Arrays of a packed file: three tracks of 3, 2 and 4 points in two videos."""
    return {
        "scene": np.array([1, 1, 0], np.uint8),
        "video": np.array([4, 4, 2], np.uint8),
        "track_id": np.array([7, 9, 7], np.int32),
        "label": np.array([0, 1, 1], np.uint8),
        "length": np.array([3, 2, 4], np.int32),
        "offset": np.array([0, 3, 5, 9], np.int64),
        "frame": np.array([0, 10, 30, 50, 60, 5, 6, 7, 8], np.int32) * 10,
        "x": np.arange(9, dtype=np.float32),
        "y": np.arange(9, dtype=np.float32) * 2,
        "lost": np.array([-1, -1, -1, -1, -1, 0, 1, 0, 0], np.int8),
        "scene_names": np.array(["gates", "quad"]),
        "label_names": np.array(["Biker", "Pedestrian"]),
        "fps": np.array(3.0),
        "native_fps": np.array(30.0),
        "video_scene": np.array([1, 0], np.uint8),
        "video_index": np.array([4, 2], np.uint8),
        "video_metres_per_pixel": np.array([0.5, 0.25]),
    }


@pytest.fixture
def save(tmp_path):
    """Function writing arrays as an npz file."""

    def write(arrays):
        path = tmp_path / "packed.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write


@pytest.fixture(scope="session")
def make_tracks():
    """Function making tracks of one recording from lists of frames and positions."""

    def make(*tracks, label="cyclist", fps=10.0, recording="here_0"):
        return records.from_tracks(
            [
                records.Track(
                    recording, recording.split("_")[0], number, label, fps,
                    np.array(frames, np.int64), np.array(xy, np.float64).reshape(-1, 2),
                )
                for number, (frames, xy) in enumerate(tracks)
            ]
        )  # fmt: skip

    return make
