"""inD (Bock et al., IV 2020): road users at four German intersections, seen from above.

A recording is three tables, ``07_tracks.csv``, ``07_tracksMeta.csv`` and
``07_recordingMeta.csv``: metres, 25 frames per second. The data may not be passed on;
ask the authors for a copy.
"""

import os
import pathlib

import numpy as np

from nmn_jax.data import files
from nmn_jax.data.trajectories import records, tables
from nmn_jax.data.trajectories.faults import fault
from nmn_jax.data.trajectories.tables import Column, Table

TABLES = ("tracks", "tracksMeta", "recordingMeta")
OWN = {"bicycle": "cyclist", "pedestrian": "pedestrian"}
# Road users that are neither keep their name.
CLASSES = (*OWN, "car", "van", "truck_bus", "bus", "truck", "motorcycle")

TRACKS = (
    Column("recordingId", "whole", least=0),
    Column("trackId", "whole", least=0),
    Column("frame", "whole", least=0),
    Column("trackLifetime", "whole", least=0),
    *(Column(name, "number") for name in ("xCenter", "yCenter", "heading")),
    *(Column(name, "number", least=0) for name in ("width", "length")),
    *(
        Column(f"{name}{what}", "number")
        for what in ("Velocity", "Acceleration")
        for name in ("x", "y")
    ),
    *(
        Column(f"{name}{what}", "number")
        for what in ("Velocity", "Acceleration")
        for name in ("lon", "lat")
    ),
)
TRACKS_META = (
    Column("recordingId", "whole", least=0),
    Column("trackId", "whole", least=0),
    Column("initialFrame", "whole", least=0),
    Column("finalFrame", "whole", least=0),
    Column("numFrames", "whole", least=1),
    *(Column(name, "number", least=0) for name in ("width", "length")),
    Column("class", "text"),
)
RECORDING_META = (
    Column("recordingId", "whole", least=0),
    Column("locationId", "whole", least=0),
    Column("frameRate", "number", least=1e-3),
    Column("speedLimit", "number"),
    Column("weekday", "text"),
    Column("startTime", "text"),
    Column("duration", "number", least=0),
    *(
        Column(f"num{what}", "whole", least=0)
        for what in ("Tracks", "Vehicles", "VRUs")
    ),
    *(Column(f"{name}Location", "number") for name in ("lat", "lon")),
    *(Column(f"{name}UtmOrigin", "number") for name in ("x", "y")),
    Column("orthoPxToMeter", "number", least=1e-9),
)


def load(directory: str | os.PathLike | None = None) -> records.Tracks:
    """Tracks of all recordings of a folder.

    Args:
        directory: the folder; by default ``NMN_DATA_DIR/inD``.

    Raises:
        FileNotFoundError: there is no recording; the message says what to do.
        ValueError: a table is missing or something in one is wrong; the message names
            file, row and column.
    """
    folder = files.data_dir("inD", directory)
    endings = tuple(f"_{table}.csv" for table in TABLES)
    found = [path.name for path in folder.glob("*.csv") if path.name.endswith(endings)]
    names = sorted({name.rpartition("_")[0] for name in found})
    if not names:
        raise FileNotFoundError(
            "inD: no NN_tracks.csv, NN_tracksMeta.csv and NN_recordingMeta.csv in "
            f"{folder}. Set NMN_DATA_DIR to the folder that holds inD/, or ask the "
            "authors of the data set for a copy. Without it, use the made-up tracks of "
            "nmn_jax.data.trajectories.synthetic (--config=synthetic of experiments)."
        )
    parts = [read(folder, name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if part.fps[0] != parts[0].fps[0]:
            problem = f"{part.fps[0]:g} where {names[0]} has {parts[0].fps[0]:g}"
            path = folder / f"{name}_recordingMeta.csv"
            raise fault(path, problem, row=2, column="frameRate")
    return records.concatenate(parts)


def read(folder: pathlib.Path, name: str) -> records.Tracks:
    """Tracks of one recording.

    Args:
        folder: where its three tables lie.
        name: number of the recording as the files have it, such as ``07``.

    Returns:
        ``Tracks``: recording ``name``, location the data set's ``locationId``.

    Raises:
        ValueError: as for ``load``.
    """
    for kind in TABLES:
        path = folder / f"{name}_{kind}.csv"
        if not path.is_file():
            raise fault(path, "this table is missing; a recording has three")
    recording = tables.read(folder / f"{name}_recordingMeta.csv", RECORDING_META)
    meta = tables.read(folder / f"{name}_tracksMeta.csv", TRACKS_META)
    tracks = tables.read(folder / f"{name}_tracks.csv", TRACKS)
    for table in (recording, meta, tracks):
        _check_recording(table, name)
    _check_meta(recording, meta)
    offsets = tables.offsets_of_tracks(tracks, ["trackId"], frame="frame")
    rows = _rows_of_tracks(tracks, meta, offsets)
    _check_frames(tracks, meta, offsets, rows=rows)
    fps = float(recording["frameRate"][0])
    _check_rate(recording, tracks, offsets)
    labels = [OWN.get(str(kind), str(kind)) for kind in meta["class"][rows]]
    return records.Tracks(
        recordings=np.full(len(rows), name),
        locations=np.full(len(rows), str(recording["locationId"][0])),
        numbers=meta["trackId"][rows],
        labels=np.array(labels),
        fps=np.full(len(rows), fps),
        offsets=offsets,
        frames=tracks["frame"],
        xy=np.stack([tracks["xCenter"], tracks["yCenter"]], -1),
        lost=np.zeros(len(tracks["frame"]), np.int8),
    )


def _check_recording(table: Table, name: str) -> None:
    if not name.isdecimal():
        raise fault(table.path, f"{name!r} is no number of a recording")
    wrong = table["recordingId"] != int(name)
    table.refuse("recordingId", wrong, f"{{}} in a file of recording {name}")


def _check_meta(recording: Table, meta: Table) -> None:
    """The one row of the recording, and that the table of tracks agrees with itself."""
    if len(recording["recordingId"]) != 1:
        problem = f"{len(recording['recordingId'])} rows where one belongs"
        raise fault(recording.path, problem, row=3)
    again = np.ones(len(meta["trackId"]), bool)
    again[np.unique(meta["trackId"], return_index=True)[1]] = False
    meta.refuse("trackId", again, "a second row for track {}")
    known = np.isin(meta["class"], CLASSES)
    meta.refuse("class", ~known, "{!r} is not one of " + ", ".join(CLASSES))
    frames = meta["finalFrame"] - meta["initialFrame"] + 1
    problem = "{} is not the number of frames from initialFrame to finalFrame"
    meta.refuse("numFrames", meta["numFrames"] != frames, problem)
    counted = recording["numTracks"] != len(meta["trackId"])
    problem = f"{{}} where {meta.path.name} has {len(meta['trackId'])} tracks"
    recording.refuse("numTracks", counted, problem)


def _rows_of_tracks(tracks: Table, meta: Table, offsets: np.ndarray) -> np.ndarray:
    """The row of ``meta`` for every track."""
    numbers = tracks["trackId"][offsets[:-1]]
    order = np.argsort(meta["trackId"])
    place = np.searchsorted(meta["trackId"], numbers, sorter=order)
    rows = order[np.minimum(place, len(order) - 1)]
    missing = np.zeros(len(tracks["trackId"]), bool)
    missing[offsets[:-1]] = meta["trackId"][rows] != numbers
    tracks.refuse("trackId", missing, f"track {{}} has no row in {meta.path.name}")
    without = ~np.isin(meta["trackId"], numbers)
    meta.refuse("trackId", without, f"track {{}} has no rows in {tracks.path.name}")
    return rows


def _check_frames(
    tracks: Table, meta: Table, offsets: np.ndarray, *, rows: np.ndarray
) -> None:
    """Frames run from the initial to the final one without a gap."""
    lengths = np.diff(offsets)
    age = tracks["frame"] - np.repeat(meta["initialFrame"][rows], lengths)
    steps = np.arange(len(age)) - np.repeat(offsets[:-1], lengths)
    problem = (
        f"{{}} is not the next frame, counted from initialFrame in {meta.path.name}"
    )
    tracks.refuse("frame", age != steps, problem)
    problem = "{} is not the number of frames since the track's first"
    tracks.refuse("trackLifetime", tracks["trackLifetime"] != steps, problem)
    wrong = np.zeros(len(meta["trackId"]), bool)
    wrong[rows] = meta["numFrames"][rows] != lengths
    problem = f"{{}} is not the number of the track's rows in {tracks.path.name}"
    meta.refuse("numFrames", wrong, problem)


def _check_rate(recording: Table, tracks: Table, offsets: np.ndarray) -> None:
    """At the frame rate stated, positions move about as fast as the velocities say."""
    moved = np.diff(np.stack([tracks["xCenter"], tracks["yCenter"]]), axis=1)
    steps = np.hypot(*moved)
    steps[offsets[1:-1] - 1] = 0.0  # from one track to the next
    stated = np.hypot(tracks["xVelocity"], tracks["yVelocity"]).sum()
    rate = recording["frameRate"][0]
    found = rate * steps.sum()
    if max(found, stated) > 2 * min(found, stated) + 0.1 * len(tracks["frame"]):
        problem = (
            f"at {rate:g} frames per second the tracks move {found / stated:.2g} times "
            f"as fast as xVelocity and yVelocity in {tracks.path.name} say"
        )
        raise recording.fault(0, "frameRate", problem)
