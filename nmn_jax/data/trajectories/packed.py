"""The two packed files of the Stanford Drone Dataset, checked value by value."""

import pathlib

import numpy as np

from nmn_jax.data.trajectories import faults, records
from nmn_jax.data.trajectories.faults import Array

CLASSES = {"Biker": "cyclist", "Pedestrian": "pedestrian"}
Arrays = dict[str, np.ndarray]

_TRACK, _POINT, _VIDEO = ("tracks",), ("points",), ("videos",)
_FORMS = {
    "scene": Array("iu", _TRACK),
    "video": Array("iu", _TRACK),
    "track_id": Array("iu", _TRACK),
    "label": Array("iu", _TRACK),
    "length": Array("iu", _TRACK),
    "offset": Array("iu", ("ends",)),
    "frame": Array("iu", _POINT),
    "x": Array("f", _POINT),
    "y": Array("f", _POINT),
    "scene_names": Array("U", ("scenes",)),
    "label_names": Array("U", ("labels",)),
    "fps": Array("f"),
    "video_scene": Array("iu", _VIDEO),
    "video_index": Array("iu", _VIDEO),
    "video_metres_per_pixel": Array("f", _VIDEO),
    "native_fps": Array("f", needed=False),
    "lost": Array("i", _POINT, needed=False),
}


def read(path: pathlib.Path) -> records.Tracks:
    """Tracks of a packed file, pixels turned into metres.

    Returns:
        ``Tracks``: recording ``scene_video``, location the scene, frames counted at the
        file's rate, ``lost`` as stored (0 where the file has none: it was cleaned).

    Raises:
        ValueError: something in the file is wrong; the message names array and place.
    """
    arrays = faults.read_npz(path, _FORMS)
    _check_offsets(path, arrays)
    _check_names(path, arrays)
    _check_points(path, arrays)
    labels = np.array([CLASSES[name] for name in arrays["label_names"]])
    scenes = arrays["scene_names"][arrays["scene"]]
    videos = np.char.add(np.char.add(scenes, "_"), arrays["video"].astype(np.str_))
    scale = np.repeat(_scale_of_tracks(path, arrays), np.diff(arrays["offset"]))
    xy = np.stack([arrays["x"], arrays["y"]], -1).astype(np.float64)
    tracks = len(scenes)
    return records.Tracks(
        recordings=videos,
        locations=scenes,
        numbers=arrays["track_id"].astype(np.int64),
        labels=labels[arrays["label"]],
        fps=np.full(tracks, float(arrays["fps"])),
        offsets=arrays["offset"].astype(np.int64),
        frames=_frames(path, arrays),
        xy=xy * scale[:, None],
        lost=arrays.get("lost", np.zeros(len(xy))).astype(np.int8),
    )


def scales(path: pathlib.Path) -> dict[str, float]:
    """Metres per pixel of every video, by the name ``scene_video``.

    Raises:
        ValueError: as for ``read``.
    """
    arrays = faults.read_npz(path, _FORMS)
    _check_names(path, arrays)
    return {
        f"{arrays['scene_names'][scene]}_{video}": float(scale)
        for scene, video, scale in zip(
            arrays["video_scene"],
            arrays["video_index"],
            arrays["video_metres_per_pixel"],
            strict=True,
        )
    }


def _refuse(
    path: pathlib.Path, name: str, wrong: np.ndarray, *, unit: str, problem: str
) -> None:
    """Raise for the first place at which ``wrong`` is true."""
    places = np.flatnonzero(wrong)
    if len(places):
        raise faults.fault(path, problem, row=f"{unit} {places[0]}", column=name)


def _check_offsets(path: pathlib.Path, arrays: Arrays) -> None:
    offset = arrays["offset"].astype(np.int64)
    tracks, points = len(arrays["track_id"]), len(arrays["x"])
    if len(offset) != tracks + 1 or tracks == 0:
        problem = f"{len(offset)} offsets for {tracks} tracks; one more belongs"
        raise faults.fault(path, problem, column="offset")
    if offset[0] != 0 or offset[-1] != points:
        problem = f"from {offset[0]} to {offset[-1]} where 0 to {points} belongs"
        raise faults.fault(path, problem, column="offset")
    lengths = np.diff(offset)
    _refuse(path, "offset", lengths <= 0, unit="track", problem="offsets do not rise")
    _refuse(
        path, "length", lengths != arrays["length"], unit="track",
        problem="length is not the distance of the offsets",
    )  # fmt: skip


def _check_names(path: pathlib.Path, arrays: Arrays) -> None:
    _refuse(
        path, "label_names", ~np.isin(arrays["label_names"], list(CLASSES)),
        unit="name", problem=f"not one of {', '.join(CLASSES)}",
    )  # fmt: skip
    for name, names in (
        ("label", "label_names"), ("scene", "scene_names"),
        ("video_scene", "scene_names"),
    ):  # fmt: skip
        count = len(arrays[names])
        wrong = (arrays[name] < 0) | (arrays[name] >= count)
        unit = "video" if name.startswith("video") else "track"
        problem = f"out of range, {names} has {count}"
        _refuse(path, name, wrong, unit=unit, problem=problem)
    scale = arrays["video_metres_per_pixel"]
    _refuse(
        path, "video_metres_per_pixel", ~(np.isfinite(scale) & (scale > 0)),
        unit="video", problem="a scale must be a positive number",
    )  # fmt: skip
    for name in ("fps", "native_fps"):
        rate = float(arrays.get(name, 1.0))
        if not (np.isfinite(rate) and rate > 0):
            problem = f"{rate} where a positive number of frames per second belongs"
            raise faults.fault(path, problem, column=name)


def _check_points(path: pathlib.Path, arrays: Arrays) -> None:
    for name in ("x", "y"):
        wrong = ~np.isfinite(arrays[name])
        _refuse(path, name, wrong, unit="point", problem="not a finite number")
    if "lost" in arrays:
        wrong = ~np.isin(arrays["lost"], (-1, 0, 1))
        _refuse(path, "lost", wrong, unit="point", problem="not -1, 0 or 1")
    falls = np.diff(arrays["frame"].astype(np.int64), prepend=-1) <= 0
    falls[arrays["offset"][:-1]] = arrays["frame"][arrays["offset"][:-1]] < 0
    problem = "frames of a track must rise from one point to the next"
    _refuse(path, "frame", falls, unit="point", problem=problem)
    track = _video_codes(arrays["scene"], arrays["video"]) * 2**32 + arrays["track_id"]
    _refuse(
        path, "track_id", _repeated(track), unit="track",
        problem="a second track of this number in the same video",
    )  # fmt: skip


def _frames(path: pathlib.Path, arrays: Arrays) -> np.ndarray:
    """Frame numbers at the file's own rate."""
    native = float(arrays.get("native_fps", arrays["fps"]))
    every = native / float(arrays["fps"])
    if every < 1 or every != round(every):
        problem = f"{arrays['fps']} frames per second out of {native} leave no whole"
        raise faults.fault(path, f"{problem} number of frames apart", column="fps")
    frames, rest = np.divmod(arrays["frame"].astype(np.int64), round(every))
    problem = f"not a multiple of {every:g}, as fps and native_fps say"
    _refuse(path, "frame", rest != 0, unit="point", problem=problem)
    return frames


def _scale_of_tracks(path: pathlib.Path, arrays: Arrays) -> np.ndarray:
    """Metres per pixel of the video of every track."""
    videos = _video_codes(arrays["video_scene"], arrays["video_index"])
    problem = "a second row for the same video"
    _refuse(path, "video_index", _repeated(videos), unit="video", problem=problem)
    wanted = _video_codes(arrays["scene"], arrays["video"])
    order = np.argsort(videos)
    place = np.searchsorted(videos, wanted, sorter=order)
    found = order[np.minimum(place, len(videos) - 1)]
    problem = "this video has no row in video_index, so no scale"
    _refuse(path, "video", videos[found] != wanted, unit="track", problem=problem)
    return arrays["video_metres_per_pixel"][found]


def _video_codes(scene: np.ndarray, video: np.ndarray) -> np.ndarray:
    return scene.astype(np.int64) * 2**16 + video


def _repeated(values: np.ndarray) -> np.ndarray:
    """Where a value was there before."""
    again = np.ones(len(values), bool)
    again[np.unique(values, return_index=True)[1]] = False
    return again
