"""A page for humans: what is in a data set of tracks, and what the cleaning took out.

    python -m nmn_jax.data.trajectories.statistics sdd_30hz tafbw

prints it as Markdown for the data sets named, or for all that are at hand.
"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from nmn_jax.data.trajectories import cleaning, ind, records, sdd, synthetic, tafbw

SOURCES: dict[str, Callable[[], records.Tracks]] = {
    "sdd_30hz": lambda: sdd.load("30hz"),
    "sdd_3hz": lambda: sdd.load("3hz"),
    "tafbw": tafbw.load,
    "ind": ind.load,
    "synthetic": synthetic.make,
}


class Summary(NamedTuple):
    """One class of road users of one data set."""

    users: int
    minutes: float  # of all tracks together
    seconds: float  # of the median track
    speed: float  # metres per second, path over time, of the median track
    straightness: float  # way from first to last point over path, of the median track
    by_location: dict[str, int]  # road users


def summarise(tracks: records.Tracks) -> dict[str, Summary]:
    """Numbers of every class; a track of one point has no time and no speed.

    Args:
        tracks: in metres, cleaned or not.
    """
    first, last = tracks.offsets[:-1], tracks.offsets[1:] - 1
    steps = np.linalg.norm(np.diff(tracks.xy, axis=0, prepend=tracks.xy[:1]), axis=1)
    path = np.bincount(tracks.owners, steps * ~tracks.begins, len(tracks))
    way = np.linalg.norm(tracks.xy[last] - tracks.xy[first], axis=1)
    seconds = (tracks.frames[last] - tracks.frames[first]) / tracks.fps
    direct = way / np.maximum(path, 1e-9)
    users = records.identities(tracks)
    found = {}
    for label in np.unique(tracks.labels):
        own = (tracks.labels == label) & (seconds > 0)
        if not own.any():
            continue
        found[str(label)] = Summary(
            users=len(np.unique(users[own])),
            minutes=float(seconds[own].sum() / 60),
            seconds=float(np.median(seconds[own])),
            speed=float(np.median(path[own] / seconds[own])),
            straightness=float(np.median(direct[own])),
            by_location={
                str(place): len(np.unique(users[own & (tracks.locations == place)]))
                for place in np.unique(tracks.locations)
            },
        )
    return found


def as_json(summary: Mapping[str, Summary]) -> dict[str, Any]:
    """The summary as dictionaries, for a result file."""
    return {label: each._asdict() for label, each in summary.items()}


def describe(summary: Mapping[str, Summary]) -> str:
    """The summary as a Markdown table, a class a row."""
    lines = [
        "| class | road users | minutes | median s | median m/s | way / path "
        "| road users by location |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, each in summary.items():
        places = ", ".join(f"{name} {n}" for name, n in each.by_location.items())
        lines.append(
            f"| {label} | {each.users:,} | {each.minutes:.1f} | {each.seconds:.1f} "
            f"| {each.speed:.2f} | {each.straightness:.2f} | {places} |"
        )
    return "\n".join(lines)


def page(name: str, tracks: records.Tracks, points: int = 100) -> str:
    """A section about one data set: what the rules did and what is left.

    Args:
        name: of the data set, for the heading.
        tracks: as they were read.
        points: fewest consecutive points a track needs to be of use.
    """
    cleaned, report = cleaning.clean(tracks, cleaning.standard(points))
    parts = [
        f"## {name}, {records.one_rate(tracks):g} frames per second",
        "Left after each rule:",
        cleaning.describe(report),
        "What is left:",
        describe(summarise(cleaned)),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SOURCES)}")
    names = parser.parse_args().names or list(SOURCES)
    for unknown in sorted(set(names) - SOURCES.keys()):
        parser.error(f"no data set {unknown!r}; choose of {', '.join(SOURCES)}")
    for name in names:
        try:
            tracks = SOURCES[name]()
        except FileNotFoundError as error:
            print(f"## {name}\n\nNot at hand: {error}\n")
        else:
            print(page(name, tracks), end="\n\n")


if __name__ == "__main__":
    main()
