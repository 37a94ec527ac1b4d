"""Few-shot classification of handwritten characters: train, validate, test, draw.

    python -m experiments.omniglot --config=5way1shot --workdir=runs/mine

Reads downwards: config -> data -> model -> train -> test -> files. The same command
resumes an interrupted run and ends bit-identical to one that was never interrupted.
"""

from __future__ import annotations

from experiments import launch, runtime

if __name__ == "__main__":
    runtime.prepare()

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from experiments import fewshot, loop, report, results, sources
from experiments import settings as settings_lib
from nmn_jax.run import parallel


def main(run: settings_lib.Run, workdir: pathlib.Path | None, results_dir: str) -> dict:
    """One run from data to pictures; returns the result that was written.

    Args:
      run: the config.
      workdir: where everything of the run goes; None is a folder named after the run.
      results_dir: where a copy of the result is put, "" for nowhere.
    """
    workdir = workdir or pathlib.Path("runs") / results.run_name(run)
    results.claim(workdir, run, settings_lib.resolve(run))
    mesh = parallel.make_mesh()
    partition, split = sources.load(run.data)
    functions = fewshot.make_functions(run, mesh)
    results.announce(run, workdir, split, functions.parameters)

    outcome = train(run, functions, partition, mesh, workdir)
    best = outcome.state.best.learner
    test_images = parallel.replicate(mesh, partition.test)
    tested = test(run, functions, best, test_images)
    evidence = fewshot.evidence(functions, best, test_images, seed=run.eval.seed)

    if not parallel.is_main_process():
        return {}
    np.savez_compressed(workdir / "evidence.npz", **evidence)  # type: ignore[arg-type]
    result = results.make_result(run, split, outcome, tested)
    results.write_result(result, workdir, results_dir)
    report.draw_run(workdir)
    return result


def train(
    run: settings_lib.Run,
    functions: fewshot.Functions,
    partition: Any,
    mesh: jax.sharding.Mesh,
    workdir: pathlib.Path,
) -> loop.Outcome:
    """Train on training characters, keep what is best on validation characters."""
    training = parallel.replicate(mesh, partition.train)
    held_out = parallel.replicate(mesh, partition.validation)

    def validate(state: fewshot.RunState) -> tuple[fewshot.RunState, dict[str, float]]:
        found = fewshot.evaluate(
            functions, fewshot.without_optimizers(state.learner), held_out,
            seed=run.eval.seed + 1, count=run.eval.validation_episodes,
            batch=run.eval.batch,
        )  # fmt: skip
        scalars = {
            "validation/accuracy": found.accuracy,
            "validation/ci95": found.ci95,
        }
        return fewshot.keep_best(state, found.accuracy), scalars

    plan = loop.Plan(*(getattr(run.train, name) for name in loop.Plan._fields))
    return loop.train(
        plan,
        parallel.replicate(mesh, functions.init()),
        lambda state: functions.step(state, training),
        validate,
        workdir=workdir,
        identity={"config": dataclasses.asdict(run)},
    )


def test(
    run: settings_lib.Run,
    functions: fewshot.Functions,
    state: Any,
    images: jax.Array,
) -> dict[str, fewshot.Score]:
    """Accuracy on test characters by the number of adaptation steps; "0" always."""
    if run.eval.kind == "lake":
        return {"0": fewshot.evaluate_lake(functions, state, run.ways)}
    if run.eval.kind != "episodes":
        raise ValueError(
            f"eval.kind={run.eval.kind!r}; choose one of 'episodes', 'lake'"
        )
    plain = fewshot.evaluate(
        functions, state, images,
        seed=run.eval.seed, count=run.eval.episodes, batch=run.eval.batch,
    )  # fmt: skip
    scores = {"0": plain}
    if set(run.eval.adapt_steps) - {0}:
        scores |= fewshot.evaluate_adapted(run, state, images)
    return scores


if __name__ == "__main__":
    launch.run(main, settings_lib.Run, default="omniglot")
