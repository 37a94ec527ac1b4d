"""The study of far recall: the flags of every run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

TRACES = (0.5, 0.9, 1.0)
ARMS: tuple[tuple[str, ...], ...] = (
    ("--config=frozen",),
    ("--config=truncated",),
    ("--config=update",),
    ("--config=state",),
    ("--config=state", "--config.stream.control=shuffled"),
    *(("--config=trace", f"--config.stream.trace={each}") for each in TRACES),
    ("--config=reach",),
    ("--config=oracle",),
)
SEEDS = 5


def far_recall() -> Iterator[tuple[str, ...]]:
    """Every way to teach the writer; seeds are the outer loop, so that an interrupted
    study has some of everything."""
    for seed, arm in itertools.product(range(SEEDS), ARMS):
        yield (*arm, f"--config.seed={seed}")


STUDIES = {"far_recall": far_recall}
