"""What a rare-class run learns from, and what it is asked; no files are written.

A stream has one order, so every device follows all of it with the same state; unseen
images are asked independently of each other and are shared out among the devices.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.common import bench as bench_lib
from experiments.common import loop, training
from experiments.common.bench import Bench
from experiments.common.compiling import Ahead
from experiments.common.training import RunState
from experiments.rare_classes import records
from experiments.rare_classes import sources as sources_lib
from experiments.rare_classes.sources import Asked, Sources
from nmn_jax.methods import table
from nmn_jax.methods.base import Method
from nmn_jax.run import parallel
from nmn_jax.tasks import streams
from nmn_jax.tasks.base import StreamBatch, Task
from nmn_jax.tasks.streams import Pools

SCORE = "accuracy"
# A number per slot and window is more than anyone looks at.
DROPPED = ("memory/write_share",)


def prepare(run: records.Run, mesh: Mesh) -> Bench:
    """The task, the method and its answers; everything that needs no data is checked.

    Raises:
      ValueError: for an unknown method, a setting without effect, or a plan or windows
        that cannot be.
    """
    entry = table.entry(run.method, form="stream")
    settings = records.resolve(run, entry.uses)
    loop.check_plan(bench_lib.plan(run))
    task = streams.rare_classes(
        classes=records.CLASSES, period=run.data.period, batch=run.train.batch
    )
    method = entry.make(settings, task, steps=run.train.steps)
    _check_window(method, task, run.train.batch)
    answering = training.make_answering(method, task, mesh)
    return Bench(run, settings, task, method, mesh, answering)


def _check_window(method: Method, task: Task, batch: int) -> None:
    """Raises what the method raises for windows that cannot teach it.

    Only one example can be too few; to trace every step just for that takes seconds.
    """
    if batch > 1:
        return
    inputs = jnp.zeros((batch, *task.spec.input_shape))
    window = StreamBatch(inputs, jnp.zeros((batch, task.spec.targets)))
    state = jax.eval_shape(method.init, jax.random.key(0))
    jax.eval_shape(method.step, state, window)


def start(bench: Bench) -> RunState:
    """The state before the first step, on every device; no state is selected."""
    return bench_lib.start(bench, selects=False)


def make_step(bench: Bench, pools: Pools, ahead: Ahead | None = None) -> loop.Step:
    """`(state) -> (state, metrics)`, without the metrics that nobody looks at."""
    step = bench_lib.make_step(bench, pools, ahead)

    def kept(state: RunState) -> tuple[RunState, dict[str, jax.Array]]:
        state, metrics = step(state)
        told = {name: value for name, value in metrics.items() if name not in DROPPED}
        return state, told

    return kept


def make_validate(bench: Bench, sources: Sources) -> loop.Validate:
    """`(state) -> (state, scalars)`: accuracy on some unseen images of each kind."""
    count = bench.run.validate.images
    asked = {
        kind: sources_lib.some(getattr(sources, kind), count)
        for kind in sources_lib.KINDS
    }

    def validate(state: RunState) -> tuple[RunState, dict[str, float]]:
        slim = bench.method.slim(state.method)
        return state, {
            f"{kind}/{SCORE}": float(scored(bench, slim, each).mean())
            for kind, each in asked.items()
        }

    return validate


def scored(bench: Bench, state: Any, asked: Asked) -> np.ndarray:
    """Whether each unseen image `[N]` is named rightly among all classes.

    Every image is asked of the same state, as `Method.slim` leaves it.
    """
    size = parallel.pad_to_devices(bench.mesh, bench.run.validate.images)
    one_hot = np.eye(records.CLASSES, dtype=np.float32)

    def score(numbers: np.ndarray) -> dict[str, jax.Array]:
        images = asked.images[numbers].astype(np.float32) / 255
        inputs, answers = parallel.spread(
            bench.mesh, (images, one_hot[asked.labels[numbers]])
        )
        return bench.answering(state, (inputs,), answers)[1]

    return training.evaluate(score, count=len(asked.labels), size=size)[SCORE]


def test(bench: Bench, state: RunState, sources: Sources) -> dict[str, np.ndarray]:
    """The same for all unseen images of each kind, at the end of the stream."""
    slim = bench.method.slim(state.method)
    return {
        kind: scored(bench, slim, getattr(sources, kind)) for kind in sources_lib.KINDS
    }
