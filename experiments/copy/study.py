"""The study of copying: the flags of every run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

WINDOWS = (2, 3, 4, 5)
SEEDS = 3
DESCENT = ("--config.stream.target=bootstrap",)
BOOTSTRAP = (*DESCENT, "--config.stream.predictor=least_squares")
FAR = (*BOOTSTRAP, "--config.stream.trace=1.0", "--config.stream.horizon=6")
SHUFFLED = "--config.stream.control=shuffled"
ARMS: tuple[tuple[str, ...], ...] = ((), BOOTSTRAP, FAR)
AUXILIARY = (*DESCENT, "--config.stream.auxiliary=0.1")
# With their windows: a predictor that descends, with a second task and without, and
# what is injected. An oracle runs every window left of a sequence again: two fifths of
# the budget.
CONTROLS: tuple[tuple[int, tuple[str, ...]], ...] = (
    *((window, AUXILIARY) for window in WINDOWS),
    (3, DESCENT),
    (3, (*BOOTSTRAP, "--config.stream.control=zeroed")),
    (3, (*BOOTSTRAP, SHUFFLED)),
    (3, (*FAR, SHUFFLED)),
    (3, (*BOOTSTRAP, "--config.stream.control=oracle", "--config.train.steps=20000")),
)
# Whole sequences of up to 41 steps: a fifth of the budget, at more steps than windows.
WHOLE = ("--config.data.window=0", "--config.train.steps=10000")


def _of(variant: str) -> Iterator[tuple[str, ...]]:
    """Every way at every window, and whole sequences."""
    for seed in range(SEEDS):
        for arm, window in itertools.product(ARMS, WINDOWS):
            yield (
                f"--config={variant}", f"--config.data.window={window}", *arm,
                f"--config.seed={seed}",
            )  # fmt: skip
        yield f"--config={variant}", *WHOLE, f"--config.seed={seed}"


def copy() -> Iterator[tuple[str, ...]]:
    """Copy with every window and way to look beyond it, and the controls."""
    yield from _of("copy")
    for seed, (window, way) in itertools.product(range(SEEDS), CONTROLS):
        yield (
            "--config=copy", f"--config.data.window={window}", *way,
            f"--config.seed={seed}",
        )  # fmt: skip


def repeat_copy() -> Iterator[tuple[str, ...]]:
    """The same with repeats, without controls."""
    yield from _of("repeat_copy")


def copy_memory() -> Iterator[tuple[str, ...]]:
    """Copy by a neural memory network, two windows."""
    for seed, window, arm in itertools.product(range(SEEDS), (2, 5), ((), DESCENT)):
        yield (
            "--config=copy", "--config.method=nmn_stream",
            f"--config.data.window={window}", *arm, f"--config.seed={seed}",
        )  # fmt: skip


STUDIES = {"copy": copy, "repeat_copy": repeat_copy, "copy_memory": copy_memory}
