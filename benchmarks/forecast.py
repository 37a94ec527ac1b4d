"""What it costs to learn from cyclists: 100 steps of 10 tracks, of one draw and of ten.

    python -m benchmarks.forecast

One JSON line per use of synthetic gradients and number of draws: seconds until the
first step is done (compilation included), seconds of the 100 steps after it, steps/s,
and both together, which is what a training of one draw has to do in 30 s on two cores.
Tracks are made up: what a step costs does not depend on them.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import json
import time
from typing import Any

import jax
import numpy as np

from experiments.trajectory import protocol, records
from nmn_jax.run import parallel

USES = ("off", "decoupled", "fast", "both")


def measure(use: str, draws: int, steps: int) -> dict[str, Any]:
    """The JSON line of one training."""
    run = records.Run(draws=draws, sg={"use": use})
    bench = protocol.prepare(run, parallel.make_mesh())
    frames = run.data.observed + run.data.horizon
    shape = (draws, run.data.train, frames, 2)
    moves = np.random.default_rng(0).normal(size=shape, scale=1e-3)
    tracks = np.cumsum(moves, axis=2).astype(np.float32)
    begun = time.perf_counter()
    step = protocol.make_step(bench, protocol.make_learn(bench), tracks)
    state, told = step(protocol.start(bench))
    jax.block_until_ready((state, told))
    first = time.perf_counter()
    for _ in range(steps - 1):
        state, told = step(state)
    jax.block_until_ready((state, told))
    done = time.perf_counter()
    return {
        "benchmark": "forecast", "use": use, "draws": draws, "steps": steps,
        "first_seconds": round(first - begun, 2),
        "seconds": round(done - begun, 2),
        "steps_per_second": round((steps - 1) / (done - first), 1),
        "device": jax.devices()[0].device_kind,
    }  # fmt: skip


def main() -> None:
    """Print one line per training."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--uses", nargs="+", default=USES, choices=USES)
    parser.add_argument("--draws", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    for draws in given.draws:
        for use in given.uses:
            print(json.dumps(measure(use, draws, given.steps)), flush=True)


if __name__ == "__main__":
    main()
