"""How long it takes to read trajectories, clean them and cut them into windows.

    python -m benchmarks.trajectories

One JSON line per workload, the best of so many runs: the packed Stanford Drone files
(23 videos at 30 Hz, all 60 at 3 Hz), TAF-BW, and a made-up folder in the format of inD.
Rules and windows run on the 30 Hz tracks.
"""

import argparse
import json
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

from nmn_jax.data import trajectories
from nmn_jax.data.trajectories import ind, ind_writer, sdd, synthetic, tafbw


def best(work: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Seconds of the fastest of several runs, and what the last one gave."""
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        given = work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds), given


def line(workload: str, seconds: float, tracks: trajectories.Tracks) -> str:
    """One JSON line."""
    points = len(tracks.frames)
    measured = {
        "benchmark": "trajectories",
        "workload": workload,
        "seconds": round(seconds, 4),
        "videos": len(set(tracks.recordings.tolist())),
        "tracks": len(tracks),
        "points": points,
        "points_per_second": round(points / seconds),
    }
    return json.dumps(measured)


def main() -> None:
    """Print a line per workload."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    for rate in sdd.FILES:
        seconds, tracks = best(lambda rate=rate: sdd.load(rate), runs)
        print(line(f"read sdd {rate}", seconds, tracks), flush=True)
    print(line("read tafbw", *best(tafbw.load, runs)), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        ind_writer.write(folder, synthetic.make())
        made = pathlib.Path(folder)
        seconds, tracks = best(lambda: ind.load(made), runs)
        print(line("read made-up inD", seconds, tracks), flush=True)
    full, rules = sdd.load("30hz"), trajectories.standard()
    seconds, cleaned = best(lambda: trajectories.clean(full, rules).tracks, runs)
    print(line("clean sdd 30hz", seconds, full), flush=True)
    seconds, _ = best(lambda: trajectories.windows(cleaned), runs)
    print(line("cut sdd 30hz into windows", seconds, cleaned), flush=True)


if __name__ == "__main__":
    main()
