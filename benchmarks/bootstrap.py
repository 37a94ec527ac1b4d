"""What the bootstrap of the whole state costs, and that it never costs more.

    python -m benchmarks.bootstrap                    # windows with it and without
    python -m benchmarks.bootstrap --windows 100000   # memory over so many windows

One JSON line per workload. Windows with and without are timed by turns in one process,
so that what else the machine does is shared; a line holds the median of the rounds'
ratios. `digits` is a window of ten images of the rare-class stream in the recommended
memory, `recall` one of far recall, where sixteen memories of 210 slots are all there
is, `copy` five steps of an LSTM of 100 units whose predictor is solved for.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.stream import PROCESS, WARM_UP, stretch
from experiments.copy import protocol as copy
from experiments.copy import records as copy_records
from experiments.far_recall import protocol as recall
from experiments.far_recall import records as recall_records
from experiments.rare_classes import protocol as rare
from experiments.rare_classes import records as rare_records
from experiments.rare_classes import sources
from nmn_jax.methods.base import Method
from nmn_jax.run import parallel
from nmn_jax.tasks.base import Task

WITH: dict[str, Any] = {"target": "bootstrap"}
ROUNDS = 7
Workload = tuple[Method, Task, Any]


def digits(stream: dict[str, Any]) -> Workload:
    """Ten images of the rare-class stream a window."""
    run = rare_records.Run(
        data=rare_records.Data("digits", held_out=300), sg={"use": "off"}, stream=stream
    )
    bench = rare.prepare(run, parallel.make_mesh())
    return bench.method, bench.task, sources.load(run.data, run.validate.part).pools


def recalled(stream: dict[str, Any]) -> Workload:
    """Far recall as the study runs it."""
    run = recall_records.Run(stream=stream)
    bench = recall.prepare(run, parallel.make_mesh())
    return bench.method, bench.task, ()


def copied(stream: dict[str, Any]) -> Workload:
    """Five steps of copying, as the study runs it."""
    solved = {"predictor": "least_squares"} if stream else {}
    run = copy_records.Run(
        data=copy_records.Data(window=5), stream={**stream, **solved}
    )
    bench = copy.prepare(run, parallel.make_mesh())
    place = copy.start(bench).place._replace(length=jnp.asarray(10))
    return bench.method, bench.task, place


WORKLOADS: dict[str, tuple[Callable[[dict[str, Any]], Workload], int]] = {
    "digits": (digits, 20),
    "recall": (recalled, 100),
    "copy": (copied, 500),
}


def make_windows(work: Workload, count: int) -> Callable[[Any], Any]:
    """So many windows as one program, `(state) -> (state, loss)`; the state donated."""
    method, task, source = work
    key = jax.random.key(0)

    def windows(state: Any, source: Any) -> Any:
        def one(state: Any, _: None) -> tuple[Any, jax.Array]:
            state, metrics = method.step(state, task.sample(key, state.step, source))
            return state, metrics["loss"]

        return jax.lax.scan(one, state, length=count)

    compiled = jax.jit(windows, donate_argnums=0)
    return lambda state: compiled(state, source)


def compare(name: str) -> dict[str, Any]:
    """The JSON line of one workload."""
    make, count = WORKLOADS[name]
    works = [make(stream) for stream in ({}, WITH)]
    runs = [make_windows(work, count) for work in works]
    states = [work[0].init(jax.random.key(1)) for work in works]
    seconds: list[list[float]] = []
    for _ in range(ROUNDS + 1):
        each = []
        for at, run in enumerate(runs):
            begun = time.perf_counter()
            states[at], loss = run(states[at])
            jax.block_until_ready(loss)
            each.append((time.perf_counter() - begun) / count)
            assert bool(jnp.isfinite(loss).all())
        seconds.append(each)
    # The first round compiles.
    without, with_ = zip(*seconds[1:], strict=True)
    ratios = [b / a for a, b in zip(without, with_, strict=True)]
    return {
        "benchmark": "bootstrap",
        "workload": name,
        "ms_without": round(1e3 * statistics.median(without), 3),
        "ms_with": round(1e3 * statistics.median(with_), 3),
        "ratio": round(statistics.median(ratios), 3),
        "device": jax.devices()[0].device_kind,
    }


def constant_memory(windows: int) -> dict[str, Any]:
    """The JSON line of a long stream: peak memory of both halves, in a small memory."""
    data = recall_records.Data(streams=1, farthest=2)
    run = recall_records.Run(
        data=data, model={"slots": 30}, stream={**WITH, "trace": 0.5, "horizon": 3}
    )
    bench = recall.prepare(run, parallel.make_mesh())
    each = 10
    step = make_windows((bench.method, bench.task, ()), each)
    state, _ = stretch(step, bench.method.init(jax.random.key(1)), WARM_UP // each)
    halves = []
    for _ in range(2):
        state, measured = stretch(step, state, windows // each // 2)
        halves.append(measured)
    return {
        "benchmark": "bootstrap",
        "workload": "memory",
        "windows": int(state.step) - WARM_UP,
        "windows_per_second": [
            round(each * half["steps_per_second"], 1) for half in halves
        ],
        "peak_mib": [round(half["peak_mib"], 1) for half in halves],
        "peak_ratio": round(halves[1]["peak_mib"] / halves[0]["peak_mib"], 4),
        "device": jax.devices()[0].device_kind,
    }


def main() -> None:
    """Print a JSON line for each workload."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--windows", type=int, default=0)
    parser.add_argument(
        "--workloads", nargs="*", choices=[*WORKLOADS], default=[*WORKLOADS]
    )
    given = parser.parse_args()
    if given.windows:
        if not (PROCESS / "clear_refs").exists():
            sys.exit("error: peak memory is read from /proc, which only Linux has")
        print(json.dumps(constant_memory(given.windows)), flush=True)
        return
    for name in given.workloads:
        print(json.dumps(compare(name)), flush=True)


if __name__ == "__main__":
    main()
