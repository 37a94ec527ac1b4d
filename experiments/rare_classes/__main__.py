"""Classes seen once in 500 windows of a stream (section 5.1, Figs. 6 and 7).

    python -m experiments.rare_classes --config=mnist --workdir=runs/rare
    python -m experiments.rare_classes --config=digits      # no files needed

Five classes stream in windows of 10; every 500th window holds only the other five.
Memory and controllers go on along the stream. What is tested are unseen images of the
rare classes, against all ten. Resumes like every run, to the bit.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import dataclasses
import functools
import pathlib
import sys

import numpy as np

from experiments import report
from experiments.common import bench as bench_lib
from experiments.common import identity, launch, loop, plots, results
from experiments.common.bench import Bench
from experiments.rare_classes import measures, protocol, records
from experiments.rare_classes import sources as sources_lib
from experiments.rare_classes.sources import Sources
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
      FileNotFoundError: if MNIST is not at hand; says what to do.
    """
    bench = protocol.prepare(run, parallel.make_mesh())
    workdir = identity.folders(run_name(bench), workdir, results_dir)
    sources = sources_lib.load(run.data, run.validate.part)
    identity.claim(workdir, run, bench.settings)
    if parallel.is_main_process():
        print(f"{run_name(bench)}: {run.train.steps} windows; files in {workdir}",
              file=sys.stderr)  # fmt: skip
    outcome = train(bench, sources, workdir)
    tested = protocol.test(bench, outcome.state, sources)
    if not parallel.is_main_process():
        return {}
    result = make_result(bench, outcome, tested, plots.rows(workdir))
    results.write_result(result, workdir, results_dir)
    report.draw_run(workdir)
    return result


def train(bench: Bench, sources: Sources, workdir: pathlib.Path) -> loop.Outcome:
    """Learn from the stream, and ask about unseen images on the way."""
    start = functools.partial(protocol.start, bench)
    ahead = bench_lib.compile_ahead(bench, start, sources.pools, workdir)
    pools = parallel.replicate(bench.mesh, sources.pools)
    return loop.train(
        bench_lib.plan(bench.run),
        start(),
        protocol.make_step(bench, pools, ahead),
        protocol.make_validate(bench, sources),
        workdir=workdir,
        identity={"config": dataclasses.asdict(bench.run)},
    )


def run_name(bench: Bench) -> str:
    """A name that tells runs apart."""
    run, sg = bench.run, bench.settings.sg
    parts = [
        "rare", run.data.source, run.method, run.preset, f"sg-{sg.use}",
        *([] if sg.control == "none" else [sg.control]), f"seed{run.seed}",
    ]  # fmt: skip
    return "-".join(parts)


def make_result(
    bench: Bench, outcome: loop.Outcome, tested: dict[str, np.ndarray], rows: list[dict]
) -> dict:
    """Accuracy on each kind at the end, among all classes, and `measures` of the way.

    The interval is over images; each is asked of the same state.
    """
    run, period = bench.run, bench.run.data.period
    return results.make_result(
        run, bench.settings, outcome,
        experiment="rare_classes",
        columns=bench.method.columns,
        task=task_of(run),
        evaluation={"kind": "images", **dataclasses.asdict(run.validate)},
        measures={
            f"{kind} {protocol.SCORE}": results.measure(right)
            for kind, right in tested.items()
        },
        images_per_step=run.train.batch,
        first_step_seconds=outcome.first_step,
        extra={
            "curves": measures.curves(rows, period),
            "gradients": measures.gradients(rows, period, run.train.log_every),
        },
    )  # fmt: skip


def task_of(run: records.Run) -> dict:
    """What was asked, for the result: data, classes and how often which come."""
    return {
        "data": run.data.source, "classes": records.CLASSES,
        "frequent": list(run.data.frequent), "period": run.data.period,
        "held_out": run.data.held_out, "window": run.train.batch,
    }  # fmt: skip


if __name__ == "__main__":
    launch.run(main, records.Run, default="rare_classes")
