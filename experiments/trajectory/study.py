"""Studies of trajectories: the flags of every run."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.common import variants

YARDSTICKS = ("constant_velocity", "constant_position")


USES = (
    variants.OFF, ("--config.sg.use=decoupled",), ("--config.sg.use=fast",),
    variants.BOTH,
)  # fmt: skip
ALIGNED = (
    "--config.forecast.decode=aligned", "--config.forecast.frame=displacement"
)  # fmt: skip


def sdd() -> Iterator[tuple[str, ...]]:
    """Stanford Drone, cyclists then pedestrians: every use of synthetic gradients, its
    controls, the paper's own settings, and what has no memory.

    What a constant velocity leaves to learn is little, so the memory is also asked for
    displacements, one at every frame as in the paper.
    """
    for method in ("attention", *YARDSTICKS):
        yield ("--config=sdd", f"--config.method={method}")
    for variant in variants.SYNTHETIC:
        yield ("--config=sdd", "--config.preset=recommended", *variant)
    for variant in USES:
        yield ("--config=sdd", "--config.preset=recommended", *ALIGNED, *variant)
    for variant in USES:
        yield ("--config=sdd", "--config.preset=paper_fast_lr", *variant)
    for variant in (variants.OFF, variants.BOTH):
        yield ("--config=sdd", "--config.preset=paper", *variant)


def tafbw() -> Iterator[tuple[str, ...]]:
    """The same on TAF-BW, which nothing was chosen by, without the controls."""
    for method in ("attention", *YARDSTICKS):
        yield ("--config=tafbw", f"--config.method={method}")
    for more in (
        ("--config.preset=recommended",),
        ("--config.preset=recommended", *ALIGNED),
        ("--config.preset=paper_fast_lr",),
    ):
        for variant in (variants.OFF, variants.BOTH):
            yield ("--config=tafbw", *more, *variant)


STUDIES = {"sdd": sdd, "tafbw": tafbw}
