"""What a training step of every few-shot method costs, and what memory it needs.

    python -m benchmarks.methods --workload 5way1shot --steps 30
    python -m benchmarks.methods --methods maml snail

One JSON line per method, measured in a process of its own: steps/s and images/s, the
largest resident memory while it trains (after a warm-up), and the seconds until the
first step is done, compilation included. Settings are those of
`python -m experiments.omniglot --config=5way1shot --config.method=...`.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import json
import multiprocessing
import sys
import time
from concurrent import futures
from typing import Any

import jax

from benchmarks import stream
from experiments.common import bench as bench_lib
from experiments.omniglot import config, protocol, records
from nmn_jax.data import glyphs
from nmn_jax.methods import table
from nmn_jax.run import parallel
from nmn_jax.settings import reader

METHODS = sorted(
    name for name, line in table.METHODS.items() if line.form == "episodes"
)


def measure(method: str, workload: str, steps: int) -> dict[str, Any]:
    """The JSON line of one method."""
    given = config.get_config(workload)
    given.method = method
    run = reader.from_mapping(records.Run, given)
    bench = protocol.prepare(run, parallel.make_mesh())
    images = parallel.replicate(bench.mesh, glyphs.make(alphabets=4).images)
    step = bench_lib.make_step(bench, images)
    begun = time.perf_counter()
    state, _ = stream.stretch(step, protocol.start(bench), 1)
    first = time.perf_counter() - begun
    state, _ = stream.stretch(step, state, 2)
    _, measured = stream.stretch(step, state, steps)
    count = run.ways * (run.shots + run.train.queries) * run.train.episodes
    rate = measured["steps_per_second"]
    return {
        "benchmark": "methods",
        "method": method,
        "workload": workload,
        "images": count,
        "milliseconds": round(1e3 / rate, 1),
        "steps_per_second": round(rate, 2),
        "images_per_second": round(count * rate),
        "peak_mib": round(measured["peak_mib"]),
        "first_step_seconds": round(first, 1),
        "steps": steps,
        "device": jax.devices()[0].device_kind,
    }


def main() -> None:
    """Print one JSON line per method."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--workload", default="5way1shot")
    parser.add_argument("--steps", type=int, default=30)
    given = parser.parse_args()
    if not (stream.PROCESS / "clear_refs").exists():
        sys.exit("error: peak memory is read from /proc, which only Linux has")
    spawn = multiprocessing.get_context("spawn")
    for name in given.methods:
        with futures.ProcessPoolExecutor(1, mp_context=spawn) as alone:
            line = alone.submit(measure, name, given.workload, given.steps).result()
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
