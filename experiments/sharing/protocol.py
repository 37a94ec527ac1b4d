"""What two networks learn from and are asked about; no files are written.

One compiled step serves both networks: with nothing in common each of them is, to the
bit, the run it would be by itself.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments.common import bench as bench_lib
from experiments.common import draws, loop, training
from experiments.common.bench import Bench
from experiments.common.draws import Stack
from experiments.common.training import RunState
from experiments.sharing import exchange, records
from experiments.sharing.exchange import Pair, Sharing
from nmn_jax.methods import parts, table
from nmn_jax.run import parallel
from nmn_jax.tasks import trajectories

BRANCHES = ("first", "second")
SCORE = "squared_error"


class Tracks(NamedTuple):
    """Of one class, in scaled units: `[draws, N, T + H, 2]` to learn from, and held-out
    ones."""

    train: np.ndarray
    heldout: np.ndarray


def prepare(run: records.Run, mesh: Mesh) -> Bench:
    """The task, the method and its answers; everything that needs no data is checked.

    Raises:
      ValueError: for a setting without effect, or a plan that cannot be.
    """
    entry = table.entry(run.method, form="forecast")
    settings = records.resolve(run, entry.uses)
    loop.check_plan(bench_lib.plan(run))
    single = trajectories.forecast(
        observed=run.data.observed, horizon=run.data.horizon, batch=run.train.batch
    )
    made = entry.make(settings, single, steps=run.train.steps)
    task, method = draws.task(single, run.draws), draws.method(made, run.draws)
    answering = training.make_answering(method, task, mesh)
    return Bench(run, settings, task, method, mesh, answering)


def start(bench: Bench) -> RunState:
    """Both networks before the first step, each with parameters of its own."""
    key, *keys = jax.random.split(jax.random.key(bench.run.seed), 3)
    sharing = stacked(exchange.SHARINGS[bench.run.sharing])
    first, second = (
        sharing.begin(jax.random.fold_in(each, 1), bench.method.init(each))
        for each in keys
    )
    pair = parts.own_buffers(Pair(first, second, jnp.zeros((), jnp.int32)))
    return parallel.replicate(bench.mesh, RunState(pair, None, key))


def stacked(sharing: Sharing) -> Sharing:
    """The same of all draws at once."""

    def begin(key: jax.Array, state: Stack) -> Stack:
        keys = draws.keys(key, len(jax.tree.leaves(state.inner)[0]))
        return state._replace(inner=jax.vmap(sharing.begin)(keys, state.inner))

    def lifted(function: Any) -> Any:
        return lambda giver, taker: taker._replace(
            inner=function(giver.inner, taker.inner)
        )

    return Sharing(begin, *map(lifted, sharing[1:]))


def make_step(bench: Bench, tracks: tuple[Tracks, Tracks]) -> loop.Step:
    """`(state) -> (state, metrics)` of both networks.

    Args:
      tracks: of the class that is streamed, and of the one that comes seldom.
    """
    run = bench.run
    sharing = stacked(exchange.SHARINGS[run.sharing])
    sources = [jnp.asarray(each.train) for each in tracks]

    @jax.jit
    def learn(state: Stack, key: jax.Array, source: jax.Array) -> tuple:
        return bench.method.step(state, bench.task.sample(key, state.step, source))

    def step(state: RunState) -> tuple[RunState, dict[str, jax.Array]]:
        pair = state.method
        taken = int(pair.step)
        keys = [jax.random.fold_in(state.key, branch) for branch in range(2)]
        steps = tuple(
            functools.partial(learn, key=key, source=source)
            for key, source in zip(keys, sources, strict=True)
        )
        has_turn = exchange.turn(taken, lead=run.train.lead, period=run.train.period)
        if has_turn and not int(pair.second.step):
            pair = pair._replace(second=sharing.enter(pair.first, pair.second))
        pair, metrics = exchange.advance(sharing, pair, steps, has_turn=has_turn)  # type: ignore[arg-type]
        kept = {name: each for name, each in metrics.items() if each.ndim == 0}
        return state._replace(method=pair), {"loss": kept["first/loss"], **kept}

    return step


def make_validate(bench: Bench, tracks: tuple[Tracks, Tracks]) -> loop.Validate:
    """`(state) -> (state, scalars)`: the error of each network on held-out tracks of
    its own class, `<branch>/squared_error/<draw>`."""
    observed = bench.run.data.observed

    @jax.jit
    def ask(state: Stack, xy: jax.Array) -> jax.Array:
        said = bench.method.predict(state, xy[:, :, :observed]).output
        return jnp.mean((said - xy[:, :, observed:]) ** 2, axis=(1, 2, 3))

    heldout = parallel.replicate(bench.mesh, [each.heldout for each in tracks])

    def validate(state: RunState) -> tuple[RunState, dict[str, float]]:
        found = {}
        for name, xy in zip(BRANCHES, heldout, strict=True):
            slim = bench.method.slim(getattr(state.method, name))
            for draw, value in enumerate(np.asarray(ask(slim, xy))):
                found[f"{name}/{SCORE}/{draw}"] = float(value)
        return state, found

    return validate


def curves(rows: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """Errors over steps, `{branch: [steps, draws]}`, and the steps."""
    kept = [row for row in rows if f"first/{SCORE}/0" in row]
    return {
        "steps": [row["step"] for row in kept],
        **{
            name: [
                [row[f"{name}/{SCORE}/{draw}"] for draw in range(count)] for row in kept
            ]
            for name in BRANCHES
        },
    }
