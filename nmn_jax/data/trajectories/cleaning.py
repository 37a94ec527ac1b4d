"""What is taken out of tracks before anything is learned, rule by rule, with counts.

A rule is a name and a function of tracks; ``clean`` applies them in order and reports
what each has left. Nothing else in this folder drops a track or a point.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nmn_jax.data.trajectories import records
from nmn_jax.data.trajectories.records import Tracks

_LOG = logging.getLogger(__name__)

SPEED = 15.0  # metres per second that no cyclist rides and no pedestrian walks
EXTENT = 0.8  # metres; who never leaves a square of this size is standing


class Rule(NamedTuple):
    """One reason to drop or cut tracks."""

    name: str
    apply: Callable[[Tracks], Tracks]


class Count(NamedTuple):
    """How much there is of one class."""

    users: int  # road users
    tracks: int  # more than road users once some were cut
    points: int


class Step(NamedTuple):
    """What one rule has left."""

    rule: str
    changed: int  # road users that lost points, were cut or went
    left: dict[str, Count]  # by class


class Cleaned(NamedTuple):
    """Tracks after all rules and what each rule did; the first step is the start."""

    tracks: Tracks
    report: tuple[Step, ...]


def clean(tracks: Tracks, rules: Sequence[Rule]) -> Cleaned:
    """Apply rules in order; every step is logged with its counts."""
    report = [Step("read", 0, _count(tracks))]
    for rule in rules:
        before, tracks = tracks, rule.apply(tracks)
        report.append(Step(rule.name, _changed(before, tracks), _count(tracks)))
    for line in describe(report).splitlines():
        _LOG.info("%s", line)
    return Cleaned(tracks, tuple(report))


def standard(points: int = 100) -> tuple[Rule, ...]:
    """The rules of every data set, in order.

    Args:
        points: fewest consecutive points a track needs to be of use.
    """
    return (
        road_users(),
        seen(),
        still_ends(),
        gaps(),
        jumps(),
        standing(),
        short(points),
    )


def road_users() -> Rule:
    """Keep cyclists and pedestrians only."""

    def apply(tracks: Tracks) -> Tracks:
        return records.select(tracks, np.isin(tracks.labels, records.LABELS))

    return Rule("neither cyclist nor pedestrian", apply)


def seen() -> Rule:
    """Drop points marked lost: the road user was out of view and has no position."""

    def apply(tracks: Tracks) -> Tracks:
        return records.keep_points(tracks, tracks.lost != records.LOST)

    return Rule("marked lost", apply)


def still_ends() -> Rule:
    """Cut off standing still at both ends, in tracks whose lost points are not marked.

    Out of view the last position seen is repeated, so a track with such points begins
    and ends with equal ones. One of them stays.
    """

    def apply(tracks: Tracks) -> Tracks:
        unmarked = np.zeros(len(tracks), bool)
        unmarked[tracks.owners[tracks.lost == records.UNKNOWN]] = True
        return records.keep_points(
            tracks, ~unmarked[tracks.owners] | ~_still_ends(tracks)
        )

    return Rule("standing still at the ends, lost or not is unknown", apply)


def gaps() -> Rule:
    """Cut tracks where a frame is missing."""

    def apply(tracks: Tracks) -> Tracks:
        return records.cut(tracks, np.diff(tracks.frames, prepend=0) != 1)

    return Rule("cut at missing frames", apply)


def jumps(speed: float | int = SPEED) -> Rule:
    """Cut tracks between two points that are farther apart than ``speed`` (m/s) allows.

    Raises:
        ValueError: the speed is not positive.
    """
    _positive("speed", speed)

    def apply(tracks: Tracks) -> Tracks:
        steps = np.linalg.norm(np.diff(tracks.xy, axis=0, prepend=0.0), axis=1)
        seconds = np.diff(tracks.frames, prepend=0) / tracks.fps[tracks.owners]
        fast = steps > speed * seconds
        return records.cut(tracks, fast & ~tracks.begins)

    return Rule(f"cut at jumps, above {speed:g} m/s", apply)


def standing(extent: float | int = EXTENT) -> Rule:
    """Drop tracks that never leave a square with sides of ``extent`` metres.

    Raises:
        ValueError: the extent is not positive.
    """
    _positive("extent", extent)

    def apply(tracks: Tracks) -> Tracks:
        if not len(tracks):
            return tracks
        firsts = tracks.offsets[:-1]
        high = np.maximum.reduceat(tracks.xy, firsts)
        low = np.minimum.reduceat(tracks.xy, firsts)
        return records.select(tracks, (high - low).max(1) >= extent)

    return Rule(f"standing, within {extent:g} m", apply)


def short(points: int) -> Rule:
    """Drop tracks with fewer points.

    Raises:
        ValueError: not a positive number of points.
    """
    _positive("points", points)

    def apply(tracks: Tracks) -> Tracks:
        return records.select(tracks, tracks.lengths >= points)

    return Rule(f"short, fewer than {points} points", apply)


def describe(report: Sequence[Step]) -> str:
    """The report as a Markdown table: what each rule has left, a class a column."""
    labels = sorted({label for step in report for label in step.left})
    classes = [f"{label}: road users / tracks / points" for label in labels]
    head = ["rule", "road users changed", *classes]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for step in report:
        counts = [step.left.get(label, Count(0, 0, 0)) for label in labels]
        cells = [
            f"{count.users:,} / {count.tracks:,} / {count.points:,}" for count in counts
        ]
        lines.append(f"| {' | '.join([step.rule, f'{step.changed:,}', *cells])} |")
    return "\n".join(lines)


def as_json(report: Sequence[Step]) -> list[dict[str, Any]]:
    """The report as lists and dictionaries, for a result file."""
    return [
        {
            "rule": step.rule,
            "changed": step.changed,
            "left": {label: count._asdict() for label, count in step.left.items()},
        }
        for step in report
    ]


def from_json(stored: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The report that ``as_json`` stored."""
    return tuple(
        Step(
            step["rule"],
            step["changed"],
            {label: Count(**count) for label, count in step["left"].items()},
        )
        for step in stored
    )


def _positive(name: str, value: float | int) -> None:
    if not value > 0:
        raise ValueError(f"{name}={value!r}: must be positive")


def _still_ends(tracks: Tracks) -> np.ndarray:
    """Points at an end of their track that equal their neighbour further inside."""
    begins = tracks.begins
    moved = np.any(np.diff(tracks.xy, axis=0, prepend=tracks.xy[:1]) != 0, axis=1)
    moved &= ~begins  # this point differs from the one before
    moves = np.cumsum(moved)
    leads = moves == moves[tracks.offsets[:-1]][tracks.owners]
    trails = moves == moves[tracks.offsets[1:] - 1][tracks.owners]
    next_leads = np.append(leads[1:] & ~begins[1:], False)
    return (leads & next_leads) | (trails & ~moved & ~leads)


def _count(tracks: Tracks) -> dict[str, Count]:
    users = records.identities(tracks)
    return {
        str(label): Count(
            users=len(np.unique(users[own])),
            tracks=int(own.sum()),
            points=int(tracks.lengths[own].sum()),
        )
        for label in np.unique(tracks.labels)
        for own in [tracks.labels == label]
    }


def _changed(before: Tracks, after: Tracks) -> int:
    """Road users that do not have the same tracks and points as before."""
    both = records.identities(records.concatenate([before, after]))
    old, new = both[: len(before)], both[len(before) :]
    size = int(both.max(initial=-1)) + 1
    differs = np.bincount(old, minlength=size) != np.bincount(new, minlength=size)
    points = np.bincount(old, before.lengths, size) - np.bincount(
        new, after.lengths, size
    )
    return int((differs | (points != 0)).sum())
