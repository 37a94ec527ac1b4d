"""What an Omniglot run is made of, as frozen records that check themselves."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from nmn_jax.settings import checks, presets
from nmn_jax.settings.augment import AugmentSettings, RecastSettings
from nmn_jax.settings.checks import Checked, checked
from nmn_jax.settings.records import Settings

SOURCES = ("omniglot", "glyphs")
SPLITS = ("paper", "official")
# Lake's runs: 20 characters, one drawing of each.
LAKE_WAYS, LAKE_SHOTS = 20, 1
# An interval needs two episodes.
EPISODES = checks.whole(2, 1_000_000)
STEPS = checks.each(checks.whole(0, 10_000))
KIND = re.compile(r"([1-9]\d{0,3})way([1-9]\d{0,3})shot")
KINDS = checks.Check(
    "<N>way<S>shot, e.g. '5way1shot'",
    lambda value: isinstance(value, str) and bool(KIND.fullmatch(value)),
)


@dataclasses.dataclass(frozen=True)
class Data(Checked):
    """`source` is `omniglot` or `glyphs` (made up, no file needed).

    split: of Omniglot's characters, `paper` or `official`; None is `paper`
    """

    where = "data"
    source: str = checked("omniglot", checks.choice(SOURCES))
    split: str | None = checked(None, checks.optional(checks.choice(SPLITS)))

    def __post_init__(self) -> None:
        """Raises ValueError for a split of what has only one."""
        super().__post_init__()
        if self.source == "glyphs" and self.split is not None:
            raise ValueError(
                f"data.split={self.split!r} with data.source='glyphs': made-up glyphs "
                "have one split of their own; leave data.split out"
            )


@dataclasses.dataclass(frozen=True)
class Train(Checked):
    """Length and batch of training.

    steps: optimiser steps
    episodes: episodes a step
    queries: queries a class
    minutes: stop training after this wall time, counted over all resumes; 0 is never
    steps_per_call: steps of one dispatch; 0 is chosen by the kind of device
    """

    where = "train"
    steps: int = checked(5_000, checks.positive)
    episodes: int = checked(16, checks.whole(1, 1_000_000))
    queries: int = checked(3, checks.whole(1, 10_000))
    minutes: float = checked(0.0, checks.minutes)
    steps_per_call: int = checked(0, checks.whole(0, 1_000_000))
    log_every: int = checked(50, checks.positive)
    validate_every: int = checked(500, checks.positive)
    checkpoint_every: int = checked(250, checks.positive)


@dataclasses.dataclass(frozen=True)
class Validate(Checked):
    """What decides while training which state is best: part of a run's identity.

    episodes: fixed episodes of validation characters
    queries: queries a class, 0 for 15 up to 5 ways and 5 above
    batch: episodes evaluated at once
    """

    where = "validate"
    episodes: int = checked(200, EPISODES)
    queries: int = checked(0, checks.whole(0, 10_000))
    batch: int = checked(20, checks.whole(1, 100_000))
    seed: int = checked(2021, checks.seed)


@dataclasses.dataclass(frozen=True)
class Evaluate(Checked):
    """How the best state is tested after training; may differ within a folder.

    kind: `episodes` of test characters, or Lake's 20 official runs (`lake`)
    episodes: fixed test episodes
    queries: queries a class, 0 for 15 up to 5 ways and 5 above
    batch: test episodes evaluated at once
    adapt_steps: gradient steps on the context before the queries (methods A10), as
      `adapt` says; 0 is always among them
    views: answers are the mean over so many views of an episode, all but the first of
      them distorted as `augment` says, within `spread` of its limits
    """

    where = "eval"
    kind: str = checked("episodes", checks.choice(("episodes", "lake")))
    episodes: int = checked(1000, EPISODES)
    queries: int = checked(0, checks.whole(0, 10_000))
    batch: int = checked(20, checks.whole(1, 100_000))
    seed: int = checked(2020, checks.seed)
    adapt_steps: tuple[int, ...] = checked((0,), STEPS)
    views: int = checked(1, checks.whole(1, 1000))
    spread: float = checked(0.5, checks.real(0, 1, above=True))


@dataclasses.dataclass(frozen=True)
class Run(Checked):
    """One run. The dictionaries override the preset's records where not None.

    method: a name of `nmn_jax.methods.table` for episodes
    ways, shots: of every episode; of a mixture the most there are
    mixture: kinds of episodes, e.g. `5way1shot`, that one network learns and is tested
      on, with labels drawn from `ways` names; empty where all are of one kind
    practice: kinds that a mixture is trained on, where they are not those of `mixture`:
      more ways than it is tested on, or fewer kinds
    study: which study it belongs to, "" for none
    """

    where = "config"
    method: str = checked("nmn", checks.text(least=1))
    preset: str = checked("recommended", checks.choice(presets.PRESETS))
    ways: int = checked(5, checks.whole(1, 10_000))
    shots: int = checked(1, checks.whole(1, 10_000))
    mixture: tuple[str, ...] = checked((), checks.each(KINDS, least=0))
    practice: tuple[str, ...] = checked((), checks.each(KINDS, least=0))
    seed: int = checked(0, checks.seed)
    study: str = checked("", checks.text())
    data: Data = dataclasses.field(default_factory=Data)
    train: Train = dataclasses.field(default_factory=Train)
    validate: Validate = dataclasses.field(default_factory=Validate)
    eval: Evaluate = dataclasses.field(default_factory=Evaluate)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    sg: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)
    adapt: dict[str, Any] = dataclasses.field(default_factory=dict)
    maml: dict[str, Any] = dataclasses.field(default_factory=dict)
    maml_plus: dict[str, Any] = dataclasses.field(default_factory=dict)
    matching: dict[str, Any] = dataclasses.field(default_factory=dict)
    mann: dict[str, Any] = dataclasses.field(default_factory=dict)
    reptile: dict[str, Any] = dataclasses.field(default_factory=dict)
    snail: dict[str, Any] = dataclasses.field(default_factory=dict)
    metanet: dict[str, Any] = dataclasses.field(default_factory=dict)
    augment: dict[str, Any] = dataclasses.field(default_factory=dict)
    recast: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError where Lake's runs cannot or must not be asked, and for a
        mixture of more than there is, or that is practised but not there."""
        super().__post_init__()
        _check_most(self, "mixture", kinds(self))
        _check_most(self, "practice", practised(self))
        if self.practice and not self.mixture:
            raise ValueError(
                f"practice={self.practice} without mixture: also say which kinds are "
                f"tested, e.g. mixture=('{self.ways}way{self.shots}shot',)"
            )
        if self.eval.kind == "lake":
            _check_lake(self)


def _check_most(run: Run, field: str, kinds: list[tuple[int, int]]) -> None:
    for ways, shots in kinds:
        if ways > run.ways or shots > run.shots:
            raise ValueError(
                f"{field}={getattr(run, field)} with ways={run.ways}, shots="
                f"{run.shots}: these are the most a kind of it may have; raise "
                "them, or leave kinds out"
            )


def _check_lake(run: Run) -> None:
    if kinds(run) != [(LAKE_WAYS, LAKE_SHOTS)] or run.ways != LAKE_WAYS:
        told = f"mixture={run.mixture}" if run.mixture else f"shots={run.shots}"
        raise ValueError(
            f"eval.kind='lake' with ways={run.ways}, {told}: Lake's runs "
            f"are {LAKE_WAYS}-way {LAKE_SHOTS}-shot; train for those, e.g. "
            f"--config={LAKE_WAYS}way{LAKE_SHOTS}shot"
        )
    if (run.data.source, run.data.split) != ("omniglot", "official"):
        raise ValueError(
            f"eval.kind='lake' with data.source={run.data.source!r}, "
            f"data.split={run.data.split!r}: Lake's runs ask for characters of the "
            "official evaluation set, of which the paper's split has 446 in training; "
            "give data.source='omniglot' and data.split='official'"
        )


def split_name(data: Data) -> str:
    """Which split is meant: the default is the paper's."""
    return "glyphs" if data.source == "glyphs" else data.split or "paper"


def kinds(run: Run) -> list[tuple[int, int]]:
    """Ways and shots of every kind of episode that a run is tested on."""
    return _read_kinds(run.mixture) or [(run.ways, run.shots)]


def practised(run: Run) -> list[tuple[int, int]]:
    """Ways and shots of every kind of episode that a run is trained on."""
    return _read_kinds(run.practice) or kinds(run)


def columns(run: Run, settings: Settings) -> dict[str, str]:
    """What tables say of how a run is trained and asked, where that is unusual."""
    told = {}
    if run.mixture:
        told["trained on"] = ", ".join(map(short, practised(run)))
    if settings.augment != AugmentSettings():
        told["images"] = "distorted"
    if settings.recast != RecastSettings():
        told["characters"] = "recast"
    if run.eval.views > 1:
        told["answers"] = f"mean of {run.eval.views} views"
    return told


def _read_kinds(names: tuple[str, ...]) -> list[tuple[int, int]]:
    found = [KIND.fullmatch(name) for name in names]
    return [(int(match[1]), int(match[2])) for match in found if match]


def short(kind: tuple[int, int]) -> str:
    """A kind in tables, e.g. `5w1s`."""
    return "{}w{}s".format(*kind)


def queries_asked(part: Validate | Evaluate, ways: int) -> int:
    """15 queries a class up to 5 ways, 5 above, unless the part says otherwise."""
    return part.queries or (15 if ways <= 5 else 5)


def resolve(
    run: Run, uses: tuple[str, ...], changes: presets.Changes | None = None
) -> Settings:
    """The preset with the run's overrides; synthetic gradients are `fast` by default.

    Training images are distorted for any method.

    Args:
      uses: settings that have an effect on the run's method (`methods.base.Entry`).
      changes: what the method changes in the preset (`published` of its entry).

    Raises:
      ValueError: for a value that may not be, or a setting without effect.
    """
    return presets.resolve(
        run.preset, ways=run.ways, shots=run.shots, uses=(*uses, "augment", "recast"),
        overrides=presets.given(run),
        default_use="fast", changes=changes,
    )  # fmt: skip
