"""Studies of what two networks share: the flags of every run."""

from __future__ import annotations

from collections.abc import Iterator

KINDS = (
    ("--config.sharing=separate",),
    ("--config.sharing=shared",),
    ("--config.sharing=frozen",),
    ("--config.sharing=shared", "--config.sg.control=zeroed"),
    ("--config.sharing=warm",),
)


def sharing() -> Iterator[tuple[str, ...]]:
    """Stanford Drone: cyclists streamed and pedestrians seldom; then the reverse,
    without controls."""
    for first, kinds in (("cyclist", KINDS), ("pedestrian", KINDS[:2])):
        for kind in kinds:
            yield ("--config=sdd", *kind, f"--config.data.first={first}")


STUDIES = {"sharing": sharing}
