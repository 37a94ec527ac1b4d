"""Studies of trajectories: the flags of every run."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.common import variants

YARDSTICKS = ("constant_velocity", "constant_position")


def _methods(*common: str) -> Iterator[tuple[str, ...]]:
    """Every use of synthetic gradients with its controls, and what has no memory."""
    for preset in ("recommended", "paper_fast_lr"):
        for variant in variants.SYNTHETIC:
            yield (*common, f"--config.preset={preset}", *variant)
    for variant in (variants.OFF, variants.BOTH):
        yield (*common, "--config.preset=paper", *variant)
    for method in ("attention", *YARDSTICKS):
        yield (*common, f"--config.method={method}")


def sdd() -> Iterator[tuple[str, ...]]:
    """Stanford Drone: cyclists, then pedestrians."""
    yield from _methods("--config=sdd")


def tafbw() -> Iterator[tuple[str, ...]]:
    """The same on TAF-BW, which nothing was chosen by."""
    yield from _methods("--config=tafbw")


STUDIES = {"sdd": sdd, "tafbw": tafbw}
