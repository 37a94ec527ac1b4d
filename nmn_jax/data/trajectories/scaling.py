"""Metres to [-0.5, 0.5] and back, by the extent of the training data.

scale = scaling.fit(windows.take(draw.train), "location")
frame = scaling.frame(scale, windows)
scaled = frame.scaled(windows.xy)          # [n, points, 2]
metres = frame.metres(scaled)
"""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Float64, Shaped

from nmn_jax.data.trajectories.cutting import Windows

Kind = Literal["location", "global", "per_track"]
# Metres; a side is never taken to be shorter, so that standing still is not blown up.
LEAST = 1.0


class Scale(NamedTuple):
    """Extent of the training data: the whole in row 0, then location by location."""

    kind: str
    locations: Shaped[np.ndarray, " locations"]
    centre: Float64[np.ndarray, "locations+1 2"]  # metres
    size: Float64[np.ndarray, "locations+1 2"]  # metres, along x and y


class Frame(NamedTuple):
    """Where every window's own coordinates lie: centre and size in metres."""

    centre: Float64[np.ndarray, "windows 2"]
    size: Float64[np.ndarray, "windows 2"]

    def scaled(self, xy: Float[Any, "windows points 2"]) -> Any:
        """Metres to scaled units."""
        return (xy - self.centre[:, None]) / self.size[:, None]

    def metres(self, scaled: Float[Any, "windows points 2"]) -> Any:
        """Scaled units to metres, the inverse of ``scaled``."""
        return scaled * self.size[:, None] + self.centre[:, None]


def fit(train: Windows, kind: str = "location") -> Scale:
    """Smallest and largest x and y of the training windows.

    Args:
        train: the training windows and no others.
        kind: ``location`` (each location has its own extent), ``global`` (one for all)
            or ``per_track`` (every window has its own, see ``frame``).

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
    ``per_track`` only the points observed decide, not those to be predicted, which may
    therefore lie outside [-0.5, 0.5].
    """
    if scale.kind == "per_track":
        seen = [_box(xy) for xy in windows.xy[:, : windows.observed]]
        none = np.zeros((0, 2))
        centres, sizes = zip(*seen, strict=True) if seen else (none, none)
        return Frame(np.array(centres), np.array(sizes))
    rows = np.zeros(len(windows.xy), np.int64)
    for row, name in enumerate(scale.locations, start=1):
        rows[windows.locations == name] = row
    return Frame(scale.centre[rows], scale.size[rows])


def unseen(scale: Scale, windows: Windows) -> int:
    """How many windows are of a location that the training data do not have."""
    if scale.kind != "location":
        return 0
    return int((~np.isin(windows.locations, scale.locations)).sum())


def _box(xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and size of what ``[points, 2]`` cover."""
    low, high = xy.min(0), xy.max(0)
    return (low + high) / 2, np.maximum(high - low, LEAST)
