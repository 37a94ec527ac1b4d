"""A run with everything that is made of it before data are read, for any benchmark."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from experiments.common import compiling, loop, training
from experiments.common.compiling import Ahead
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


def compile_ahead(
    bench: Bench, state: Callable[[], RunState], source: Any, workdir: pathlib.Path
) -> Ahead | None:
    """Begin to compile the step while data and state are made ready.

    None where nothing is left to train, and with several processes, whose programs are
    compiled in one order.

    Args:
      state: makes the state before the first step; only its shapes are asked for.
      source: the task's data, or their shapes.
      workdir: of the run.
    """
    if jax.process_count() > 1 or not loop.left(plan(bench.run), workdir):
        return None
    return compiling.compile_ahead(_compiler(bench), jax.eval_shape(state), source)


def make_step(bench: Bench, source: Any, ahead: Ahead | None = None) -> loop.Step:
    """`(state) -> (state, metrics)`, compiled when it is first called or before.

    Args:
      source: the task's data, on every device.
      ahead: as `compile_ahead` returns it.
    """
    return compiling.once_compiled(_compiler(bench), source, ahead)


def _compiler(bench: Bench) -> compiling.CompileFor:
    each = loop.steps_per_call(plan(bench.run), jax.default_backend())
    return functools.partial(
        training.compile_step, bench.method, bench.task,
        mesh=bench.mesh, steps_per_call=each,
    )  # fmt: skip
