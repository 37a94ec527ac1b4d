"""What a run of two networks is made of, as frozen records that check themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from experiments.common import tracks
from nmn_jax.settings import checks, presets
from nmn_jax.settings.checks import Checked, checked
from nmn_jax.settings.records import Settings

SOURCES = ("sdd", "ind", "synthetic")
SHARINGS = ("separate", "shared", "frozen", "warm")
FIRST = ("cyclist", "pedestrian")
METHOD = "nmn_forecast"
# The network of the trajectories, asked for displacements: what is asked for relative
# to a constant velocity leaves a second network next to nothing to learn.
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "recommended": {
        **tracks.NETWORK,
        "forecast": {"decode": "flat", "frame": "displacement"},
    },
    "paper_fast_lr": {"stream": {"carry": "memory"}},
}


@dataclasses.dataclass(frozen=True)
class Data(Checked):
    """Which tracks.

    source: `sdd` or `ind` (files), or `synthetic` (made up, no files)
    observed, horizon: frames that are seen, and frames after them that are asked for
    first: the class that is streamed; the other one comes seldom
    train: road users of each class to draw batches from
    """

    where = "data"
    source: str = checked("synthetic", checks.choice(SOURCES))
    observed: int = checked(50, checks.whole(2, 10_000))
    horizon: int = checked(50, checks.whole(1, 10_000))
    first: str = checked("cyclist", checks.choice(FIRST))
    train: int = checked(150, checks.positive)


@dataclasses.dataclass(frozen=True)
class Train(Checked):
    """A step of the first network each; every `period`-th is also one of the second.

    lead: steps that the first network has for itself (100 in section 5.2)
    period: steps from one of the second network to its next
    batch: tracks of a step
    """

    where = "train"
    steps: int = checked(1100, checks.positive)
    lead: int = checked(100, checks.whole())
    period: int = checked(100, checks.positive)
    batch: int = checked(10, checks.whole(1, 100_000))
    minutes: float = checked(0.0, checks.minutes)
    steps_per_call: int = checked(1, checks.whole(1, 1))
    log_every: int = checked(100, checks.positive)
    validate_every: int = checked(100, checks.positive)
    checkpoint_every: int = checked(1100, checks.positive)


@dataclasses.dataclass(frozen=True)
class Validate(Checked):
    """Held-out tracks of each class that are asked about along the way; the curves are
    the result, so all of it is part of a run's identity."""

    where = "validate"
    tracks: int = checked(100, checks.whole(1, 1_000_000))


@dataclasses.dataclass(frozen=True)
class Run(Checked):
    """One run. The dictionaries override the preset's records where not None.

    sharing: what the two networks have in common, see `sharing.SHARINGS`
    study: which study it belongs to, "" for none
    draws: how often all of it is done, each time with tracks, parameters and batches of
      its own
    """

    sharing: str = checked("shared", checks.choice(SHARINGS))
    method: str = checked(METHOD, checks.choice((METHOD,)))
    preset: str = checked("recommended", checks.choice(CHANGES))
    seed: int = checked(0, checks.seed)
    study: str = checked("", checks.text())
    draws: int = checked(10, checks.whole(1, 1000))
    data: Data = dataclasses.field(default_factory=Data)
    train: Train = dataclasses.field(default_factory=Train)
    validate: Validate = dataclasses.field(default_factory=Validate)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    sg: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)
    stream: dict[str, Any] = dataclasses.field(default_factory=dict)
    forecast: dict[str, Any] = dataclasses.field(default_factory=dict)


def resolve(run: Run, uses: tuple[str, ...]) -> Settings:
    """The preset, changed for two networks, with the run's overrides.

    Synthetic gradients are used in the slow update (`decoupled`) by default.

    Raises:
      ValueError: for a value that may not be, a setting without effect, or predictors
        that are shared where nothing predicts.
    """
    settings = presets.resolve(
        run.preset, ways=10, shots=1, uses=uses, overrides=presets.given(run),
        default_use="decoupled", changes=CHANGES[run.preset],
    )  # fmt: skip
    if settings.sg.use == "off" and run.sharing in ("shared", "frozen"):
        raise ValueError(
            f"sharing={run.sharing!r} with sg.use='off': nothing predicts, so there is "
            "nothing to share; choose another sg.use, or sharing 'separate' or 'warm'"
        )
    return settings
