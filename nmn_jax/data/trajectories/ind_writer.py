"""Tracks written as a folder in the format of inD, such as made-up ones."""

import csv
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

from nmn_jax.data.trajectories import ind, records

_BACK = {label: kind for kind, label in ind.OWN.items()}


def write(folder: str | os.PathLike, tracks: records.Tracks) -> None:
    """Write the three tables of every recording.

    Velocities, accelerations and heading are differences of the positions; what the
    tracks do not know (limits, times, places on Earth) is zero.

    Args:
        folder: is made if it does not exist; tables of the same name are replaced.
        tracks: without gaps, of one frame rate; recordings and locations are numbers.

    Raises:
        ValueError: a recording or location is no number, or the rates differ.
    """
    records.one_rate(tracks)
    for name in np.unique([*tracks.recordings, *tracks.locations]):
        if not str(name).isdecimal():
            raise ValueError(f"{str(name)!r}: inD numbers recordings and locations")
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in np.unique(tracks.recordings):
        own = list(records.select(tracks, tracks.recordings == name))
        rows = (row for track in own for row in _rows(track))
        meta = [_meta(track) for track in own]
        for table, columns, content in (
            ("tracks", ind.TRACKS, rows),
            ("tracksMeta", ind.TRACKS_META, meta),
            ("recordingMeta", ind.RECORDING_META, [_recording(own)]),
        ):
            header = [column.name for column in columns]
            _write_table(folder / f"{name}_{table}.csv", header, content)


def _write_table(
    path: pathlib.Path, header: Sequence[str], rows: Iterable[Sequence]
) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _rows(track: records.Track) -> Iterable[Sequence]:
    velocity = _rate_of_change(track.xy, track.fps)
    acceleration = _rate_of_change(velocity, track.fps)
    course = np.arctan2(velocity[:, 1], velocity[:, 0])
    along = np.stack([np.cos(course), np.sin(course)], -1)
    across = np.stack([-along[:, 1], along[:, 0]], -1)
    heading = np.degrees(course) % 360
    parts = [
        (of * way).sum(1) for of in (velocity, acceleration) for way in (along, across)
    ]
    size = np.zeros_like(track.xy)
    numbers = np.column_stack([track.xy, heading, size, velocity, acceleration, *parts])
    for age, row in enumerate(numbers):
        values = (f"{value:.5f}" for value in row)
        yield (int(track.recording), track.number, track.frames[age], age, *values)


def _rate_of_change(values: np.ndarray, fps: float) -> np.ndarray:
    return fps * np.gradient(values, axis=0) if len(values) > 1 else 0 * values


def _meta(track: records.Track) -> Sequence:
    kind = _BACK.get(track.label, track.label)
    first, last = track.frames[0], track.frames[-1]
    frames = len(track.frames)
    return (int(track.recording), track.number, first, last, frames, 0, 0, kind)


def _recording(tracks: Sequence[records.Track]) -> Sequence:
    last = max(track.frames[-1] for track in tracks)
    fps = tracks[0].fps
    walking = sum(track.label in records.LABELS for track in tracks)
    counts = (len(tracks), len(tracks) - walking, walking)
    name, location = int(tracks[0].recording), int(tracks[0].location)
    duration = f"{(last + 1) / fps:.2f}"
    times = (fps, 0, "monday", "00:00", duration)
    return (name, location, *times, *counts, 0, 0, 0, 0, 0.01)
