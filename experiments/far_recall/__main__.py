"""Far recall: does credit reach a writer whose only teacher lies beyond the cut?

    python -m experiments.far_recall --config=state --workdir=runs/state
    python -m experiments.far_recall --config=frozen

Pairs stream in windows of 10 and are asked for 1 to 20 windows later, so truncated
back-propagation gives the write controller exactly zero. Resumes like every run, to the
bit. Variants are in `experiments/far_recall/config.py`.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import dataclasses
import pathlib
import sys

from experiments import report
from experiments.common import identity, launch, loop, plots, results
from experiments.common.bench import Bench
from experiments.far_recall import protocol, records
from nmn_jax.run import parallel


def main(run: records.Run, workdir: pathlib.Path | None, results_dir: str) -> dict:
    """One run from the stream to pictures; returns the result that was written.

    Args:
      run: the config.
      workdir: where everything of the run goes; None is a folder named after the run.
      results_dir: where a copy of the result is put, "" for nowhere.

    Raises:
      ValueError: before the first step, for anything about the config or the folders
        that would end the run later.
    """
    bench = protocol.prepare(run, parallel.make_mesh())
    workdir = identity.folders(run_name(bench), workdir, results_dir)
    identity.claim(workdir, run, bench.settings)
    if parallel.is_main_process():
        print(f"{run_name(bench)}: {run.train.steps} windows of {run.data.streams} "
              f"streams; files in {workdir}", file=sys.stderr)  # fmt: skip
    outcome = protocol.train(bench, workdir, {"config": dataclasses.asdict(run)})
    if not parallel.is_main_process():
        return {}
    result = make_result(bench, outcome, plots.rows(workdir))
    results.write_result(result, workdir, results_dir)
    report.draw_run(workdir)
    return result


def run_name(bench: Bench) -> str:
    """A name that tells runs apart."""
    stream, optim = bench.settings.stream, bench.settings.optim
    parts = ["recall", stream.target]
    parts += [f"trace{stream.trace:g}"] if stream.trace else []
    parts += [] if stream.control == "none" else [stream.control]
    parts += [f"ahead{bench.run.data.ahead}"] if bench.run.data.ahead else []
    parts += [f"frozen-{name}" for name in optim.frozen]
    return "-".join([*parts, f"seed{bench.run.seed}"])


def make_result(bench: Bench, outcome: loop.Outcome, rows: plots.Rows) -> dict:
    """Accuracy in the last windows; intervals are over questions."""
    run = bench.run
    columns = dict(bench.method.columns)
    if run.data.ahead:
        columns["beyond the window"] = f"the truth about {run.data.ahead} windows"
    return results.make_result(
        run, bench.settings, outcome,
        experiment="far_recall",
        columns=columns,
        task=dataclasses.asdict(run.data),
        evaluation={"kind": "questions", "tested": run.train.tested},
        measures=protocol.measures(run, rows),
        images_per_step=run.data.streams * run.data.window,
        first_step_seconds=outcome.first_step,
        extra=protocol.curves(run, rows),
    )  # fmt: skip


if __name__ == "__main__":
    launch.run(main, records.Run, default="far_recall")
