"""Test Area Autonomous Driving Baden-Württemberg (Zipfl et al., ITSC 2020).

Cyclists and pedestrians at two signalled intersections in Karlsruhe: metres, east and
north of the recording's origin, one row each 100 ms. Licence: CC BY-NC-SA 4.0, for
non-commercial scientific use.
"""

import os
import pathlib

import numpy as np

from nmn_jax.data import files
from nmn_jax.data.trajectories import records, tables
from nmn_jax.data.trajectories.tables import Column

FILE = "tafbw_vru_tracks.csv.gz"
CLASSES = {"Bike": "cyclist", "Pedestrian": "pedestrian"}
FPS = 10.0
_STEP = 100  # milliseconds

COLUMNS = (
    Column("recording", "text"),
    Column("sequence", "text"),
    Column("track_id", "whole", least=0),
    Column("frame_id", "whole", least=0),
    Column("timestamp_ms", "whole", least=0),
    Column("agent_type", "text"),
    Column("x", "number"),
    Column("y", "number"),
    Column("vx", "number"),
    Column("vy", "number"),
    Column("psi_rad", "number"),
)


def load(directory: str | os.PathLike | None = None) -> records.Tracks:
    """Tracks of the packed table.

    Args:
        directory: its folder; by default ``NMN_DATA_DIR/trajectories``.

    Raises:
        FileNotFoundError: the file is missing; the message says what to do.
        ValueError: something in the file is wrong; the message names row and column.
    """
    (path,) = files.require(
        "trajectories",
        [FILE],
        directory=directory,
        offline="the made-up tracks of nmn_jax.data.trajectories.synthetic",
        obtain="pack the authors' tracks into this file",
    )
    return read(path)


def read(path: pathlib.Path) -> records.Tracks:
    """Tracks of one table, ``.csv`` or ``.csv.gz``.

    Returns:
        ``Tracks``: recording ``recording/sequence`` (numbers are unique within it),
        location the intersection, frames of 100 ms since the recording's beginning.

    Raises:
        ValueError: as for ``load``.
    """
    table = tables.read(path, COLUMNS)
    kinds = list(CLASSES)
    table.refuse(
        "agent_type",
        ~np.isin(table["agent_type"], kinds),
        "{!r} is not one of " + ", ".join(kinds),
    )
    time = table["timestamp_ms"]
    table.refuse(
        "timestamp_ms",
        time % _STEP != 0,
        f"{{}} is no multiple of {_STEP} ms, which {FPS:g} frames per second are",
    )
    keys = ("recording", "sequence", "track_id")
    offsets = tables.offsets_of_tracks(table, keys, frame="timestamp_ms")
    firsts = offsets[:-1]
    own = np.repeat(table["agent_type"][firsts], np.diff(offsets))
    table.refuse(
        "agent_type",
        own != table["agent_type"],
        "{!r} is another class than the track began with",
    )
    recordings = table["recording"][firsts]
    return records.Tracks(
        recordings=np.array(
            [
                f"{r}/{s}"
                for r, s in zip(recordings, table["sequence"][firsts], strict=True)
            ]
        ),
        locations=np.array([name.split("_")[0] for name in recordings]),
        numbers=table["track_id"][firsts],
        labels=np.array([CLASSES[kind] for kind in table["agent_type"][firsts]]),
        fps=np.full(len(firsts), FPS),
        offsets=offsets,
        frames=time // _STEP,
        xy=np.stack([table["x"], table["y"]], -1),
        lost=np.zeros(len(time), np.int8),
    )
