"""What a trajectory run trains on, adapts to and is tested on; no files are written.

Training cyclists make the batches. A trained state then takes gradient steps on a few
pedestrians, the same step as in training, and is asked about pedestrians it never saw.
All of it speaks to the method through its contract alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.common import bench as bench_lib
from experiments.common import draws, loop, training
from experiments.common.bench import Bench
from experiments.common.training import RunState
from experiments.trajectory import records
from experiments.trajectory.sources import Part, Sources
from nmn_jax import losses
from nmn_jax.methods import table
from nmn_jax.run import parallel
from nmn_jax.tasks import trajectories

# What is measured of a forecast: in scaled units, and in metres over all frames asked
# for (ADE) and at the last of them (FDE).
MEASURES = ("squared_error", "ade", "fde")
Ask = Callable[[Any, Part], dict[str, jax.Array]]
Learn = Callable[[Any, Any], tuple[Any, dict[str, jax.Array]]]


class Phase(NamedTuple):
    """What is adapted to and what is asked about."""

    support: Part
    heldout: Part


def prepare(run: records.Run, mesh: Mesh) -> Bench:
    """The task, the method and its answers; everything that needs no data is checked.

    Raises:
      ValueError: for an unknown method, a setting without effect, or a plan that cannot
        be.
    """
    entry = table.entry(run.method, form="forecast")
    settings = records.resolve(run, entry.uses)
    loop.check_plan(bench_lib.plan(run))
    if run.train.batch > run.data.train and run.data.per_track == "one":
        raise ValueError(
            f"train.batch={run.train.batch} with data.train={run.data.train}: a batch "
            "holds different tracks; take smaller batches"
        )
    single = trajectories.forecast(
        observed=run.data.observed, horizon=run.data.horizon, batch=run.train.batch,
        loss=losses.FORECAST[run.train.loss],
    )  # fmt: skip
    made = entry.make(settings, single, steps=run.train.steps)
    task, method = draws.task(single, run.draws), draws.method(made, run.draws)
    answering = training.make_answering(method, task, mesh)
    return Bench(run, settings, task, method, mesh, answering)


def start(bench: Bench) -> RunState:
    """The state before the first step, on every device; no state is selected."""
    return bench_lib.start(bench, selects=False)


def phase(run: records.Run, sources: Sources) -> Phase:
    """Pedestrians; or, to choose settings by, cyclists that were not trained on."""
    if run.eval.part == "test":
        return Phase(sources.support, sources.heldout)
    cut = run.data.support
    left = sources.validation
    return Phase(
        Part(*(each[:, :cut] for each in left)), Part(*(each[:, cut:] for each in left))
    )


def make_ask(bench: Bench) -> Ask:
    """`(slim state, tracks) -> {measure: [draws]}`, means over the tracks of a draw."""
    observed = bench.run.data.observed

    def ask(state: Any, part: Part) -> dict[str, jax.Array]:
        said = bench.method.predict(state, part.xy[:, :, :observed]).output
        return errors(said - part.xy[:, :, observed:], jnp.asarray(part.size))

    return jax.jit(ask)


def errors(missed: jax.Array, size: jax.Array) -> dict[str, jax.Array]:
    """Every measure `[draws]` of what forecasts `[draws, N, H, 2]` missed by.

    Args:
      missed: in scaled units.
      size: metres of a unit, `[draws, N, 2]`, the same along axes that are turned.
    """
    distance = jnp.linalg.norm(missed * size[:, :, None], axis=-1)
    return {
        "squared_error": jnp.mean(missed**2, axis=(1, 2, 3)),
        "ade": jnp.mean(distance, axis=(1, 2)),
        "fde": jnp.mean(distance[:, :, -1], axis=1),
    }


def make_validate(bench: Bench, validation: Part) -> loop.Validate:
    """`(state) -> (state, scalars)`: mean errors on validation cyclists."""
    ask, placed = make_ask(bench), parallel.replicate(bench.mesh, validation)

    def validate(state: RunState) -> tuple[RunState, dict[str, float]]:
        found = ask(bench.method.slim(state.method), placed)
        return state, {f"validation/{k}": float(v.mean()) for k, v in found.items()}

    return validate


def make_learn(bench: Bench) -> Learn:
    """`(state, batch) -> (state, metrics)`: one program, in training and afterwards."""
    return jax.jit(bench.method.step)


def make_step(bench: Bench, learn: Learn, tracks: np.ndarray) -> loop.Step:
    """`(state) -> (state, metrics)` on tracks `[draws, N, T + H, 2]` drawn for it."""
    source = parallel.replicate(bench.mesh, tracks)
    sample = jax.jit(bench.task.sample)

    def step(state: RunState) -> tuple[RunState, dict[str, jax.Array]]:
        batch = sample(state.key, state.method.step, source)
        after, metrics = learn(state.method, batch)
        return state._replace(method=after), metrics

    return step


def make_adapt(bench: Bench, learn: Learn) -> Callable[[Any, Any], Any]:
    """`(state, batch) -> state` after one step on it: the method's own kind of step,
    or that of training, whose optimiser goes on."""
    adapt = bench.method.adapt
    if adapt is None:
        return lambda state, batch: learn(state, batch)[0]
    return jax.jit(lambda state, batch: adapt(state, batch, 1))


def adapted(bench: Bench, learn: Learn, state: Any, support: Part) -> Iterator[Any]:
    """The state after 0, 1, 2, … steps on the support tracks, all of them each time.

    See `make_adapt`; `state` is left alone.
    """
    adapt = make_adapt(bench, learn)
    batches = jax.vmap(lambda xy: trajectories.parted(xy, bench.run.data.observed))
    batch = batches(parallel.replicate(bench.mesh, support.xy))
    while True:
        yield state
        state = adapt(state, batch)


def test(
    bench: Bench, learn: Learn, state: Any, asked: Phase
) -> tuple[dict[str, dict[str, np.ndarray]], Any]:
    """`{tracks: {measure: [points, draws]}}` after the steps of `eval.steps`, and the
    state after the last of them.

    `heldout` are tracks that no step sees, `support` those that are adapted to.
    """
    ask, wanted = make_ask(bench), bench.run.eval.steps
    parts = parallel.replicate(bench.mesh, asked._asdict())
    found: dict[str, list] = {name: [] for name in parts}
    states = adapted(bench, learn, state, asked.support)
    for taken, each in enumerate(itertools.islice(states, wanted[-1] + 1)):
        state = each
        if taken in wanted:
            slim = bench.method.slim(each)
            for name, part in parts.items():
                found[name].append(jax.device_get(ask(slim, part)))
    return {
        name: {kind: np.stack([p[kind] for p in points]) for kind in MEASURES}
        for name, points in found.items()
    }, state


def examples(
    bench: Bench, state: Any, asked: Phase, *, count: int = 4
) -> dict[str, np.ndarray]:
    """Some held-out tracks of the first draw in metres, and what a state says of them.

    Returns `seen [n, T, 2]`, `true [n, H, 2]` and `said [n, H, 2]`.
    """
    observed = bench.run.data.observed
    part = Part(*(leaf[:, :count] for leaf in asked.heldout))
    said = jax.jit(bench.method.predict)(
        bench.method.slim(state), part.xy[:, :, :observed]
    ).output
    whole = {
        "seen": part.xy[0, :, :observed],
        "true": part.xy[0, :, observed:],
        "said": np.asarray(said)[0],
    }
    return {name: part.metres(0, xy) for name, xy in whole.items()}
