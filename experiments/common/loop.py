"""The training loop: resume, step, log, validate, save."""

from __future__ import annotations

import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from nmn_jax import checkpoint, diagnostics, metrics, preemption


class Plan(NamedTuple):
    """How long, and how often what. All counts are in optimiser steps."""

    steps: int
    steps_per_call: int
    log_every: int
    validate_every: int
    checkpoint_every: int
    minutes: float


class Outcome(NamedTuple):
    """The state at the end, steps taken and wall seconds over all resumes."""

    state: Any
    step: int
    seconds: float


Step = Callable[[Any], tuple[Any, Mapping[str, jax.Array]]]
Validate = Callable[[Any], tuple[Any, Mapping[str, float]]]


def check_plan(plan: Plan) -> None:
    """Raises ValueError unless periods are positive multiples of `steps_per_call`.

    Also for a time limit with several processes: their clocks would stop them at
    different steps, and each would wait for the others.
    """
    if plan.minutes and jax.process_count() > 1:
        raise ValueError(
            f"train.minutes={plan.minutes} with {jax.process_count()} processes: each "
            "has its own clock; limit train.steps instead"
        )
    for name in ("steps", "log_every", "validate_every", "checkpoint_every"):
        period = getattr(plan, name)
        if period < 1 or period % plan.steps_per_call:
            raise ValueError(
                f"train.{name}={period} must be a positive multiple of "
                f"train.steps_per_call={plan.steps_per_call}"
            )


def train(
    plan: Plan,
    state: Any,
    step: Step,
    validate: Validate,
    *,
    workdir: pathlib.Path,
    identity: Mapping[str, Any],
) -> Outcome:
    """Train from the newest sound checkpoint in `workdir`, or from `state`.

    Resume order: state from the checkpoint, then the metrics file cut back to its step,
    then on. Everything random follows from the step, so the end is the same to the bit.

    Args:
      state: the state before the first step; gives structure and placement.
      step: `(state) -> (state, metrics)`, advancing `plan.steps_per_call` steps.
      validate: `(state) -> (state, scalars)`; may remember the best.
      identity: what makes another run of this one; stored with every checkpoint.

    Raises:
      FloatingPointError: at the first non-finite metric; names it and the step.
      SystemExit: with `preemption.EXIT_CODE` after saving, when the machine is taken.
    """
    check_plan(plan)
    with (
        checkpoint.Checkpoints(workdir / "checkpoints") as saved,
        preemption.Preemption() as taken,
    ):
        restored = saved.restore_latest(state)
        at, seconds = 0, 0.0
        if restored is not None:
            state, at, seconds = (
                restored.state,
                restored.step,
                restored.extra["seconds"],
            )
        with metrics.Writer(workdir, resume_step=at if restored else None) as writer:
            journal = _Journal(plan, at, seconds, writer)
            while at < plan.steps and not journal.out_of_time():
                state, measured = step(state)
                at += plan.steps_per_call
                journal.log(at, state, measured)
                if at % plan.validate_every == 0 or at == plan.steps:
                    state = journal.validated(at, state, validate)
                stop = taken.requested(at)
                if at % plan.checkpoint_every == 0 or at == plan.steps or stop:
                    # Rows up to here are on disk before a resume can start here.
                    journal.flush(state)
                    extra = {"seconds": journal.seconds(), **identity}
                    saved.save(at, state, extra=extra, wait=stop)
                if stop:
                    sys.exit(preemption.EXIT_CODE)
            if at < plan.steps:
                state = journal.validated(at, state, validate)
            journal.flush(state)
        return Outcome(state, at, journal.seconds())


class _Journal:
    """Clock, metrics file and progress line of one training."""

    def __init__(self, plan: Plan, at: int, seconds: float, writer: metrics.Writer):
        self._plan, self._writer = plan, writer
        self._before, self._begun = seconds, time.monotonic()
        self._progress = metrics.Progress(plan.steps, start=at)
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._shown: dict[str, float] = {}
        self._warned = False

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    def out_of_time(self) -> bool:
        return 0 < self._plan.minutes * 60 <= self.seconds()

    def log(self, at: int, state: Any, measured: Mapping[str, jax.Array]) -> None:
        """Fetch metrics one interval late, so that the device is never waited for."""
        if at % self._plan.log_every == 0:
            self.flush(state)
            self._pending = (at, measured)
        self._progress.update(at, **self._shown)

    def validated(self, at: int, state: Any, validate: Validate) -> Any:
        state, scalars = validate(state)
        self.flush(state)
        self._writer.write(at, scalars)
        self._shown.update({name.split("/")[-1][:3]: v for name, v in scalars.items()})
        return state

    def flush(self, state: Any) -> None:
        if self._pending is None:
            return
        at, measured = self._pending
        self._pending = None
        scalars = metrics.host_scalars(measured)
        metrics.check_finite(scalars, step=at, state=state)
        # Once: collapsed slots stay equal, and a warning at every step is read by none.
        self._warned = self._warned or diagnostics.warn_on_collapse(scalars, step=at)
        self._writer.write(at, scalars)
        self._shown = {name: scalars[name] for name in ("loss", "accuracy")}
