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
    few = ("--config.validate.episodes=100", "--config.validate.queries=1",
           "--config.eval.queries=3")  # fmt: skip
    budget = ("--config.train.steps=500", "--config.train.validate_every=250",
              "--config.train.checkpoint_every=250", *few)  # fmt: skip
    for method in ("matching", "metanet", "snail", "prototype"):
        yield ("--config=5way1shot", f"--config.method={method}", *budget)
    # As published: ten drawings of a character, five tasks a step.
    ten = ("--config.train.queries=9", "--config.train.episodes=5")
    yield ("--config=5way1shot", "--config.method=reptile", *ten, *budget)
    yield (
        "--config=5way10shot", "--config.method=mann", "--config.train.queries=1",
        "--config.train.steps=3000", "--config.train.validate_every=1000",
        "--config.train.checkpoint_every=1000", *few,
    )  # fmt: skip


def one_network() -> Iterator[tuple[str, ...]]:
    """One network for four settings, and one for each at as many images (200,000)."""
    small = tuple(flag for flag in SMALL_BUDGET if ".steps=" not in flag)
    for variant, steps in (
        ("all", 400), ("5way1shot", 1667), ("20way1shot", 417), ("5way5shot", 714),
        ("20way5shot", 179),
    ):  # fmt: skip
        yield (
            f"--config={variant}", f"--config.train.steps={steps}", *small
        )  # fmt: skip


# One network for four settings, trained on 20-way episodes.
FOUR = {
    "practice": "('20way1shot','20way5shot')",
    "model.precision": "bfloat16",
    "train.episodes": "8",
}
DISTORTED = {
    "augment.rotate": "10.0", "augment.stretch": "0.1", "augment.shear": "0.1",
    "augment.shift": "2.0", "augment.stroke": "0.2",
}  # fmt: skip
# Other characters made of those there are, as far from them as a right angle is.
RECAST = {
    "recast.rotate": "30.0", "recast.stretch": "0.25", "recast.shear": "0.25",
    "recast.mirror": "0.5",
}  # fmt: skip
BENT = {"augment.bend": "1.5", "recast.bend": "3.0"}
MORE_WAYS = {"ways": "60", "practice": "('60way1shot','20way5shot')"}
# What may make it better: one at a time, and what stood first by a few others.
LEVERS: tuple[dict[str, str], ...] = (
    {},
    {"train.episodes": "2"},
    {"optim.lr": "2e-3"},
    {"optim.average": "0.99"},
    DISTORTED,
    {**DISTORTED, **RECAST},
    {**DISTORTED, **RECAST, **BENT},
    {"model.presentations": "1"},
    {"sg.use": "off"},
    {**MORE_WAYS, "train.episodes": "4", "train.steps": "375"},
    {"practice": "()", "train.steps": "500"},
    {"model.width": "256", "model.key_width": "128"},
    {"train.episodes": "4"},
    {"train.episodes": "1"},
    {**MORE_WAYS, "train.episodes": "1", "train.steps": "1500"},
    {"train.episodes": "2", "optim.lr": "2e-3"},
)  # fmt: skip
SHOWN = 2_500  # episodes of twenty ways: 300,000 images


def levers() -> Iterator[tuple[str, ...]]:
    """What may raise the accuracy of one network, each shown 300,000 images in all;
    judged by validation characters."""
    for lever in LEVERS:
        told = {**FOUR, "eval.episodes": "100", **lever}
        steps = int(told.get("train.steps", SHOWN // int(told["train.episodes"])))
        budget = {"train.steps": str(steps), "train.validate_every": str(steps // 2)}
        yield ("--config=all", *_flags({**told, **budget}))


def four() -> Iterator[tuple[str, ...]]:
    """One network for the four settings, as good as two hours of one core make it."""
    chosen = {**FOUR, **DISTORTED, "optim.average": "0.999"}
    budget = {"train.steps": "6000", "train.validate_every": "1000",
              "train.checkpoint_every": "200"}  # fmt: skip
    for seed in (0, 1):
        yield ("--config=all", *_flags({**chosen, **budget, "seed": str(seed)}))


def recast() -> Iterator[tuple[str, ...]]:
    """As `four`, of more characters, also of characters bent; fewer steps.

    Not worth it for the paper's small encoder: see the results.
    """
    chosen = {**FOUR, **DISTORTED, **RECAST, "optim.average": "0.999"}
    budget = {"train.validate_every": "500", "train.checkpoint_every": "100"}
    for seed, more in itertools.product(
        (0, 1), ({"train.steps": "5000"}, {**BENT, "train.steps": "4500"})
    ):
        told = {**chosen, **more, **budget, "seed": str(seed)}
        yield ("--config=all", *_flags(told))


def small_batches() -> Iterator[tuple[str, ...]]:
    """As `four` by steps of two episodes, as many images in all; and with more ways."""
    chosen = {**FOUR, **DISTORTED, "optim.average": "0.999", "train.episodes": "2",
              "train.checkpoint_every": "400"}  # fmt: skip
    ways = (
        {"train.steps": "24000", "train.validate_every": "4000"},
        {**MORE_WAYS, "train.steps": "14400", "train.validate_every": "2400"},
    )
    for seed, more in itertools.product(("0", "1"), ways):
        yield ("--config=all", *_flags({**chosen, **more, "seed": seed}))


# The network as it is without synthetic gradients, with, and with each control.
EFFECT: tuple[dict[str, str], ...] = (
    {"sg.use": "off"},
    {"sg.use": "fast"},
    *({"sg.use": "fast", "sg.control": each} for each in variants.CONTROLS),
)


def sg_full() -> Iterator[tuple[str, ...]]:
    """What the fast path does to one network for the four settings at 1.44 million
    images, where labels are written and where they come by it alone."""
    chosen = {**FOUR, **DISTORTED, "optim.average": "0.999", "train.steps": "1500"}
    for seed, label, effect in itertools.product(
        ("0", "1", "2"), ("write", "none"), EFFECT
    ):
        told = {"model.label_input": label, **effect, "seed": seed}
        yield ("--config=all", *_flags({**chosen, **told}))


def lake() -> Iterator[tuple[str, ...]]:
    """Lake's 20 runs, after training on the official background characters."""
    chosen = {**DISTORTED, **RECAST, "optim.average": "0.999", "data.split": "official",
              "eval.kind": "lake", "model.precision": "bfloat16"}  # fmt: skip
    budget = {"train.steps": "3000", "train.episodes": "8"}
    for seed, method in itertools.product(("0", "1", "2"), ("nmn", "prototype")):
        told = {"method": method, "seed": seed}
        yield ("--config=20way1shot", *_flags({**chosen, **budget, **told}))


# Sixty-way episodes as published, and one network for the four settings.
SIXTY = {
    "ways": "60", "practice": "('60way1shot',)", "model.precision": "bfloat16",
    "train.episodes": "2", "train.queries": "5",
}  # fmt: skip
HALF = {"model.precision": "bfloat16"}
# Two hours of one core: those whose rate falls to zero know their steps beforehand.
HOURS = {"train.steps": "1000000", "train.minutes": "120.0"}
# Most informative first: variant, method, and what its paper says of a batch.
RIVALS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("all", "prototype", {**SIXTY, "train.steps": "12000"}),
    ("5way1shot", "maml", HOURS),
    ("5way1shot", "maml", {**HOURS, "model.norm": "support"}),
    ("5way1shot", "maml_plus", {"train.episodes": "8", "train.queries": "1",
                                "train.steps": "4000"}),
    ("5way10shot", "mann", {**HOURS, "train.queries": "1"}),
    ("5way1shot", "matching", {**HOURS, **HALF}),
    ("5way1shot", "snail", {**HOURS, **HALF}),
    ("5way1shot", "metanet", HOURS),
    ("5way1shot", "reptile", {**HOURS, "train.queries": "9", "train.episodes": "5"}),
    *((each, "maml_plus", {"train.episodes": "8", "train.queries": "1",
                           "train.steps": "2000"})
      for each in ("20way1shot", "5way5shot", "20way5shot")),
    *((each, "matching", {**HOURS, **HALF})
      for each in ("20way1shot", "5way5shot", "20way5shot")),
)  # fmt: skip


def omniglot() -> Iterator[tuple[str, ...]]:
    """The rivals, about two hours of one core each, one seed of all before the next."""
    for seed, (variant, method, fields) in itertools.product((0, 1, 2), RIVALS):
        told = {"method": method, "seed": str(seed), **fields}
        yield (f"--config={variant}", *_flags(told))


def _flags(fields: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"--config.{name}={value}" for name, value in fields.items())


STUDIES = {
    "omniglot": omniglot,
    "four": four,
    "recast": recast,
    "small_batches": small_batches,
    "levers": levers,
    "sg_full": sg_full,
    "lake": lake,
    "sg_effect": sg_effect,
    "settings": settings,
    "precision": precision,
    "rivals": rivals,
    "one_network": one_network,
}
