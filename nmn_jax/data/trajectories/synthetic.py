"""Made-up cyclists and pedestrians, for use without any files.

Every road user follows a road of its location with a speed of its own, a course that
bends smoothly and perhaps a stop. Cyclists are fast and steady; pedestrians are slow,
turn sharper and stop more often. The n-th cyclist depends on the seed and n only, and
so does the n-th pedestrian.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from nmn_jax.data.trajectories import records

FPS = 25.0
_KNOT = 1.0  # seconds between two values of a course that changes smoothly
_ROADS = 4  # of a location


class Kind(NamedTuple):
    """How the road users of one class move; spreads are standard deviations."""

    speed: float  # metres per second, of the median road user
    spread: float  # of the logarithm of the speed among road users
    unsteady: float  # of the logarithm of the speed in the course of a track
    bend: float  # radians per second
    stops: float  # share that stops once
    aside: float  # metres beside the middle of the road


KINDS = {
    "cyclist": Kind(4.5, 0.2, 0.1, 0.07, 0.15, 1.0),
    "pedestrian": Kind(1.35, 0.15, 0.08, 0.12, 0.25, 2.5),
}


def make(
    seed: int = 0,
    *,
    cyclists: int = 200,
    pedestrians: int = 120,
    locations: int = 2,
    recordings: int = 2,
) -> records.Tracks:
    """Tracks of 6 to 16 seconds at 25 frames per second.

    Args:
        seed: decides everything.
        cyclists: number of cyclists, spread over the recordings in turn.
        pedestrians: number of pedestrians, likewise.
        locations: places with roads of their own.
        recordings: of each location.

    Raises:
        ValueError: a count is below 1.
    """
    counts = {
        "cyclists": cyclists, "pedestrians": pedestrians, "locations": locations,
        "recordings": recordings,
    }  # fmt: skip
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value}: must be at least 1")
    tracks = [
        _track(seed, label, number, spread=(locations, recordings))
        for label, count in zip(records.LABELS, (cyclists, pedestrians), strict=True)
        for number in range(count)
    ]
    return records.from_tracks(sorted(tracks, key=lambda track: track[:3]))


def _track(
    seed: int, label: str, number: int, *, spread: tuple[int, int]
) -> records.Track:
    """The ``number``-th of its class, in one of ``locations * recordings``."""
    locations, recordings = spread
    recording = number % (locations * recordings)
    place = recording // recordings
    code = records.LABELS.index(label)
    random = np.random.default_rng((seed, 1 + code, number))
    frames, xy = _walk(random, KINDS[label], _road(seed, place, random))
    name, location = f"{recording:02d}", str(place + 1)
    return records.Track(name, location, 2 * number + code, label, FPS, frames, xy)


def _road(
    seed: int, place: int, random: np.random.Generator
) -> tuple[Float64[np.ndarray, " 2"], float]:
    """Where a road of the location begins, and its direction; taken either way."""
    roads = np.random.default_rng((seed, 0, place))
    begins = roads.uniform(-8.0, 8.0, (_ROADS, 2)) + np.array([30.0, -30.0])
    ways = roads.uniform(0, np.pi, _ROADS)
    road = random.integers(_ROADS)
    return begins[road], float(ways[road] + np.pi * random.integers(2))


def _walk(
    random: np.random.Generator,
    kind: Kind,
    road: tuple[Float64[np.ndarray, " 2"], float],
):
    """Frames ``[points]`` and positions ``[points, 2]`` of one road user."""
    seconds = random.uniform(6.0, 16.0)
    time = np.arange(int(seconds * FPS)) / FPS
    middle, way = road
    speed = kind.speed * np.exp(kind.spread * random.normal())
    speed = speed * np.exp(kind.unsteady * _smooth(random, time))
    if random.uniform() < kind.stops:
        speed = speed * _stop(random, time)
    course = way + np.cumsum(kind.bend * _smooth(random, time)) / FPS
    heading = np.stack([np.cos(course), np.sin(course)], -1)
    path = np.cumsum(speed[:, None] * heading, axis=0) / FPS
    ahead = np.array([np.cos(way), np.sin(way)])
    aside = kind.aside * random.normal() * np.array([-ahead[1], ahead[0]])
    # The road user passes the middle of the road's stretch half-way through.
    begin = middle + aside - 0.5 * kind.speed * seconds * ahead
    first = random.integers(0, 2_000)
    return first + np.arange(len(time)), begin + path


def _smooth(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Noise of unit size that changes within about a second."""
    knots = np.arange(0.0, time[-1] + 2 * _KNOT, _KNOT)
    return np.interp(time, knots, random.normal(size=len(knots)))


def _stop(random: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Factor of the speed: down to standing still for 1 to 3 seconds, and up again."""
    begin = random.uniform(0.2, 0.6) * time[-1]
    end = begin + random.uniform(1.0, 3.0)
    ramp = np.maximum(begin - time, time - end) / 1.5  # slows down within 1.5 s
    return np.clip(ramp, 0.0, 1.0)
