"""Learning from a stream costs the same at step 100,000 as at the first.

    python -m benchmarks.stream --steps 100000 --window 2

One JSON line: steps/s of both halves, and the largest resident memory of each half
(after a warm-up; the kernel's high-water mark is reset in between), which must agree
within 2 %. A step is one window: encoder, memory, synthetic gradients, both optimisers.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import jax

from experiments.rare_classes import protocol, records, sources
from nmn_jax.run import parallel

WARM_UP = 1_000
PROCESS = pathlib.Path("/proc/self")


def reset_peak() -> None:
    """Forget the largest resident memory so far (Linux)."""
    (PROCESS / "clear_refs").write_text("5")


def peak() -> float:
    """Largest resident memory since `reset_peak`, in MiB."""
    lines = (PROCESS / "status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) / 1024


def stretch(step: Callable[[Any], Any], state: Any, steps: int) -> tuple[Any, dict]:
    """Run so many steps; their rate and peak memory."""
    reset_peak()
    begun = time.perf_counter()
    for _ in range(steps):
        state, measured = step(state)
    jax.block_until_ready((state, measured))
    seconds = time.perf_counter() - begun
    return state, {"steps_per_second": steps / seconds, "peak_mib": peak()}


def measure(run: records.Run, steps: int) -> dict[str, Any]:
    """The JSON line."""
    bench = protocol.prepare(run, parallel.make_mesh())
    pools = sources.load(run.data, run.validate.part).pools
    step = protocol.make_step(bench, parallel.replicate(bench.mesh, pools))
    state, _ = stretch(step, protocol.start(bench), WARM_UP)
    state, first = stretch(step, state, steps // 2)
    state, second = stretch(step, state, steps - steps // 2)
    return {
        "benchmark": "stream",
        "steps": steps,
        "window": run.train.batch,
        "sg": bench.settings.sg.use,
        "data": run.data.source,
        "steps_per_second": [
            round(each["steps_per_second"], 1) for each in (first, second)
        ],
        "peak_mib": [round(each["peak_mib"], 1) for each in (first, second)],
        "peak_ratio": round(second["peak_mib"] / first["peak_mib"], 4),
        "steps_taken": int(state.method.step),
        "device": jax.devices()[0].device_kind,
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--window", type=int, default=2)
    parser.add_argument("--sg", default="both")
    given = parser.parse_args()
    if not (PROCESS / "clear_refs").exists():
        sys.exit("error: peak memory is read from /proc, which only Linux has")
    run = records.Run(
        sg={"use": given.sg},
        data=records.Data("digits", held_out=300),
        train=records.Train(batch=given.window),
    )
    print(json.dumps(measure(run, given.steps)), flush=True)


if __name__ == "__main__":
    main()
