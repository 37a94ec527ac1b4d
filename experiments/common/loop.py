"""The training loop: resume, step, log, validate, save."""

from __future__ import annotations

import contextlib
import math
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from nmn_jax import diagnostics
from nmn_jax.run import (
    checkpoint,
    fingerprint,
    lock,
    metrics,
    parallel,
    place,
    preemption,
)

PERIODS = ("steps", "log_every", "validate_every", "checkpoint_every")
ADVICE = (
    "Every checkpoint was looked through when it was saved and holds finite numbers; "
    "lower optim.lr or sg.rate, or set optim.clip."
)
# Steps in one program where starting a program costs as much as a small step.
MOST_STEPS_PER_CALL = 10


class Plan(NamedTuple):
    """How long, and how often what. All counts are in optimiser steps.

    steps_per_call: steps of one call of the program; None or 0 is chosen by the backend
    minutes: wall time after which training ends, over all resumes; 0 is never
    """

    steps: int
    steps_per_call: int | None
    log_every: int
    validate_every: int
    checkpoint_every: int
    minutes: float


class Outcome(NamedTuple):
    """The state at the end, steps taken and wall seconds over all resumes.

    `first_step` is the seconds from the start of this process's training until its
    first call was done, compilation included; None where nothing was left to train.
    """

    state: Any
    step: int
    seconds: float
    first_step: float | None = None


Step = Callable[[Any], tuple[Any, Mapping[str, jax.Array]]]
Validate = Callable[[Any], tuple[Any, Mapping[str, float]]]


def steps_per_call(plan: Plan, backend: str) -> int:
    """How many steps one call takes: as given, or chosen by the backend.

    One on the CPU; on an accelerator the largest number up to ten that divides all
    periods.

    Raises:
      ValueError: if a period or the number itself is not positive.
    """
    for name in PERIODS:
        if getattr(plan, name) < 1:
            raise ValueError(
                f"train.{name}={getattr(plan, name)}: give a number from 1 on"
            )
    given = plan.steps_per_call or 0
    if given < 0:
        raise ValueError(
            f"train.steps_per_call={given}: give a number from 1 on, or 0 to have it "
            "chosen by the backend"
        )
    if given or backend == "cpu":
        return given or 1
    common = math.gcd(*(getattr(plan, name) for name in PERIODS))
    return max(n for n in range(1, MOST_STEPS_PER_CALL + 1) if common % n == 0)


def check_plan(plan: Plan) -> None:
    """Raises ValueError unless periods are positive multiples of `steps_per_call`.

    Also for a time limit that is no number from zero on, or one with several processes:
    their clocks would stop them at different steps, and each would wait for the others.
    """
    if not 0 <= plan.minutes < math.inf:
        raise ValueError(
            f"train.minutes={plan.minutes}: give a number of minutes from 0 on, where "
            "0 sets no limit"
        )
    if plan.minutes and jax.process_count() > 1:
        raise ValueError(
            f"train.minutes={plan.minutes} with {jax.process_count()} processes: each "
            "has its own clock; limit train.steps instead"
        )
    each = steps_per_call(plan, jax.default_backend())
    for name in PERIODS:
        if getattr(plan, name) % each:
            raise ValueError(
                f"train.{name}={getattr(plan, name)} must be a positive multiple of "
                f"train.steps_per_call={each}"
            )


def left(plan: Plan, workdir: pathlib.Path) -> bool:
    """Whether there seem to be steps to take: by the names of checkpoints alone, so
    one that turns out damaged may leave more of them than this says."""
    names = [path.name for path in (workdir / "checkpoints").glob("*")]
    return max((int(n) for n in names if n.isdecimal()), default=0) < plan.steps


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

    Resume order: state from the checkpoint, then the metrics file cut back to its rows,
    then on. Everything random follows from the step, so the end is the same to the bit.
    The state before the first step is saved too: a folder with metrics and without any
    checkpoint has lost them, and is not trained in anew.

    Args:
      state: the state before the first step; gives structure and placement. It holds
        finite numbers only, single ones aside, as does every checkpoint.
      step: `(state) -> (state, metrics)`, advancing `steps_per_call(plan, ...)` steps.
      validate: `(state) -> (state, scalars)`; may remember the best.
      identity: what makes another run of this one; stored with every checkpoint.

    Raises:
      FloatingPointError: at the first non-finite metric; names it and the step.
      fingerprint.DamagedError: no checkpoint is sound or all are gone, or the metrics
        are not those that were written.
      lock.LockedError: another process is at work in `workdir`.
      SystemExit: with `preemption.EXIT_CODE` after saving, when the machine is taken.
    """
    check_plan(plan)
    each = steps_per_call(plan, jax.default_backend())
    with (
        lock.hold(place.claim_folder(workdir, "workdir")),
        checkpoint.Checkpoints(workdir / "checkpoints") as saved,
        preemption.Preemption() as taken,
    ):
        start = _start(saved, parallel.settle(state), workdir, identity)
        state, at = start.state, start.step
        with metrics.Writer(workdir, resume=start.rows) as writer:
            journal = _Journal(plan, start, writer)
            while at < plan.steps and not journal.out_of_time():
                state, measured = step(state)
                at += each
                journal.log(at, state, measured)
                if at % plan.validate_every == 0 or at == plan.steps:
                    state = journal.validated(at, state, validate)
                stop = taken.requested(at)
                if at % plan.checkpoint_every == 0 or at == plan.steps or stop:
                    # Rows up to here are on disk before a resume can start here.
                    journal.check(at, state)
                    saved.save(at, state, extra=journal.record(identity), wait=stop)
                if stop:
                    sys.exit(preemption.EXIT_CODE)
            if at < plan.steps:
                state = journal.validated(at, state, validate)
            journal.flush(state)
        return Outcome(state, at, journal.seconds(), journal.first_step)


class _Start(NamedTuple):
    """Where training goes on: wall seconds before, and the rows that were written."""

    state: Any
    step: int
    seconds: float
    rows: Mapping[str, Any]


def _start(
    saved: checkpoint.Checkpoints,
    state: Any,
    workdir: pathlib.Path,
    identity: Mapping[str, Any],
) -> _Start:
    restored = saved.restore_latest(state)
    if restored is not None:
        seconds, rows = restored.extra["seconds"], restored.extra["rows"]
        return _Start(restored.state, restored.step, seconds, rows)
    if not parallel.everywhere(not (workdir / metrics.FILE).exists()):
        raise fingerprint.DamagedError(
            f"{workdir}: {metrics.FILE} is there but no checkpoint; a run saves one "
            "before its first row, so they were removed. Put the folder checkpoints "
            f"back, or remove {metrics.FILE} too to start anew"
        )
    start = _Start(state, 0, 0.0, {"steps": [], "checksums": []})
    extra = {**identity, "seconds": start.seconds, "rows": start.rows}
    saved.save(0, state, extra=extra, wait=True)
    return start


class _Journal:
    """Clock, metrics file and progress line of one training."""

    def __init__(self, plan: Plan, start: _Start, writer: metrics.Writer):
        self._plan, self._writer = plan, writer
        self._before, self._begun = start.seconds, time.monotonic()
        self._progress = metrics.Progress(plan.steps, start=start.step)
        self._pending: tuple[int, Mapping[str, jax.Array]] | None = None
        self._newest: Mapping[str, jax.Array] = {}
        self._shown: dict[str, float] = {}
        self._validated: dict[str, float] = {}
        self._warned = False
        self.first_step: float | None = None

    def seconds(self) -> float:
        return self._before + time.monotonic() - self._begun

    def out_of_time(self) -> bool:
        return 0 < self._plan.minutes * 60 <= self.seconds()

    def record(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """What a checkpoint holds beside the state."""
        rows = self._writer.record()
        return {**identity, "seconds": self.seconds(), "rows": rows}

    def log(self, at: int, state: Any, measured: Mapping[str, jax.Array]) -> None:
        """Fetch metrics one interval late, so that the device is never waited for."""
        if self.first_step is None:
            jax.block_until_ready(measured)
            self.first_step = time.monotonic() - self._begun
        self._newest = measured
        if at % self._plan.log_every == 0:
            self.flush(state)
            self._pending = (at, measured)
        self._progress.update(at, **{**self._shown, **self._validated})

    def validated(self, at: int, state: Any, validate: Validate) -> Any:
        state, scalars = validate(state)
        self.flush(state)
        self._writer.write(at, scalars)
        self._validated = dict(scalars)
        return parallel.settle(state)

    def check(self, at: int, state: Any) -> None:
        """Write what is pending and let nothing be saved that is not finite."""
        self.flush(state)
        scalars = metrics.host_scalars(self._newest)
        with _advice():
            metrics.check_finite(scalars, step=at, state=state)
            metrics.check_finite_tree(state, step=at)

    def flush(self, state: Any) -> None:
        if self._pending is None:
            return
        at, measured = self._pending
        self._pending = None
        scalars = metrics.host_scalars(measured)
        with _advice():
            metrics.check_finite(scalars, step=at, state=state)
        # Once: collapsed slots stay equal, and a warning at every step is read by none.
        self._warned = self._warned or diagnostics.warn_on_collapse(scalars, step=at)
        self._writer.write(at, scalars)
        self._shown = {k: v for k, v in scalars.items() if "/" not in k}


@contextlib.contextmanager
def _advice() -> Iterator[None]:
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"{error}. {ADVICE}") from None
