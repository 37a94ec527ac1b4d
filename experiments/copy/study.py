"""The study of copying: the flags of every run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

WINDOWS = (2, 3, 4, 5)
SEEDS = 3
BOOTSTRAP = (
    "--config.stream.target=bootstrap",
    "--config.stream.predictor=linear_mlp",
    "--config.stream.weight=0.9",
)
ARMS: tuple[tuple[str, ...], ...] = (
    (),
    BOOTSTRAP,
    (*BOOTSTRAP, "--config.stream.auxiliary=0.1"),
    (*BOOTSTRAP, "--config.stream.trace=1.0", "--config.stream.horizon=4"),
)
# An oracle runs every window that is left of a sequence again: a quarter of the budget.
CONTROLS = {"zeroed": (), "shuffled": (), "oracle": ("--config.train.steps=10000",)}
# Of 61 steps each: as many steps as 40,000 windows of three.
WHOLE = ("--config.data.window=0", "--config.train.steps=2000")


def _of(variant: str) -> Iterator[tuple[str, ...]]:
    for seed in range(SEEDS):
        for window, arm in itertools.product(WINDOWS, ARMS):
            yield (
                f"--config={variant}", f"--config.data.window={window}", *arm,
                f"--config.seed={seed}",
            )  # fmt: skip
        for control, budget in CONTROLS.items():
            yield (
                f"--config={variant}", "--config.data.window=3", *BOOTSTRAP, *budget,
                f"--config.stream.control={control}", f"--config.seed={seed}",
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
    for seed, window, arm in itertools.product(range(SEEDS), (2, 5), ARMS[:2]):
        yield (
            "--config=copy", "--config.method=nmn_stream",
            f"--config.data.window={window}", *arm, f"--config.seed={seed}",
        )  # fmt: skip


STUDIES = {"copy": copy, "repeat_copy": repeat_copy, "copy_memory": copy_memory}
