"""A finished run as values: its config, its task, its method and what it learned.

    from experiments import opened

    run = opened.open_run("runs/mine")
    answer = run.method.predict(run.state, context, queries)

The benchmark is found by the name that the run's result bears; none is known here.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from experiments import report
from nmn_jax.methods.base import Method
from nmn_jax.run import checkpoint, parallel
from nmn_jax.settings import reader
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Task

NEEDED = ("config.json", "result.json", "checkpoints")


class Opened(NamedTuple):
    """What a folder of a finished run holds.

    run: the config record of the run
    settings: what it resolves to
    task, method: what was asked, and who answers
    state: what `method.predict` needs: the best state where the run selects one, else
      the last
    step: training steps of the checkpoint it was found in
    """

    run: Any
    settings: Settings
    task: Task
    method: Method
    state: Any
    step: int


def open_run(folder: str | os.PathLike) -> Opened:
    """Open the folder of a finished run, on one device; nothing in it changes.

    Raises:
      ValueError: if the folder holds no finished run of a benchmark; says what is
        missing.
      fingerprint.DamagedError: if no checkpoint is sound.
    """
    folder = pathlib.Path(folder)
    missing = [name for name in NEEDED if not (folder / name).exists()]
    if missing:
        raise ValueError(
            f"{folder} is no folder of a finished run: {', '.join(missing)} missing; "
            "give the --workdir of a run that wrote its result"
        )
    name = _read(folder / "result.json")["experiment"]
    known = report.benchmarks("protocol")
    if name not in known:
        raise ValueError(
            f"{folder} is a run of {name!r}; known are {', '.join(sorted(known))}"
        )
    record = report.benchmarks("records")[name].Run
    run = reader.from_mapping(record, _read(folder / "config.json")["run"])
    mesh = Mesh(np.array(jax.local_devices()[:1]), (parallel.AXIS,))
    bench = known[name].prepare(run, mesh)
    with checkpoint.Checkpoints(folder / "checkpoints") as saved:
        restored = saved.restore_latest(known[name].start(bench))
    if restored is None:
        raise ValueError(f"{folder}: no checkpoint is left; run its command again")
    trained, best = restored.state.method, restored.state.best
    state = best.state if best else bench.method.slim(trained)
    return Opened(run, bench.settings, bench.task, bench.method, state, restored.step)


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
