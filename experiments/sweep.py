"""Studies: many runs, one command, results left alone that are already there.

    python -m experiments.sweep sg_effect --jobs=2
    python -m experiments.sweep sg_effect --only=shuffled,oracle_step --again
    python -m experiments.sweep settings --hours=3

Every run is one command of an experiment, printed before it starts, so any row of a
table can be made again alone. A run that was interrupted resumes; after `--hours` those
under way save and stop, and the same command goes on with them. Studies are the
generators in the `STUDIES` of a benchmark's `study.py`; none is known here.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from typing import NamedTuple

from experiments import report
from nmn_jax.run.preemption import EXIT_CODE

ROOT = report.ROOT
Flags = tuple[str, ...]


class Study(NamedTuple):
    """A study, the experiment whose command runs, and the flags of every run."""

    name: str
    experiment: str
    runs: Callable[[], Iterator[Flags]]

    def queue(self, only: Collection[str] = ()) -> list[Flags]:
        """Flags of every run; with `only`, of those that give any of these values.

        Raises:
          ValueError: if `only` leaves nothing, or names a value that no run has.
        """
        label = f"--config.study={self.name}"
        queue = [(*flags, label) for flags in self.runs()]
        for value in only:
            if not any(value in values(flags) for flags in queue):
                known = sorted({each for flags in queue for each in values(flags)})
                raise ValueError(
                    f"--only={value}: no run of {self.name} has this value; there are "
                    f"{', '.join(known)}"
                )
        return [flags for flags in queue if not only or set(only) & values(flags)]

    def name_of(self, flags: Flags) -> str:
        """A file name for a run: `name_of`, and what of its budget tells it from runs
        that would have the same."""
        name = name_of(flags)
        alike = [each for each in self.queue() if name_of(each) == name]
        own = [flag for flag in flags if not all(flag in each for each in alike)]
        told = (flag.removeprefix("--").partition("=") for flag in own)
        budget = (f"{key.split('.')[-1]}-{value}" for key, _, value in told)
        return "-".join([name, *budget])


def values(flags: Flags) -> set[str]:
    """The values of all flags."""
    return {flag.partition("=")[2] for flag in flags}


def studies() -> dict[str, Study]:
    """Every study of every benchmark, by name."""
    return {
        name: Study(name, experiment, runs)
        for experiment, module in report.benchmarks("study").items()
        for name, runs in module.STUDIES.items()
    }


def name_of(flags: Flags) -> str:
    """The variant of a run, and its flags as `name-value`.

    Budgets are the same for most of a study and are left out.
    """
    parts = []
    for flag in flags:
        key, _, value = flag.removeprefix("--").partition("=")
        path = key.split(".")
        if key == "config":
            parts.append(value)
        elif path[1] not in ("train", "eval", "validate", "study"):
            parts.append(f"{path[-1]}-{value}")
    # Of a tuple's quotes and brackets a file name says nothing.
    return re.sub(r"[()'\" ]", "", "-".join(parts))


def place(study: Study, flags: Flags, results: pathlib.Path) -> pathlib.Path:
    """Where the result of a run is copied to."""
    return results / study.experiment / study.name / f"{study.name_of(flags)}.json"


def command_of(study: Study, flags: Flags, results: pathlib.Path) -> list[str]:
    """The command line of a run, after the interpreter."""
    return [
        "-m", f"experiments.{study.experiment}", *flags,
        f"--workdir=runs/{study.name}/{study.name_of(flags)}", f"--results={results}",
    ]  # fmt: skip


def run_one(
    study: Study, flags: Flags, results: pathlib.Path, *, core: int, until: float
) -> int:
    """One run in a process of its own, on one core unless `core` is -1; its status.

    At `until` (`time.monotonic`) it is told to save and stop, and has `EXIT_CODE`.
    """
    if time.monotonic() >= until:
        return EXIT_CODE
    command = command_of(study, flags, results)
    print("+", shlex.join(["python", *command]), flush=True)
    whole = [sys.executable, *command]
    if core >= 0:
        whole = ["taskset", "-c", str(core), *whole]
    log = ROOT / "runs" / study.name / f"{study.name_of(flags)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    left = None if math.isinf(until) else until - time.monotonic()
    with log.open("a") as out:
        process = subprocess.Popen(whole, cwd=ROOT, stdout=out, stderr=out)
        try:
            return process.wait(left)
        except subprocess.TimeoutExpired:
            process.terminate()
            status = process.wait()
            # One that was still starting, or was testing, has not asked for the signal.
            return EXIT_CODE if status == -signal.SIGTERM else status


def run_all(
    study: Study, queue: list[Flags], results: pathlib.Path, *, jobs: int, until: float
) -> dict[Flags, int]:
    """Statuses of the runs of a queue, `jobs` at a time, which stop at `until`."""
    free = list(range(jobs)) if jobs > 1 else [-1]

    def next_one(flags: Flags) -> int:
        core = free.pop()
        try:
            return run_one(study, flags, results, core=core, until=until)
        finally:
            free.append(core)

    with futures.ThreadPoolExecutor(jobs) as pool:
        statuses = list(pool.map(next_one, queue))
    return dict(zip(queue, statuses, strict=True))


def main() -> None:
    """Run a study; exits non-zero if any of its runs failed."""
    known = studies()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=sorted(known))
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "results")
    parser.add_argument(
        "--only", default="",
        help="runs that give one of these values, e.g. shuffled,oracle_step",
    )  # fmt: skip
    parser.add_argument(
        "--again", action="store_true", help="also runs whose result is already there"
    )
    parser.add_argument(
        "--jobs", type=int, default=1,
        help="runs at a time, each on a core of its own if more than one",
    )  # fmt: skip
    parser.add_argument(
        "--hours", type=float, default=math.inf,
        help="when to stop; what is left is for the same command later",
    )  # fmt: skip
    given = parser.parse_args()
    study = known[given.study]
    if given.jobs < 1:
        parser.error(f"--jobs={given.jobs}: must be at least 1")
    if not given.hours > 0:
        parser.error(f"--hours={given.hours:g}: must be above 0")
    try:
        queue = study.queue([each for each in given.only.split(",") if each])
    except ValueError as error:
        sys.exit(f"error: {error}")
    results = given.results.resolve()
    due = [
        flags
        for flags in queue
        if given.again or not place(study, flags, results).exists()
    ]
    until = time.monotonic() + 3600 * given.hours
    statuses = run_all(study, due, results, jobs=given.jobs, until=until)
    sys.exit(_told(study, len(queue), statuses))


def _told(study: Study, asked: int, statuses: dict[Flags, int]) -> int:
    """Says what became of the runs; the exit status."""
    failed = [flags for flags, each in statuses.items() if each not in (0, EXIT_CODE)]
    for flags in failed:
        print(f"failed: runs/{study.name}/{study.name_of(flags)}.log", file=sys.stderr)
    left = sum(each == EXIT_CODE for each in statuses.values())
    later = f", {left} are left for the same command" if left else ""
    print(f"{asked - len(failed) - left} of {asked} runs done{later}", flush=True)
    return os.EX_OK if not failed else 1


if __name__ == "__main__":
    main()
