"""The study of copying: the flags of every run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

WINDOWS = (2, 3, 4, 5)
SEEDS = 3
DESCENT = ("--config.stream.target=bootstrap",)
BOOTSTRAP = (*DESCENT, "--config.stream.predictor=least_squares")
ARMS: tuple[tuple[str, ...], ...] = (
    (),
    BOOTSTRAP,
    (*BOOTSTRAP, "--config.stream.trace=1.0", "--config.stream.horizon=6"),
    (*DESCENT, "--config.stream.auxiliary=0.1"),
)
# Each at one window: what is injected, and a predictor that descends without a second
# task. An oracle runs every window that is left of a sequence again: two fifths of the
# budget.
CONTROLS: tuple[tuple[str, ...], ...] = (
    DESCENT,
    (*BOOTSTRAP, "--config.stream.control=zeroed"),
    (*BOOTSTRAP, "--config.stream.control=shuffled"),
    (*BOOTSTRAP, "--config.stream.control=oracle", "--config.train.steps=20000"),
)
# Whole sequences of up to 41 steps: a fifth of the budget, at more steps than windows.
WHOLE = ("--config.data.window=0", "--config.train.steps=10000")


def _of(variant: str) -> Iterator[tuple[str, ...]]:
    for seed in range(SEEDS):
        for arm, window in itertools.product(ARMS, WINDOWS):
            yield (
                f"--config={variant}", f"--config.data.window={window}", *arm,
                f"--config.seed={seed}",
            )  # fmt: skip
        for control in CONTROLS:
            yield (
                f"--config={variant}", "--config.data.window=3", *control,
                f"--config.seed={seed}",
            )  # fmt: skip
        yield f"--config={variant}", *WHOLE, f"--config.seed={seed}"


def copy() -> Iterator[tuple[str, ...]]:
    """Copy with every window and way to look beyond it, controls, whole sequences."""
    yield from _of("copy")


def repeat_copy() -> Iterator[tuple[str, ...]]:
    """The same with repeats."""
    yield from _of("repeat_copy")


def copy_memory() -> Iterator[tuple[str, ...]]:
    """Copy by a neural memory network, two windows."""
    for seed, window, arm in itertools.product(range(SEEDS), (2, 5), ((), DESCENT)):
        yield (
            "--config=copy", "--config.method=nmn_stream",
            f"--config.data.window={window}", *arm, f"--config.seed={seed}",
        )  # fmt: skip


STUDIES = {"copy": copy, "repeat_copy": repeat_copy, "copy_memory": copy_memory}
