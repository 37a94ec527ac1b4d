"""Copy and repeat copy: how long a sequence is learned with windows of a few steps.

    python -m experiments.copy --config=copy --config.data.window=3
    python -m experiments.copy --config=copy --config.stream.target=bootstrap

Sequences grow by one when they were said with fewer than 0.15 bits a bit; what was
reached at the end is the result. Resumes like every run, to the bit.
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
from experiments.copy import probing, protocol, records
from nmn_jax.run import parallel


def main(run: records.Run, workdir: pathlib.Path | None, results_dir: str) -> dict:
    """One run from the first sequence to pictures; returns the result.

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
        print(f"{run_name(bench)}: {run.train.steps} windows; files in {workdir}",
              file=sys.stderr)  # fmt: skip
    outcome = loop.train(
        bench_lib.plan(run), protocol.start(bench), protocol.make_step(bench),
        protocol.make_validate(bench), workdir=workdir,
        identity={"config": dataclasses.asdict(run)},
    )  # fmt: skip
    if not parallel.is_main_process():
        return {}
    result = make_result(bench, outcome, plots.rows(workdir))
    results.write_result(result, workdir, results_dir)
    report.draw_run(workdir)
    return result


def run_name(bench: Bench) -> str:
    """A name that tells runs apart."""
    run, stream = bench.run, bench.settings.stream
    parts = [run.data.task, run.method]
    parts += [f"window{run.data.window}", stream.target]
    parts += [stream.predictor] if stream.target == "bootstrap" else []
    parts += [f"trace{stream.trace:g}"] if stream.trace else []
    parts += ["auxiliary"] if stream.auxiliary else []
    parts += [] if stream.control == "none" else [stream.control]
    return "-".join([*parts, f"seed{run.seed}"])


def make_result(bench: Bench, outcome: loop.Outcome, rows: plots.Rows) -> dict:
    """The longest sequences that were solved."""
    run = bench.run
    kind = protocol.kind_of(run, bench.settings.stream.control)
    columns = dict(bench.method.columns)
    if not run.data.window:
        columns["beyond the window"] = "nothing: whole sequences"
    return results.make_result(
        run, bench.settings, outcome,
        experiment="copy",
        columns=columns,
        task=dataclasses.asdict(run.data),
        evaluation={"kind": "sequences of training"},
        measures={**protocol.measures(outcome), **probing.measures(bench, outcome)},
        images_per_step=kind.streams * kind.window,
        first_step_seconds=outcome.first_step,
        extra={"curve": protocol.curve(rows)},
    )  # fmt: skip


if __name__ == "__main__":
    launch.run(main, records.Run, default="copy")
