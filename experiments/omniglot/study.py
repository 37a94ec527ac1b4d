"""Studies of few-shot classification: the flags of every run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from experiments.common import variants

SMALL_BUDGET = (
    "--config.train.steps=600",
    "--config.train.episodes=8",
    "--config.train.queries=2",
    "--config.train.validate_every=200",
    "--config.train.checkpoint_every=300",
    "--config.validate.episodes=100",
    "--config.validate.queries=5",
    "--config.eval.queries=5",
)


def sg_effect() -> Iterator[tuple[str, ...]]:
    """What synthetic gradients do: presets and label inputs at one small budget."""
    columns = (
        ("recommended", "none", 2),
        ("recommended", "write", 1),
        ("paper_fast_lr", "none", 1),
    )
    for seed, (preset, label, shown), variant in itertools.product(
        (0, 1), columns, variants.SYNTHETIC
    ):
        yield (
            "--config=5way1shot", f"--config.preset={preset}",
            f"--config.model.label_input={label}",
            f"--config.model.presentations={shown}",
            *variant, f"--config.seed={seed}", *SMALL_BUDGET,
        )  # fmt: skip


def settings() -> Iterator[tuple[str, ...]]:
    """The paper's four settings, `recommended` and the yardstick, three seeds."""
    for seed, ways, shots in itertools.product((0, 1, 2), (5, 20), (1, 5)):
        for method in ("nmn", "prototype"):
            yield (
                f"--config={ways}way{shots}shot", f"--config.method={method}",
                f"--config.seed={seed}",
            )  # fmt: skip


def precision() -> Iterator[tuple[str, ...]]:
    """Products of the encoder in half precision against single, at one small budget."""
    for seed, ways, each in itertools.product(
        (0, 1, 2), (5, 20), ("float32", "bfloat16")
    ):
        yield (
            f"--config={ways}way1shot", f"--config.model.precision={each}",
            f"--config.seed={seed}", *SMALL_BUDGET,
        )  # fmt: skip


def rivals() -> Iterator[tuple[str, ...]]:
    """Few-shot methods of other papers, 5-way 1-shot, at a few minutes each; the
    memory-augmented network by the protocol of its paper."""
    shown = ("--config.train.validate_every=400", "--config.train.checkpoint_every=400",
             "--config.validate.episodes=100", "--config.validate.queries=3",
             "--config.eval.queries=3")  # fmt: skip
    for method in ("prototype", "matching", "metanet", "snail"):
        yield (
            "--config=5way1shot", f"--config.method={method}",
            "--config.train.steps=800", *shown,
        )  # fmt: skip
    yield (
        "--config=5way1shot", "--config.method=reptile",
        # As published: ten drawings of a character, five tasks a step.
        "--config.train.queries=9", "--config.train.episodes=5",
        "--config.train.steps=800", *shown,
    )  # fmt: skip
    yield (
        "--config=5way10shot", "--config.method=mann", "--config.train.queries=1",
        "--config.train.steps=4000", "--config.train.validate_every=1000",
        "--config.train.checkpoint_every=1000",
        "--config.validate.episodes=100", "--config.validate.queries=1",
        "--config.eval.queries=1",
    )  # fmt: skip


STUDIES = {
    "sg_effect": sg_effect,
    "settings": settings,
    "precision": precision,
    "rivals": rivals,
}
