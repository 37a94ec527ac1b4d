"""From cyclists to pedestrians in a few gradient steps (section 4.2, Figs. 4 and 5).

    python -m experiments.trajectory --config=sdd --workdir=runs/tracks
    python -m experiments.trajectory --config=synthetic     # no files needed

150 cyclists are learned from; then 10 pedestrians are adapted to, and pedestrians that
no step saw are forecast after each step: 50 frames seen, 50 asked for. Ten draws of
tracks, parameters and batches are done side by side. Resumes like every run.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import dataclasses
import pathlib
import sys

import numpy as np

from experiments import report
from experiments.common import bench as bench_lib
from experiments.common import identity, launch, loop, results
from experiments.common.bench import Bench
from experiments.trajectory import protocol, records
from experiments.trajectory import sources as sources_lib
from experiments.trajectory.sources import Sources
from nmn_jax.run import parallel

EXPERIMENT = "trajectory"
UNITS = {"squared_error": "", "ade": "m", "fde": "m"}


def main(run: records.Run, workdir: pathlib.Path | None, results_dir: str) -> dict:
    """One run from data to pictures; returns the result that was written.

    Args:
      run: the config.
      workdir: where everything of the run goes; None is a folder named after the run.
      results_dir: where a copy of the result is put, "" for nowhere.

    Raises:
      ValueError: before the first step, for anything about the config, the data or the
        folders that would end the run later.
      FileNotFoundError: if the tracks are not at hand; says what to do.
    """
    bench = protocol.prepare(run, parallel.make_mesh())
    workdir = identity.folders(run_name(bench), workdir, results_dir)
    loaded = sources_lib.load(run.data)
    sources = sources_lib.draw(run, loaded.windows)
    suffix = identity.claim(workdir, run, bench.settings)
    if parallel.is_main_process():
        print(f"{run_name(bench)}: {run.draws} draws of {run.train.steps} steps; files "
              f"in {workdir}", file=sys.stderr)  # fmt: skip
    learn, asked = protocol.make_learn(bench), protocol.phase(run, sources)
    outcome = train(bench, learn, sources, workdir)
    tested, last = protocol.test(bench, learn, outcome.state.method, asked)
    examples = protocol.examples(bench, last, asked)
    if not parallel.is_main_process():
        return {}
    result = make_result(bench, outcome, tested, examples, cleaning=loaded.cleaning)
    results.write_result(result, workdir, results_dir, suffix=suffix)
    if not suffix:
        report.draw_run(workdir)
    return result


def train(
    bench: Bench, learn: protocol.Learn, sources: Sources, workdir: pathlib.Path
) -> loop.Outcome:
    """Learn from cyclists, and ask about others on the way."""
    return loop.train(
        bench_lib.plan(bench.run),
        protocol.start(bench),
        protocol.make_step(bench, learn, sources.train.xy),
        protocol.make_validate(bench, sources.validation),
        workdir=workdir,
        identity={"config": dataclasses.asdict(bench.run)},
    )


def run_name(bench: Bench) -> str:
    """A name that tells runs apart."""
    run, sg = bench.run, bench.settings.sg
    parts = [
        "tracks", run.data.source, run.method, run.preset, f"sg-{sg.use}",
        *([] if sg.control == "none" else [sg.control]), f"seed{run.seed}",
    ]  # fmt: skip
    return "-".join(parts)


def make_result(
    bench: Bench,
    outcome: loop.Outcome,
    tested: dict[str, dict[str, np.ndarray]],
    examples: dict[str, np.ndarray],
    *,
    cleaning: list[dict],
) -> dict:
    """Errors on held-out tracks after some steps; in `extra` every curve of every draw,
    and what was left out of the tracks.

    The interval is over draws.
    """
    run = bench.run
    return results.make_result(
        run, bench.settings, outcome,
        experiment=EXPERIMENT,
        columns=bench.method.columns,
        task={
            "data": run.data.source, "observed": run.data.observed,
            "horizon": run.data.horizon, "fps": run.data.fps,
            "every": run.data.every, "train": run.data.train,
            "support": run.data.support, "scale": run.data.scale,
            "per_track": run.data.per_track,
        },
        evaluation={"kind": "tracks", **dataclasses.asdict(run.eval)},
        measures=measures(run, tested["heldout"]),
        images_per_step=run.train.batch,
        first_step_seconds=outcome.first_step,
        extra={
            "steps": list(run.eval.steps),
            **{name: _listed(each, 8) for name, each in tested.items()},
            "examples": _listed(examples, 2),
            "cleaning": cleaning,
        },
    )  # fmt: skip


def measures(run: records.Run, heldout: dict[str, np.ndarray]) -> dict[str, dict]:
    """`<measure> after <steps>` of the first and the last steps, and of 1 and 8."""
    steps = run.eval.steps
    shown = [at for at in steps if at in (steps[0], 1, 8, steps[-1])]
    return {
        f"{name} after {at}": results.measure(values[steps.index(at)], UNITS[name])
        for name, values in heldout.items()
        for at in shown
    }


def _listed(arrays: dict[str, np.ndarray], digits: int) -> dict[str, list]:
    return {name: np.round(each.astype(float), digits).tolist()
            for name, each in arrays.items()}  # fmt: skip


if __name__ == "__main__":
    launch.run(main, records.Run, default="trajectory")
