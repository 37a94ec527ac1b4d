"""Few-shot classification of handwritten characters: train, validate, test, draw.

    python -m experiments.omniglot --config=5way1shot --workdir=runs/mine

Reads downwards: config -> method -> data -> train -> test -> files. The same command
resumes an interrupted run and ends bit-identical to one that was never interrupted.
With other `--config.eval.*` it tests the same trained state once more.
"""

from __future__ import annotations

from experiments.common import launch, runtime

if __name__ == "__main__":
    runtime.prepare()

import dataclasses
import functools
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from experiments import report
from experiments.common import bench as bench_lib
from experiments.common import identity, loop, provenance, results, training
from experiments.common.bench import Bench
from experiments.common.compiling import Ahead
from experiments.omniglot import protocol, records, sources
from experiments.omniglot.protocol import Pools
from nmn_jax.data import lake
from nmn_jax.run import parallel, place

EXPERIMENT = "omniglot"


def main(run: records.Run, workdir: pathlib.Path | None, results_dir: str) -> dict:
    """One run from data to pictures; returns the result that was written.

    Args:
      run: the config.
      workdir: where everything of the run goes; None is a folder named after the run.
      results_dir: where a copy of the result is put, "" for nowhere.

    Raises:
      ValueError: before the first step, for anything about the config, the data or the
        folders that would end the run later.
      FileNotFoundError: if data are missing; says what to do.
    """
    mesh = parallel.make_mesh()
    bench = protocol.prepare(run, mesh)
    workdir = workdir or pathlib.Path("runs") / run_name(bench)
    if results_dir:
        place.claim_folder(results_dir, "--results")
    official = lake.load() if run.eval.kind == "lake" else None
    ahead = begin(bench, sources.expected(run.data), workdir)
    partition = sources.load(run.data)
    sources.check(run, partition)
    suffix = identity.claim(workdir, run, bench.settings)

    ahead = ahead or begin(bench, partition.train, workdir)
    pools = protocol.place(bench, partition)
    outcome = train(bench, pools, workdir, ahead)
    seen = protocol.exams(bench, pools.test, run.eval)
    asked = {"lake": protocol.lake_exam(bench, official)} if official else seen
    best = outcome.state.best.state
    tested = protocol.test_kinds(bench, best, asked)
    evidence = protocol.evidence(bench, best, next(iter(seen.values())))

    if not parallel.is_main_process():
        return {}
    result = make_result(bench, outcome, tested)
    results.write_result(result, workdir, results_dir, suffix=suffix)
    if not suffix:
        np.savez_compressed(workdir / "evidence.npz", **evidence)  # type: ignore[arg-type]
        report.draw_run(workdir)
    return result


def begin(bench: Bench, images: Any, workdir: pathlib.Path) -> Ahead | None:
    """Begin to compile for training images of this shape, once it is known."""
    if images is None:
        return None
    start = functools.partial(protocol.start, bench)
    return bench_lib.compile_ahead(bench, start, images, workdir)


def train(
    bench: Bench, pools: Pools, workdir: pathlib.Path, ahead: Ahead | None = None
) -> loop.Outcome:
    """Train on training characters, keep what is best on validation characters."""
    state = protocol.start(bench)
    announce(bench, workdir, training.parameters(state))
    return loop.train(
        bench_lib.plan(bench.run),
        state,
        bench_lib.make_step(bench, pools.train, ahead),
        protocol.make_validate(bench, pools.validation),
        workdir=workdir,
        identity={"config": dataclasses.asdict(bench.run)},
    )


def run_name(bench: Bench) -> str:
    """A name that tells runs apart: data, ways, shots, method, preset, sg, seed."""
    run, settings = bench.run, bench.settings
    label = run.model.get("label_input")
    parts = [
        run.data.source, "-".join(run.mixture) or f"{run.ways}way{run.shots}shot",
        run.method, run.preset,
        f"sg-{settings.sg.use}",
        *([] if settings.sg.control == "none" else [settings.sg.control]),
        *([f"label-{label}"] if label else []), f"seed{run.seed}",
    ]  # fmt: skip
    return "-".join(parts)


def announce(bench: Bench, workdir: pathlib.Path, parameters: int) -> None:
    """One line on the terminal that says what is about to happen."""
    run = bench.run
    if parallel.is_main_process():
        print(
            f"{run_name(bench)}: split {records.split_name(run.data)}, norm "
            f"{bench.settings.model.norm}, {parameters:,} parameters, "
            f"{run.train.steps} steps of {run.train.episodes} episodes on "
            f"{jax.device_count()} {provenance.device_name()}; files in {workdir}",
            file=sys.stderr,
        )


def make_result(
    bench: Bench, outcome: loop.Outcome, tested: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    """The result: accuracy as it stands, and after gradient steps at test time.

    Args:
      tested: as `protocol.test` returns it.
    """
    run, score = bench.run, protocol.SCORE
    names = {steps: score + (f" after {steps} steps" if steps else "")
             for steps in tested}  # fmt: skip
    return results.make_result(
        run, bench.settings, outcome,
        experiment=EXPERIMENT,
        columns=bench.method.columns,
        task={
            "data": run.data.source, "split": records.split_name(run.data),
            "ways": run.ways, "shots": run.shots,
            **{name: ", ".join(kinds) for name, kinds in
               (("mixture", run.mixture), ("practice", run.practice)) if kinds},
        },
        evaluation=evaluation(bench),
        measures={
            **{names[at]: results.measure(each[score]) for at, each in tested.items()},
            **{name: results.measure(each) for name, each in tested[0].items()
               if name.startswith(f"{score} ")},
        },
        images_per_step=images_per_step(run),
        first_step_seconds=outcome.first_step,
        extra={"validation_accuracy": float(outcome.state.best.score)},
    )  # fmt: skip


def images_per_step(run: records.Run) -> int:
    """Of one training step, the mean over kinds rounded down."""
    each = [
        ways * (shots + run.train.queries) for ways, shots in records.practised(run)
    ]
    return sum(each) * run.train.episodes // len(each)


def evaluation(bench: Bench) -> dict[str, Any]:
    """What the measures of a result are of; tables keep different ones apart."""
    part = bench.run.eval
    found: dict[str, Any] = {"kind": part.kind}
    kinds = records.kinds(bench.run)
    asked = [records.queries_asked(part, ways) for ways, _ in kinds]
    if part.kind == "episodes":
        found |= {
            "episodes": part.episodes, "seed": part.seed,
            "queries": asked[0] if len(set(asked)) == 1 else ", ".join(map(str, asked)),
        }  # fmt: skip
    if part.views > 1:
        found |= {"views": part.views, "spread": part.spread}
    if any(part.adapt_steps):
        found["adapt"] = dataclasses.asdict(bench.settings.adapt)
    return found


if __name__ == "__main__":
    launch.run(main, records.Run, default="omniglot")
