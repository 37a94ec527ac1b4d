"""What a run of far recall learns from and how it is measured; no files are written.

Every window is new and is answered before it is learned from, so the answers of the
last windows of training are the test.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.common import bench as bench_lib
from experiments.common import loop, plots, results, training
from experiments.common.bench import Bench
from experiments.common.training import RunState
from experiments.far_recall import probing, records
from experiments.far_recall.probing import Agreement
from nmn_jax.methods import nmn_stream, table
from nmn_jax.tasks import recall
from nmn_jax.tasks.recall import FarRecall

# A number per slot and window is more than anyone looks at.
DROPPED = ("memory/write_share",)


def kind_of(run: records.Run) -> FarRecall:
    """The stream of a run."""
    data = run.data
    return FarRecall(
        data.streams, data.window, data.nearest, data.farthest, data.key_width,
        data.values, data.ahead,
    )  # fmt: skip


def prepare(run: records.Run, mesh: Mesh) -> Bench:
    """The task and the method; everything is checked.

    Raises:
      ValueError: for a setting without effect, or a plan or stream that cannot be.
    """
    entry = table.entry(run.method, form="stream")
    settings = records.resolve(run, entry.uses)
    loop.check_plan(bench_lib.plan(run))
    task = recall.far_recall(kind_of(run))
    method = entry.make(settings, task, steps=run.train.steps)
    answering = training.make_answering(method, task, mesh)
    return Bench(run, settings, task, method, mesh, answering)


def start(bench: Bench) -> RunState:
    """The state before the first step, on every device; no state is selected."""
    return bench_lib.start(bench, selects=False)


def make_step(bench: Bench) -> loop.Step:
    """`(state) -> (state, metrics)`, without the metrics that nobody looks at."""
    step = bench_lib.make_step(bench, ())

    def kept(state: RunState) -> tuple[RunState, dict[str, jax.Array]]:
        state, metrics = step(state)
        told = {name: value for name, value in metrics.items() if name not in DROPPED}
        asked, right = (
            sum(
                (value for name, value in told.items() if name.startswith(part)),
                start=jnp.zeros(()),
            )
            for part in ("asked/", "right/")
        )
        return state, {**told, "accuracy": right / jnp.maximum(asked, 1e-9)}

    return kept


def make_validate(bench: Bench) -> loop.Validate:
    """`(state) -> (state, scalars)`: sums of `probing.Agreement` as
    `probe/<sum>/<windows until use>`."""
    design = nmn_stream.make_design(bench.settings, bench.task)
    probe = probing.make_probe(design, kind_of(bench.run))

    def validate(state: RunState) -> tuple[RunState, dict[str, float]]:
        found: Agreement = jax.device_get(probe(state.method, state.key))
        return state, {
            f"probe/{name}/{at:02d}": float(value)
            for name, values in found._asdict().items()
            for at, value in enumerate(values)
        }

    return validate


def counts(run: records.Run, rows: plots.Rows) -> dict[str, list[int]]:
    """How often each gap of 1 … G windows was asked for in the tested windows, and how
    often the answer was right."""
    first = run.train.steps - run.train.tested
    steps = run.data.streams * run.data.window * run.train.log_every
    found: dict[str, list[int]] = {}
    for part in ("asked", "right"):
        found[part] = []
        for gap in range(1, run.data.farthest + 1):
            at, shares = plots.series(rows, f"{part}/{gap:02d}")
            found[part].append(round(float(shares[at > first].sum()) * steps))
    return found


def measures(run: records.Run, rows: plots.Rows) -> dict[str, Any]:
    """Accuracy over all gaps, and at a gap of 5 windows where that is asked for."""
    told = counts(run, rows)

    def measured(gaps: slice) -> dict[str, Any]:
        asked, right = (sum(told[part][gaps]) for part in ("asked", "right"))
        return results.measure([1.0] * right + [0.0] * (asked - right))

    found = {"accuracy": measured(slice(None))}
    if run.data.nearest <= 5 <= run.data.farthest:
        found["accuracy at gap 5"] = measured(slice(4, 5))
    return found


def curves(run: records.Run, rows: plots.Rows) -> dict[str, Any]:
    """For `extra`: counts by gap, accuracy along training, and what the probe found."""
    at, accuracy = plots.series(rows, "accuracy")
    probed: dict[str, list] = {"steps": []}
    known = {key for row in rows for key in row}
    for name in Agreement._fields:
        count = sum(key.startswith(f"probe/{name}/") for key in known)
        each = [plots.series(rows, f"probe/{name}/{at:02d}") for at in range(count)]
        probed["steps"] = [int(step) for step in each[0][0]]
        values = np.stack([found for _, found in each], axis=1)
        probed[name] = [[float(f"{one:.3g}") for one in row] for row in values]
    return {
        "gaps": counts(run, rows),
        "accuracy": {
            "steps": [int(step) for step in at],
            "values": [round(float(each), 4) for each in accuracy],
        },
        "probe": probed,
    }


def train(bench: Bench, workdir: Any, identity: dict[str, Any]) -> loop.Outcome:
    """Learn from the stream, and probe on the way."""
    return loop.train(
        bench_lib.plan(bench.run), start(bench), make_step(bench),
        make_validate(bench), workdir=workdir, identity=identity,
    )  # fmt: skip
