"""What a rare-class run is made of, as frozen records."""

from __future__ import annotations

import dataclasses
from typing import Any

from nmn_jax import presets


@dataclasses.dataclass(frozen=True)
class Data:
    """`source` is `mnist` or `digits`.

    frequent: classes that come in every window but each `period`-th
    period: every so many windows one holds only the other classes
    held_out: training images kept for validation
    """

    source: str = "mnist"
    frequent: tuple[int, ...] = (0, 1, 2, 3, 4)
    period: int = 500
    held_out: int = 10_000


@dataclasses.dataclass(frozen=True)
class Train:
    """Windows of `batch` examples; see `loop.Plan` for the rest.

    The length ends half a period after the last rare window, so that the last accuracy
    is not the one just after it.
    """

    steps: int = 5_250
    batch: int = 10
    minutes: float = 0.0
    steps_per_call: int = 1
    log_every: int = 1
    validate_every: int = 50
    checkpoint_every: int = 250


@dataclasses.dataclass(frozen=True)
class Stream:
    """`target` and `carry` as in `nmn_jax.stream`.

    replayed: examples recalled before those of every window, 0 for none
    kept: images kept of every class for that
    """

    target: str = "window"
    carry: str = "stream"
    replayed: int = 0
    kept: int = 20


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """`part` is `test` or `validation`; `images` of each kind for the curve."""

    part: str = "test"
    images: int = 500


@dataclasses.dataclass(frozen=True)
class Run:
    """One run. `model`, `feedback` and `optim` override the preset where not None.

    method: `nmn`, or `cnn` for the same encoder without a memory
    """

    method: str = "nmn"
    preset: str = "recommended"
    sg: str = "both"
    control: str = "none"
    seed: int = 0
    study: str = ""
    data: Data = Data()
    train: Train = Train()
    stream: Stream = Stream()
    eval: Evaluate = Evaluate()
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    feedback: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)


CLASSES = 10
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


def resolve(run: Run) -> presets.Settings:
    """The preset, changed for the stream, with the run's overrides.

    Raises:
      ValueError: for an unknown preset, choice, or value of the wrong type.
    """
    settings = presets.preset(
        run.preset, ways=CLASSES, shots=1, sg=run.sg, control=run.control
    )
    changes = CHANGES[run.preset]
    settings = presets.override(settings, **changes)
    return presets.override(settings, model=run.model, sg=run.feedback, optim=run.optim)
