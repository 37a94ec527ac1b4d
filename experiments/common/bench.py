"""A run with everything that is made of it before data are read, for any benchmark."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from experiments.common import loop, training
from experiments.common.training import Answering, RunState
from nmn_jax.methods.base import Method
from nmn_jax.run import parallel
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Task


class Bench(NamedTuple):
    """What a benchmark works with.

    run: the benchmark's own record
    answering: answers and scores of one chunk, see `training.make_answering`
    """

    run: Any
    settings: Settings
    task: Task
    method: Method
    mesh: Mesh
    answering: Answering


def plan(run: Any) -> loop.Plan:
    """How long to train, and how often what; `run.train` says."""
    return loop.Plan(*(getattr(run.train, name) for name in loop.Plan._fields))


def start(bench: Bench, *, selects: bool) -> RunState:
    """The state before the first step, on every device; see `training.start_state`."""
    state = training.start_state(bench.method, bench.run.seed, selects=selects)
    return parallel.replicate(bench.mesh, state)


def make_step(bench: Bench, source: Any) -> loop.Step:
    """`(state) -> (state, metrics)`, compiled when it is first called.

    Args:
      source: the task's data, on every device.
    """
    each = loop.steps_per_call(plan(bench.run), jax.default_backend())

    def compiled(state: RunState) -> jax.stages.Compiled:
        return training.compile_step(
            bench.method, bench.task, state, source,
            mesh=bench.mesh, steps_per_call=each,
        )  # fmt: skip

    return training.once_compiled(compiled, source)
