"""Tracks of road users: one record each, and all of a data set in columns.

Positions are metres. Frames are counted at the track's own rate: without gaps they rise
by one, and the time of a point is ``frames / fps`` seconds.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64, Shaped

# What a road user is called here; every other is named as its data set names it.
LABELS = ("cyclist", "pedestrian")
LOST, SEEN, UNKNOWN = 1, 0, -1  # whether a point was out of the camera's view


class Track(NamedTuple):
    """One road user from the first frame to the last; N points."""

    recording: str
    location: str  # recordings of one location share a coordinate system
    number: int  # the data set's own, unique within its recording
    label: str
    fps: float  # frames per second
    frames: Int64[np.ndarray, " points"]
    xy: Float64[np.ndarray, "points 2"]  # metres


@dataclasses.dataclass(frozen=True, eq=False)
class Tracks:
    """Many tracks in columns: track k has the points ``offsets[k]:offsets[k + 1]``.

    A track that was cut is several rows with one recording and number.
    """

    recordings: Shaped[np.ndarray, " tracks"]
    locations: Shaped[np.ndarray, " tracks"]
    numbers: Int64[np.ndarray, " tracks"]
    labels: Shaped[np.ndarray, " tracks"]
    fps: Float64[np.ndarray, " tracks"]
    offsets: Int64[np.ndarray, " tracks+1"]
    frames: Int64[np.ndarray, " points"]
    xy: Float64[np.ndarray, "points 2"]
    lost: Int8[np.ndarray, " points"]  # LOST, SEEN or UNKNOWN

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, number: int) -> Track:
        own = slice(*self.offsets[[number, number + 1]])
        return Track(
            str(self.recordings[number]),
            str(self.locations[number]),
            int(self.numbers[number]),
            str(self.labels[number]),
            float(self.fps[number]),
            self.frames[own],
            self.xy[own],
        )

    def __iter__(self) -> Iterator[Track]:
        return (self[number] for number in range(len(self)))

    @property
    def lengths(self) -> Int64[np.ndarray, " tracks"]:
        """Points of every track."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int64[np.ndarray, " points"]:
        """The row of the track that every point belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def begins(self) -> Bool[np.ndarray, " points"]:
        """Where a track has its first point."""
        first = np.zeros(len(self.frames), bool)
        first[self.offsets[:-1]] = True
        return first


def from_tracks(tracks: Sequence[Track]) -> Tracks:
    """Columns of single tracks, none of whose points were lost.

    Raises:
        ValueError: a track has no points.
    """
    empty = [track.number for track in tracks if not len(track.frames)]
    if empty:
        raise ValueError(f"track {empty[0]} has no points; leave it out")
    points = np.array([0, *(len(track.frames) for track in tracks)], np.int64)
    frames = [np.zeros(0, np.int64), *(track.frames for track in tracks)]
    xy = [np.zeros((0, 2)), *(track.xy for track in tracks)]
    return Tracks(
        recordings=np.array([track.recording for track in tracks], np.str_),
        locations=np.array([track.location for track in tracks], np.str_),
        numbers=np.array([track.number for track in tracks], np.int64),
        labels=np.array([track.label for track in tracks], np.str_),
        fps=np.array([track.fps for track in tracks], np.float64),
        offsets=np.cumsum(points),
        frames=np.concatenate(frames),
        xy=np.concatenate(xy),
        lost=np.zeros(points.sum(), np.int8),
    )


def concatenate(parts: Sequence[Tracks]) -> Tracks:
    """The tracks of several data sets or recordings after each other.

    Raises:
        ValueError: no part is given.
    """
    if not parts:
        raise ValueError("no tracks to join: give at least one Tracks")
    lengths = np.concatenate([part.lengths for part in parts])
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in dataclasses.fields(Tracks)
        if field.name != "offsets"
    }
    return Tracks(offsets=_offsets(lengths), **columns)


def select(tracks: Tracks, keep: Bool[np.ndarray, " tracks"]) -> Tracks:
    """The tracks for which ``keep`` is true."""
    points = np.repeat(keep, tracks.lengths)
    return Tracks(
        tracks.recordings[keep],
        tracks.locations[keep],
        tracks.numbers[keep],
        tracks.labels[keep],
        tracks.fps[keep],
        _offsets(tracks.lengths[keep]),
        tracks.frames[points],
        tracks.xy[points],
        tracks.lost[points],
    )


def keep_points(tracks: Tracks, keep: Bool[np.ndarray, " points"]) -> Tracks:
    """The points for which ``keep`` is true; a track without any left goes as well."""
    before = np.concatenate([[0], np.cumsum(keep)])
    left = dataclasses.replace(
        tracks,
        offsets=before[tracks.offsets],
        frames=tracks.frames[keep],
        xy=tracks.xy[keep],
        lost=tracks.lost[keep],
    )
    return select(left, left.lengths > 0)


def cut(tracks: Tracks, starts: Bool[np.ndarray, " points"]) -> Tracks:
    """Cut tracks before every point for which ``starts`` is true; no point goes."""
    firsts = np.flatnonzero(starts | tracks.begins)
    rows = tracks.owners[firsts]
    return dataclasses.replace(
        tracks,
        recordings=tracks.recordings[rows],
        locations=tracks.locations[rows],
        numbers=tracks.numbers[rows],
        labels=tracks.labels[rows],
        fps=tracks.fps[rows],
        offsets=np.append(firsts, len(tracks.frames)),
    )


def identities(tracks: Tracks) -> Int64[np.ndarray, " tracks"]:
    """A number for every road user: pieces of one track have the same."""
    pairs = np.stack([_codes(tracks.recordings), tracks.numbers])
    return _codes(pairs, axis=1)


def one_rate(tracks: Tracks) -> float:
    """The frame rate that all tracks have.

    Raises:
        ValueError: there are no tracks, or they have several rates.
    """
    rates = np.unique(tracks.fps)
    if len(rates) != 1:
        given = ", ".join(f"{rate:g}" for rate in rates) or "no tracks"
        raise ValueError(
            f"frames per second of the tracks: {given}; one rate is needed, bring "
            "each data set to it with resample(tracks, fps) before joining them"
        )
    return float(rates[0])


def _codes(values: np.ndarray, axis: int = 0) -> Int64[np.ndarray, " tracks"]:
    found = np.unique(values, axis=axis, return_inverse=True)[1]
    return found.reshape(-1).astype(np.int64)


def _offsets(lengths: Int64[np.ndarray, " tracks"]) -> Int64[np.ndarray, " ends"]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
