"""Studies of classes that come seldom: the flags of every run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from experiments.common import variants


def _memory(variant: tuple[str, ...], *more: str, preset: str = "recommended") -> tuple:
    return (f"--config.preset={preset}", *more, *variant)


def rare() -> Iterator[tuple[str, ...]]:
    """Rare classes on MNIST: every use of synthetic gradients, controls, yardsticks.

    Seeds are the outer loop, so that an interrupted study has some of everything; the
    paper's own memory, and one whose slow weights all but rest, come last.
    """
    off, both = variants.OFF, variants.BOTH
    replay, rest = "--config.method=nmn_replay", "--config.optim.lr=1e-7"
    first = [
        *(_memory(variant) for variant in variants.SYNTHETIC),
        *(_memory(variant, replay) for variant in (off, both)),
        *((f"--config.method={method}",) for method in ("cnn", "cnn_replay")),
    ]
    last = [
        *(_memory(variant, preset="paper_fast_lr") for variant in (off, both)),
        _memory(off, rest),
    ]
    for kinds in (first, last):
        for seed, kind in itertools.product(range(5), kinds):
            yield (
                "--config=mnist", *kind, f"--config.seed={seed}",
                "--config.validate.images=250",
            )  # fmt: skip


STUDIES = {"rare": rare}
