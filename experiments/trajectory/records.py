"""What a trajectory run is made of, as frozen records that check themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiments.common import tracks
from nmn_jax import losses
from nmn_jax.settings import checks, presets
from nmn_jax.settings.checks import Checked, checked
from nmn_jax.settings.records import Settings

SOURCES = ("sdd", "ind", "tafbw", "synthetic")
SCALES = ("location", "global", "per_track", "heading")
PER_TRACK = ("one", "all")
PARTS = ("test", "validation")
# What differs from the few-shot presets.
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "recommended": {
        **tracks.NETWORK,
        "forecast": {"decode": "flat", "frame": "velocity"},
    },
    # Section 4.2: Adam at 1e-5, one memory that goes on from track to track.
    "paper": {
        "optim": {"lr": 1e-5, "predictor_lr": 1e-5},
        "stream": {"carry": "memory"},
    },
    "paper_fast_lr": {"stream": {"carry": "memory"}},
}


@dataclasses.dataclass(frozen=True)
class Data(Checked):
    """Which tracks, and how they are cut and scaled.

    source: `sdd`, `ind` or `tafbw` (files), or `synthetic` (made up, no files)
    fps: frames per second that tracks are brought to; 0 leaves them as they are
    observed, horizon: frames that are seen, and frames after them that are asked for
    every: frames from the start of one window of a track to the next; 0 is a window
    scale: whose extent becomes [-0.5, 0.5]; with `heading` coordinates are those of
      where a road user is and heads
    train, support: cyclists to train on, pedestrians to adapt to
    per_track: one window of each cyclist who is trained on, or all of them; of all
      others it is one
    """

    where = "data"
    source: str = checked("synthetic", checks.choice(SOURCES))
    fps: float = checked(0.0, checks.real(0, 1000))
    observed: int = checked(50, checks.whole(2, 10_000))
    horizon: int = checked(50, checks.whole(1, 10_000))
    every: int = checked(0, checks.whole(0, 100_000))
    scale: str = checked("location", checks.choice(SCALES))
    train: int = checked(150, checks.positive)
    support: int = checked(10, checks.positive)
    per_track: str = checked("one", checks.choice(PER_TRACK))


@dataclasses.dataclass(frozen=True)
class Train(Checked):
    """Batches of `batch` tracks, one a step; 100 steps as in section 4.2.

    loss: what is descended, `squared_error` as in the paper or the `distance`
    minutes: stop training after this wall time, counted over all resumes; 0 is never
    """

    where = "train"
    steps: int = checked(100, checks.positive)
    batch: int = checked(10, checks.whole(1, 100_000))
    loss: str = checked("squared_error", checks.choice(losses.FORECAST))
    minutes: float = checked(0.0, checks.minutes)
    steps_per_call: int = checked(1, checks.whole(1, 1))
    log_every: int = checked(10, checks.positive)
    validate_every: int = checked(50, checks.positive)
    checkpoint_every: int = checked(100, checks.positive)


@dataclasses.dataclass(frozen=True)
class Evaluate(Checked):
    """Gradient steps on the support tracks, and when held-out tracks are asked for.

    part: `test` adapts to pedestrians; `validation` to cyclists that were not trained
      on, which is what settings may be chosen by
    steps: after how many steps, in rising order, from 0 on
    tracks: held-out tracks of each draw at most
    """

    where = "eval"
    part: str = checked("test", checks.choice(PARTS))
    steps: tuple[int, ...] = checked(
        (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 30, 40, 50),
        checks.each(checks.whole(0, 10_000)),
    )
    tracks: int = checked(100, checks.whole(1, 1_000_000))

    def __post_init__(self) -> None:
        """Raises ValueError unless steps rise."""
        super().__post_init__()
        if list(self.steps) != sorted(self.steps):
            raise ValueError(f"eval.steps={self.steps}: must rise")


@dataclasses.dataclass(frozen=True)
class Run(Checked):
    """One run. The dictionaries override the preset's records where not None.

    method: a name of `nmn_jax.methods.table` for forecasts
    study: which study it belongs to, "" for none
    draws: how often all of it is done, each time with tracks, parameters and batches of
      its own
    """

    method: str = checked("nmn_forecast", checks.text(least=1))
    preset: str = checked("recommended", checks.choice(CHANGES))
    seed: int = checked(0, checks.seed)
    study: str = checked("", checks.text())
    draws: int = checked(10, checks.whole(1, 1000))
    data: Data = dataclasses.field(default_factory=Data)
    train: Train = dataclasses.field(default_factory=Train)
    eval: Evaluate = dataclasses.field(default_factory=Evaluate)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    sg: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)
    stream: dict[str, Any] = dataclasses.field(default_factory=dict)
    forecast: dict[str, Any] = dataclasses.field(default_factory=dict)
    maml: dict[str, Any] = dataclasses.field(default_factory=dict)
    maml_plus: dict[str, Any] = dataclasses.field(default_factory=dict)


def resolve(run: Run, uses: tuple[str, ...]) -> Settings:
    """The preset, changed for trajectories, with the run's overrides.

    Synthetic gradients are used in both ways by default.

    Args:
      uses: settings that have an effect on the run's method (`methods.base.Entry`).

    Raises:
      ValueError: for a value that may not be, or a setting without effect.
    """
    return presets.resolve(
        run.preset, ways=10, shots=1, uses=uses, overrides=presets.given(run),
        default_use="both", changes=CHANGES[run.preset],
    )  # fmt: skip
