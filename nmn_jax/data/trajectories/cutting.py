"""Windows of equal length cut from tracks, and draws that keep road users apart."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from nmn_jax.data.trajectories import records

PerTrack = Literal["one", "all"]


class Windows(NamedTuple):
    """Stretches of tracks: ``observed`` points to see and the rest to predict."""

    xy: Float64[np.ndarray, "windows points 2"]  # metres
    users: Int64[np.ndarray, " windows"]  # one number for all windows of a road user
    recordings: Shaped[np.ndarray, " windows"]
    locations: Shaped[np.ndarray, " windows"]
    numbers: Int64[np.ndarray, " windows"]  # of the track, within its recording
    labels: Shaped[np.ndarray, " windows"]
    starts: Int64[np.ndarray, " windows"]  # frame of the first point
    observed: int
    fps: float  # of the points of a window

    def take(self, chosen: Int64[np.ndarray, " chosen"]) -> "Windows":
        """The windows with these numbers, in this order."""
        return self._replace(
            xy=self.xy[chosen],
            users=self.users[chosen],
            recordings=self.recordings[chosen],
            locations=self.locations[chosen],
            numbers=self.numbers[chosen],
            labels=self.labels[chosen],
            starts=self.starts[chosen],
        )


class Draw(NamedTuple):
    """Numbers of windows; no road user is in two of the parts."""

    train: Int64[np.ndarray, " train"]  # cyclists
    validation: Int64[np.ndarray, " validation"]  # cyclists that are left
    support: Int64[np.ndarray, " support"]  # pedestrians to adapt to
    held_out: Int64[np.ndarray, " held_out"]  # pedestrians that are left


def windows(
    tracks: records.Tracks,
    observed: int = 50,
    predicted: int = 50,
    *,
    stride: int = 1,
    every: int | None = None,
) -> Windows:
    """Cut tracks without gaps into windows of ``observed + predicted`` points.

    Args:
        tracks: of one frame rate. Tracks too short for a window give none.
        observed: points that are seen.
        predicted: points that are to be predicted.
        stride: frames between two points of a window.
        every: frames between the starts of two windows of a track; by default as many
            as a window covers, so that windows of a track share no frame.

    Raises:
        ValueError: a number is not positive, tracks have gaps or several rates.
    """
    span = (observed + predicted - 1) * stride + 1
    every = span if every is None else every
    given = {
        "observed": observed, "predicted": predicted, "stride": stride, "every": every
    }  # fmt: skip
    for name, value in given.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    fps = records.one_rate(tracks)
    require_no_gaps(tracks)
    counts = np.maximum((tracks.lengths - span) // every + 1, 0)
    rows = np.repeat(np.arange(len(tracks)), counts)
    order = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    firsts = tracks.offsets[rows] + every * order
    points = firsts[:, None] + stride * np.arange(observed + predicted)
    return Windows(
        xy=tracks.xy[points],
        users=records.identities(tracks)[rows],
        recordings=tracks.recordings[rows],
        locations=tracks.locations[rows],
        numbers=tracks.numbers[rows],
        labels=tracks.labels[rows],
        starts=tracks.frames[firsts],
        observed=observed,
        fps=fps / stride,
    )


def draw(
    cut: Windows,
    seed: int,
    *,
    train: int = 150,
    support: int = 10,
    per_track: PerTrack = "one",
) -> Draw:
    """Choose road users at random: cyclists to train on, pedestrians to adapt to.

    The choice among cyclists and that among pedestrians do not depend on each other.

    Args:
        cut: windows of both classes.
        seed: decides the choice.
        train: cyclists to train on; the others are for validation.
        support: pedestrians to adapt to; the others are held out.
        per_track: one window of every road user, at random, or all of them.

    Raises:
        ValueError: there are too few road users; at least one must be held out. Or
            ``per_track`` is neither ``one`` nor ``all``.
    """
    if per_track not in get_args(PerTrack):
        raise ValueError(f"per_track={per_track!r}: choose 'one' or 'all'")
    parts: list[Int64[np.ndarray, " chosen"]] = []
    for number, (label, first) in enumerate(
        zip(records.LABELS, (train, support), strict=True)
    ):
        random = np.random.default_rng((seed, number))
        own = np.flatnonzero(cut.labels == label)
        parts += _halve(cut.users, own, first, random=random, per_track=per_track)
    result = Draw(*parts)
    for name, wanted in (("train", train), ("support", support)):
        found = len(np.unique(cut.users[getattr(result, name)]))
        if found < wanted or wanted < 1:
            label = records.LABELS[name == "support"]
            raise ValueError(
                f"{name}={wanted}: there are {found} road users of class {label!r} "
                "with a window; choose from 1 to that"
            )
    if not len(result.held_out):
        raise ValueError(
            f"support={support}: no pedestrian is left to be held out; choose fewer"
        )
    return result


def _halve(
    users: np.ndarray,
    own: np.ndarray,
    first: int,
    *,
    random: np.random.Generator,
    per_track: PerTrack,
) -> list[np.ndarray]:
    """Windows ``own`` of the ``first`` road users, in random order, and of the rest."""
    order = random.permutation(np.unique(users[own]))
    shuffled = random.permutation(own)
    if per_track == "one":
        shuffled = shuffled[np.unique(users[shuffled], return_index=True)[1]]
    chosen = np.isin(users[shuffled], order[:first])
    return [np.sort(shuffled[chosen]), np.sort(shuffled[~chosen])]


def require_no_gaps(tracks: records.Tracks) -> None:
    """Refuse tracks with missing frames.

    Raises:
        ValueError: a frame is missing within a track.
    """
    missing = (np.diff(tracks.frames, prepend=0) != 1) & ~tracks.begins
    if missing.any():
        point = int(np.flatnonzero(missing)[0])
        track = tracks[int(tracks.owners[point])]
        raise ValueError(
            f"track {track.number} of recording {track.recording!r} misses frames "
            f"before {tracks.frames[point]}; clean the tracks, gaps() cuts there"
        )
