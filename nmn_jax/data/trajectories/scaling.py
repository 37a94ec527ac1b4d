"""Metres to [-0.5, 0.5] and back, by the extent of the training data; or to where a
road user is and heads.

scale = scaling.fit(windows.take(draw.train), "location")
frame = scaling.frame(scale, windows)
scaled = frame.scaled(windows.xy)          # [n, points, 2]
metres = frame.metres(scaled)
"""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Float64, Shaped

from nmn_jax.data.trajectories.cutting import Windows

Kind = Literal["location", "global", "per_track", "heading"]
# Metres; a side is never taken to be shorter, so that standing still is not blown up.
LEAST = 1.0
# Seconds over which a heading is the mean.
RECENT = 0.5


class Scale(NamedTuple):
    """Extent of the training data: the whole in row 0, then location by location."""

    kind: str
    locations: Shaped[np.ndarray, " locations"]
    centre: Float64[np.ndarray, "locations+1 2"]  # metres
    size: Float64[np.ndarray, "locations+1 2"]  # metres, along x and y


class Frame(NamedTuple):
    """Where every window's own coordinates lie: centre and size in metres, and their
    axes, orthonormal, one a row."""

    centre: Float64[np.ndarray, "windows 2"]
    size: Float64[np.ndarray, "windows 2"]
    axes: Float64[np.ndarray, "windows 2 2"]

    def scaled(self, xy: Float[Any, "windows points 2"]) -> Any:
        """Metres to scaled units."""
        return (xy - self.centre[:, None]) @ self.axes.mT / self.size[:, None]

    def metres(self, scaled: Float[Any, "windows points 2"]) -> Any:
        """Scaled units to metres, the inverse of ``scaled``."""
        return (scaled * self.size[:, None]) @ self.axes + self.centre[:, None]


def fit(train: Windows, kind: str = "location") -> Scale:
    """Smallest and largest x and y of the training windows.

    Args:
        train: the training windows and no others.
        kind: ``location`` (each location has its own extent), ``global`` (one for all)
            or ``per_track`` and ``heading`` (every window has its own, see ``frame``).

    Raises:
        ValueError: unknown kind, or no windows.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(get_args(Kind))}")
    if not len(train.xy):
        raise ValueError("no training windows to fit a scale to; draw at least one")
    locations = np.unique(train.locations) if kind == "location" else np.array([""])[:0]
    parts = [train.xy, *(train.xy[train.locations == name] for name in locations)]
    centre, size = zip(*(_box(xy.reshape(-1, 2)) for xy in parts), strict=True)
    return Scale(kind, locations, np.stack(centre), np.stack(size))


def frame(scale: Scale, windows: Windows) -> Frame:
    """The frame of every window.

    A location that the training data do not have is scaled like the whole. With
    ``per_track`` and ``heading`` only the points observed decide, not those to be
    predicted, which may therefore lie outside [-0.5, 0.5]. A ``heading`` has its origin
    at the last point observed, its first axis along the mean velocity of the last half
    second, and for its unit, along both axes, the way that this velocity covers in the
    time to be predicted: whoever keeps going arrives at (1, 0).
    """
    straight = np.broadcast_to(np.eye(2), (len(windows.xy), 2, 2))
    if scale.kind == "heading":
        return _headings(windows)
    if scale.kind == "per_track":
        seen = [_box(xy) for xy in windows.xy[:, : windows.observed]]
        none = np.zeros((0, 2))
        centres, sizes = zip(*seen, strict=True) if seen else (none, none)
        return Frame(np.array(centres), np.array(sizes), straight)
    rows = np.zeros(len(windows.xy), np.int64)
    for row, name in enumerate(scale.locations, start=1):
        rows[windows.locations == name] = row
    return Frame(scale.centre[rows], scale.size[rows], straight)


def _headings(windows: Windows) -> Frame:
    seen = windows.xy[:, : windows.observed]
    ahead = windows.xy.shape[1] - windows.observed
    recent = min(max(round(RECENT * windows.fps), 1), windows.observed - 1)
    moved = (seen[:, -1] - seen[:, -1 - recent]) / recent
    speed = np.linalg.norm(moved, axis=1, keepdims=True)
    # Who stands still heads along x, as well as anywhere.
    along = np.where(speed > 0, moved / np.where(speed > 0, speed, 1), [1.0, 0.0])
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    unit = np.maximum(speed * ahead, LEAST)
    return Frame(seen[:, -1], np.repeat(unit, 2, 1), np.stack([along, across], 1))


def unseen(scale: Scale, windows: Windows) -> int:
    """How many windows are of a location that the training data do not have."""
    if scale.kind != "location":
        return 0
    return int((~np.isin(windows.locations, scale.locations)).sum())


def _box(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and size of what ``[points, 2]`` cover."""
    low, high = xy.min(0), xy.max(0)
    return (low + high) / 2, np.maximum(high - low, LEAST)
