"""Classes seen once in 500 steps of a stream (section 5.1, Figs. 6 and 7).

    python -m experiments.rare_classes --config=mnist --workdir=runs/rare
    python -m experiments.rare_classes --config=digits      # no files needed

Five classes stream in windows of 10; every 500th window holds only the other five.
Memory and controllers go on along the stream. What is tested are unseen images of the
rare classes, against all ten. Resumes like every run, to the bit.
"""

from __future__ import annotations

from experiments import launch, runtime

if __name__ == "__main__":
    runtime.prepare()

import dataclasses
import pathlib
import sys
from typing import Any

from experiments import (
    fewshot,
    loop,
    plots,
    rare_measures,
    rare_stream,
    report,
    results,
)
from experiments import rare_settings as settings_lib


def main(run: settings_lib.Run, workdir: pathlib.Path | None, results_dir: str) -> dict:
    """One run from data to pictures; returns the result that was written."""
    workdir = workdir or pathlib.Path("runs") / run_name(run)
    settings = settings_lib.resolve(run)
    results.claim(workdir, run, settings)
    sources = rare_stream.load(run.data, run.eval.part)
    functions = rare_stream.make_functions(run)
    print(f"{run_name(run)}: {run.train.steps} iterations; files in {workdir}",
          file=sys.stderr)  # fmt: skip
    outcome = train(run, functions, sources, workdir)
    tested = {
        kind: rare_stream.score(
            functions, outcome.state.learner, getattr(sources, kind), run.eval.images
        )
        for kind in ("rare", "frequent")
    }
    result = make_result(run, outcome, tested, plots.rows(workdir))
    results.write_result(result, workdir, results_dir)
    report.draw_run(workdir)
    return result


def train(
    run: settings_lib.Run,
    functions: rare_stream.Functions,
    sources: rare_stream.Sources,
    workdir: pathlib.Path,
) -> loop.Outcome:
    """Learn from the stream, and ask about unseen images on the way."""
    asked = {
        kind: rare_stream.some(getattr(sources, kind), run.eval.images)
        for kind in ("rare", "frequent")
    }

    def validate(state: Any) -> tuple[Any, dict[str, float]]:
        return state, {
            f"{kind}/accuracy": rare_stream.score(
                functions, state.learner, each, run.eval.images
            ).accuracy
            for kind, each in asked.items()
        }

    plan = loop.Plan(*(getattr(run.train, name) for name in loop.Plan._fields))
    return loop.train(
        plan,
        functions.init(),
        lambda state: functions.step(state, sources.pools),
        validate,
        workdir=workdir,
        identity={"config": dataclasses.asdict(run)},
    )


def run_name(run: settings_lib.Run) -> str:
    """A name that tells runs apart."""
    parts = [
        "rare", run.data.source, run.method, run.preset, f"sg-{run.sg}",
        *([] if run.control == "none" else [run.control]), f"seed{run.seed}",
    ]  # fmt: skip
    return "-".join(parts)


def make_result(
    run: settings_lib.Run,
    outcome: loop.Outcome,
    tested: dict[str, fewshot.Score],
    rows: list[dict],
) -> dict[str, Any]:
    """`accuracy` is on rare classes at the end, among all ten; see `rare_measures`."""
    settings = settings_lib.resolve(run)
    return {
        "experiment": "rare_classes",
        "method": run.method,
        "ways": settings_lib.CLASSES,
        "shots": 0,
        "data": run.data.source,
        "split": run.eval.part,
        "accuracy": tested["rare"].accuracy,
        "ci95": tested["rare"].ci95,
        "episodes": tested["rare"].episodes,
        "frequent_accuracy": tested["frequent"].accuracy,
        "train_steps": outcome.step,
        "train_images": outcome.step * run.train.batch,
        "curves": rare_measures.curves(rows, run.data.period),
        "gradients": rare_measures.gradients(rows, run.data.period),
        **results.provenance(run, settings, outcome),
    }


if __name__ == "__main__":
    launch.run(main, settings_lib.Run, default="rare_classes")
