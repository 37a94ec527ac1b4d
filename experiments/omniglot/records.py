"""What an Omniglot run is made of, as frozen records (the library never sees flags)."""

from __future__ import annotations

import dataclasses
from typing import Any

from nmn_jax import presets


@dataclasses.dataclass(frozen=True)
class Data:
    """`source` is `omniglot` or `glyphs`; `split` is `paper` or `official`."""

    source: str = "omniglot"
    split: str = "paper"


@dataclasses.dataclass(frozen=True)
class Train:
    """Length and batch of training.

    steps: optimiser steps
    episodes: episodes a step
    queries: queries a class
    minutes: stop training after this wall time, counted over all resumes; 0 is never
    """

    steps: int = 5_000
    episodes: int = 16
    queries: int = 3
    minutes: float = 0.0
    steps_per_call: int = 1
    log_every: int = 50
    validate_every: int = 500
    checkpoint_every: int = 250


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """How a run is tested; `kind` is `episodes` or `lake`.

    episodes: fixed test episodes
    queries: queries a class, 0 for 15 up to 5 ways and 5 above
    batch: test episodes evaluated at once
    adapt_steps: gradient steps on the support set before the queries (methods A10)
    """

    kind: str = "episodes"
    episodes: int = 1000
    validation_episodes: int = 200
    queries: int = 0
    batch: int = 20
    seed: int = 2020
    adapt_steps: tuple[int, ...] = (0,)
    adapt_source: str = "true"
    adapt_params: str = "controllers+decoder"
    adapt_lr: float = 0.01


@dataclasses.dataclass(frozen=True)
class Run:
    """One run. `model`, `feedback` and `optim` override the preset where not None."""

    method: str = "nmn"
    preset: str = "recommended"
    sg: str = "fast"
    control: str = "none"
    ways: int = 5
    shots: int = 1
    seed: int = 0
    study: str = ""
    data: Data = Data()
    train: Train = Train()
    eval: Evaluate = Evaluate()
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    feedback: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)


def queries_at_test(run: Run) -> int:
    """15 queries a class up to 5 ways, 5 above, unless the config says otherwise."""
    return run.eval.queries or (15 if run.ways <= 5 else 5)


def resolve(run: Run) -> presets.Settings:
    """The preset with the run's overrides.

    Raises:
      ValueError: for an unknown preset, choice, or value of the wrong type.
    """
    settings = presets.preset(
        run.preset, ways=run.ways, shots=run.shots, sg=run.sg, control=run.control
    )
    return presets.override(settings, model=run.model, sg=run.feedback, optim=run.optim)
