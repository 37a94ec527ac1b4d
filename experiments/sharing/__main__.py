"""Two networks, one for each kind of road user, and what they share (section 5.2).

    python -m experiments.sharing --config=sdd --workdir=runs/sharing
    python -m experiments.sharing --config=synthetic        # no files needed

One network streams cyclists; from step 100 on, at every 100th step, another one sees 10
pedestrians and nothing else. Their predictors of gradients are shared or separate, each
network has all else of its own (Figs. 8 and 9). Resumes like every run.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import dataclasses
import pathlib
import sys

from experiments import report
from experiments.common import bench as bench_lib
from experiments.common import identity, launch, loop, plots, results
from experiments.common.bench import Bench
from experiments.sharing import protocol, records
from experiments.sharing import sources as sources_lib
from experiments.sharing.protocol import Tracks
from nmn_jax.run import parallel


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
    tracks = sources_lib.draw(run, loaded.windows)
    identity.claim(workdir, run, bench.settings)
    if parallel.is_main_process():
        print(f"{run_name(bench)}: {run.draws} draws of {run.train.steps} steps; files "
              f"in {workdir}", file=sys.stderr)  # fmt: skip
    outcome = train(bench, tracks, workdir)
    if not parallel.is_main_process():
        return {}
    curves = protocol.curves(plots.rows(workdir), run.draws)
    result = make_result(bench, outcome, curves, cleaning=loaded.cleaning)
    results.write_result(result, workdir, results_dir)
    report.draw_run(workdir)
    return result


def train(
    bench: Bench, tracks: tuple[Tracks, Tracks], workdir: pathlib.Path
) -> loop.Outcome:
    """Both networks learn, and are asked about held-out tracks on the way."""
    return loop.train(
        bench_lib.plan(bench.run),
        protocol.start(bench),
        protocol.make_step(bench, tracks),
        protocol.make_validate(bench, tracks),
        workdir=workdir,
        identity={"config": dataclasses.asdict(bench.run)},
    )


def run_name(bench: Bench) -> str:
    """A name that tells runs apart."""
    run, sg = bench.run, bench.settings.sg
    parts = [
        "sharing", run.data.source, run.sharing, run.preset, f"sg-{sg.use}",
        *([] if sg.control == "none" else [sg.control]), f"first-{run.data.first}",
        f"seed{run.seed}",
    ]  # fmt: skip
    return "-".join(parts)


def make_result(
    bench: Bench, outcome: loop.Outcome, curves: dict, *, cleaning: list[dict]
) -> dict:
    """Errors of both networks at the end, over draws; in `extra` the curves, and what
    was left out of the tracks."""
    run, score = bench.run, protocol.SCORE
    return results.make_result(
        run, bench.settings, outcome,
        experiment="sharing",
        columns={"sharing": run.sharing, **bench.method.columns},
        task={
            "data": run.data.source, "observed": run.data.observed,
            "horizon": run.data.horizon, "train": run.data.train,
            "first": run.data.first,
        },
        evaluation={"kind": "tracks", **dataclasses.asdict(run.validate)},
        measures={
            f"{name} {score}": results.measure(curves[name][-1], "")
            for name in reversed(protocol.BRANCHES)
        },
        images_per_step=run.train.batch,
        first_step_seconds=outcome.first_step,
        extra={"curves": curves, "cleaning": cleaning},
    )  # fmt: skip


if __name__ == "__main__":
    launch.run(main, records.Run, default="sharing")
