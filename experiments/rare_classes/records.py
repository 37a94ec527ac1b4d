"""What a rare-class run is made of, as frozen records that check themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from nmn_jax.settings import checks, presets
from nmn_jax.settings.checks import Checked, checked
from nmn_jax.settings.records import Settings

CLASSES = 10
SOURCES = ("mnist", "digits")
PARTS = ("test", "validation")
# What differs from the few-shot presets: one encoder for an unbounded stream needs
# running statistics (a test batch must not normalise itself), one slot for each value
# does not wear out, and the rate does not fall in a stream that has no end.
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "recommended": {
        "model": {
            "slots": 20,
            "width": 64,
            "key_width": 48,
            "write_rule": "same_value",
        },
        "optim": {"schedule": "constant"},
    },
    "paper": {"model": {"norm": "running"}},
    "paper_fast_lr": {"model": {"norm": "running"}},
}


@dataclasses.dataclass(frozen=True)
class Data(Checked):
    """`source` is `mnist` or `digits` (embedded, no files).

    frequent: classes that come in every window but each `period`-th
    period: every so many windows one holds only the other classes
    held_out: training images kept for validation
    """

    where = "data"
    source: str = checked("mnist", checks.choice(SOURCES))
    frequent: tuple[int, ...] = checked(
        (0, 1, 2, 3, 4), checks.each(checks.whole(0, CLASSES - 1))
    )
    period: int = checked(500, checks.whole(2))
    held_out: int = checked(10_000, checks.whole(1, 1_000_000))

    def __post_init__(self) -> None:
        """Raises ValueError if no class is left to be rare."""
        super().__post_init__()
        if len(self.frequent) == CLASSES:
            raise ValueError(
                f"data.frequent={self.frequent}: name some of the classes 0 to "
                f"{CLASSES - 1}, but not all; the others are the rare ones"
            )


@dataclasses.dataclass(frozen=True)
class Train(Checked):
    """Windows of `batch` examples, one a step.

    The length ends half a period after the last rare window, so that the last accuracy
    is not the one just after it.

    minutes: stop training after this wall time, counted over all resumes; 0 is never
    steps_per_call: steps of one dispatch; 0 is chosen by the kind of device
    log_every: gradients are told apart by window only if this is 1
    """

    where = "train"
    steps: int = checked(5_250, checks.positive)
    batch: int = checked(10, checks.whole(1, 100_000))
    minutes: float = checked(0.0, checks.minutes)
    steps_per_call: int = checked(0, checks.whole(0, 1_000_000))
    log_every: int = checked(1, checks.positive)
    validate_every: int = checked(50, checks.positive)
    checkpoint_every: int = checked(250, checks.positive)


@dataclasses.dataclass(frozen=True)
class Validate(Checked):
    """Unseen images that are asked about along the stream and at its end.

    All of it is part of a run's identity: the curve is the result.

    part: `test`, or `validation` for the held-out training images
    images: of each kind for the curve, and asked about at a time; the end asks all
    """

    where = "validate"
    part: str = checked("test", checks.choice(PARTS))
    images: int = checked(500, checks.whole(2, 1_000_000))


@dataclasses.dataclass(frozen=True)
class Run(Checked):
    """One run. The dictionaries override the preset's records where not None.

    method: a name of `nmn_jax.methods.table` for streams
    study: which study it belongs to, "" for none
    """

    method: str = checked("nmn_stream", checks.text(least=1))
    preset: str = checked("recommended", checks.choice(CHANGES))
    seed: int = checked(0, checks.seed)
    study: str = checked("", checks.text())
    data: Data = dataclasses.field(default_factory=Data)
    train: Train = dataclasses.field(default_factory=Train)
    validate: Validate = dataclasses.field(default_factory=Validate)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    sg: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)
    stream: dict[str, Any] = dataclasses.field(default_factory=dict)
    replay: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for presentations, which a stream does not have."""
        super().__post_init__()
        if self.model.get("presentations") is not None:
            raise ValueError(
                f"model.presentations={self.model['presentations']!r} has no effect: a "
                "stream shows every window once; leave it out"
            )


def resolve(run: Run, uses: tuple[str, ...]) -> Settings:
    """The preset, changed for the stream, with the run's overrides.

    Synthetic gradients are used in both ways by default.

    Args:
      uses: settings that have an effect on the run's method (`methods.base.Entry`).

    Raises:
      ValueError: for a value that may not be, or a setting without effect.
    """
    return presets.resolve(
        run.preset, ways=CLASSES, shots=1, uses=uses, overrides=presets.given(run),
        default_use="both", changes=CHANGES[run.preset],
    )  # fmt: skip
