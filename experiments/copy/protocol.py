"""What a run of copying learns from, and how its sequences grow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import bench as bench_lib
from experiments.common import loop, plots, results, training
from experiments.common.bench import Bench
from experiments.copy import records
from nmn_jax.methods import parts, table
from nmn_jax.run import parallel
from nmn_jax.tasks import copying
from nmn_jax.tasks.base import StreamBatch
from nmn_jax.tasks.copying import Copying, Place


class CopyState(NamedTuple):
    """All that a checkpoint holds.

    place: where the sequences stand
    bits, counts: of the sequences so far, summed over their windows
    solved: steps of the longest sequences that were said with fewer bits than the
      threshold, R times N
    """

    method: Any
    key: jax.Array
    place: Place
    bits: jax.Array
    counts: jax.Array
    solved: jax.Array

    @property
    def step(self) -> jax.Array:
        """Windows learned from."""
        return self.method.step


def kind_of(run: records.Run, control: str) -> Copying:
    """The sequences of a run; the oracle looks to the end of the longest."""
    data = run.data
    window = data.window or data.longest
    beyond = -(-data.longest // window) if control == "oracle" else 0
    return Copying(data.streams, window, data.bits, beyond)


def prepare(run: records.Run, mesh: Any) -> Bench:
    """The task and the method; everything is checked.

    Raises:
      ValueError: for a setting without effect, or a plan that cannot be.
    """
    entry = table.entry(run.method, form="stream")
    settings = records.resolve(run, entry.uses)
    loop.check_plan(bench_lib.plan(run))
    task = copying.copying(kind_of(run, settings.stream.control))
    method = entry.make(settings, task, steps=run.train.steps)
    answering = training.make_answering(method, task, mesh)
    return Bench(run, settings, task, method, mesh, answering)


def start(bench: Bench) -> CopyState:
    """Sequences of one vector, said once, before the first step; on every device."""
    key, init_key = jax.random.split(jax.random.key(bench.run.seed))
    zero, one = jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32)
    place = Place(zero, zero, one, one)
    empty = jnp.zeros(())
    # The first window starts a sequence like every other first window.
    method = bench.method.init(init_key)
    method = method._replace(starts=jnp.ones_like(method.starts))
    state = CopyState(method, key, place, empty, empty, zero)
    return parallel.replicate(bench.mesh, parts.own_buffers(state))


def one_step(bench: Bench) -> Callable[[CopyState, None], tuple[CopyState, dict]]:
    """One window of all sequences, and longer ones after those that were solved."""
    data = bench.run.data

    def step(state: CopyState, _: None) -> tuple[CopyState, dict[str, jax.Array]]:
        place = state.place
        batch: StreamBatch = bench.task.sample(state.key, state.step, place)
        method, metrics = bench.method.step(state.method, batch)
        bits, counts = state.bits + metrics["bits"], state.counts + metrics["counts"]
        ended = batch.ends[0] if batch.ends is not None else jnp.asarray(False)
        below = ended & (bits < data.threshold * counts)
        said = place.length * place.repeats
        after = copying.moved(
            place, ended, below & _room(place, data), repeat=data.task == "repeat_copy"
        )
        solved = jnp.where(below, jnp.maximum(state.solved, said), state.solved)
        state = CopyState(
            method, state.key, after, jnp.where(ended, 0.0, bits),
            jnp.where(ended, 0.0, counts), solved,
        )  # fmt: skip
        told = {"loss": metrics["loss"], "length": said.astype(float)}
        future = {n: v for n, v in metrics.items() if n.startswith("future/")}
        return state, {**told, "solved": solved.astype(float), **future}

    return step


def _room(place: Place, data: records.Data) -> jax.Array:
    """Whether sequences one longer, either way, have at most the steps allowed."""
    longer = place._replace(length=place.length + 1)
    oftener = place._replace(repeats=place.repeats + 1)
    steps = copying.steps(longer)
    if data.task == "repeat_copy":
        steps = jnp.maximum(steps, copying.steps(oftener))
    return steps <= data.longest


def make_step(bench: Bench) -> loop.Step:
    """`(state) -> (state, metrics)`, compiled at its first call."""
    each = bench.run.train.steps_per_call
    one = one_step(bench)

    @jax.jit
    def step(state: CopyState) -> tuple[CopyState, dict[str, jax.Array]]:
        state, metrics = jax.lax.scan(one, state, length=each)
        return state, jax.tree.map(lambda values: values[-1], metrics)

    return step


def make_validate(bench: Bench) -> loop.Validate:
    """`(state) -> (state, scalars)`: nothing is asked that training does not ask."""
    del bench

    def validate(state: CopyState) -> tuple[CopyState, dict[str, float]]:
        return state, {"validation/solved": float(state.solved)}

    return validate


def measures(outcome: loop.Outcome) -> dict[str, Any]:
    """The longest sequences that were solved, in steps that are said."""
    return {"length": results.measure([float(outcome.state.solved)], "steps")}


def curve(rows: plots.Rows) -> dict[str, list]:
    """Length solved along training, for `extra`."""
    steps, solved = plots.series(rows, "solved")
    changed = np.flatnonzero(np.diff(solved, prepend=-1))
    return {
        "steps": [int(steps[at]) for at in changed],
        "solved": [int(solved[at]) for at in changed],
    }
