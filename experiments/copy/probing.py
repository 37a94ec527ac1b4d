"""Does what is predicted carry the gradient that a cut takes away? After training.

What back-propagation through a cut would add to the gradient of the LSTM is pulled back
through the window before it: from the true cotangent of the state there, from what the
predictor says, and from a linear predictor solved for with other sequences, as one that
had all the time it needs. All with the parameters of the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.common import loop, results
from experiments.common.bench import Bench
from experiments.copy import protocol
from nmn_jax.feedback import carried, plumbing
from nmn_jax.feedback import future as future_lib
from nmn_jax.feedback.carried import Groups
from nmn_jax.methods import lstm_stream, streams
from nmn_jax.methods.lstm_stream import Design
from nmn_jax.tasks import copying

BATCHES = 32
RIDGE = 1e-4
# No run gets as far: these are sequences that none has seen.
FRESH = 2**31


class Cuts(NamedTuple):
    """All cuts of a batch of sequences, `[W, B, ...]` each but the last.

    cursors, windows: where the window before each cut began, and that window
    ends: the state at the cut
    true: the cotangent of the loss that is left of the sequence, by rows
    counts: `[W]`, whether the sequence goes on behind the cut
    """

    cursors: future_lib.Cursor
    windows: Any
    ends: Any
    true: Groups
    counts: jax.Array


def find_cuts(design: Design, params: Any, given: tuple) -> Cuts:
    """Of the sequences at a place; for `(key, kind, place)`."""
    key, kind, place = given
    count = -(-kind.beyond // kind.window)
    kind = kind._replace(beyond=0)
    run = lstm_stream.make_run(design, params)
    windows = jax.vmap(
        lambda window: copying.copying(kind).sample(
            key, window, place._replace(window=window)
        )
    )(jnp.arange(count))
    # Behind the end of the sequences nothing counts, and nothing starts anew.
    windows = windows._replace(ends=jnp.zeros_like(windows.ends))
    fresh = streams.start_cursor(design.task.spec, design.core.carry())

    def forward(cursor: Any, window: Any) -> tuple:
        after = run(cursor, window)[1]
        return after, (cursor, after.state)

    passed: tuple[future_lib.Cursor, Any] = jax.lax.scan(forward, fresh, windows)[1]
    cursors, ends = passed

    def back(exit: Groups, at: tuple) -> tuple[Groups, Groups]:
        cursor, window = at
        entered = future_lib.Recorded(cursor, None, window)
        return future_lib.carry_back(run, entered, exit), exit

    nothing = jax.tree.map(jnp.zeros_like, jax.vmap(carried.groups)(fresh.state))
    true = jax.lax.scan(back, nothing, (cursors, windows), reverse=True)[1]
    going_on = (jnp.arange(count) + 1) * kind.window < copying.steps(place)
    return Cuts(cursors, windows, ends, true, going_on)


def pulled(design: Design, params: Any, cuts: Cuts, told: Groups) -> jax.Array:
    """What cotangents told at every cut add to the LSTM's gradient, flat."""

    def share(params: Any) -> tuple[jax.Array, None]:
        run = lstm_stream.make_run(design, params)

        def one(cursor: Any, window: Any, told: Groups) -> jax.Array:
            return future_lib.surrogate(told, run(cursor, window)[1].state)

        each = jax.vmap(one)(cuts.cursors, cuts.windows, told)
        return jnp.sum(jnp.where(cuts.counts, each, 0.0)), None

    gradient = plumbing.gradient(share, params)[2].core
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])


def _rows(cuts: Cuts) -> tuple[jax.Array, jax.Array]:
    """States with a one `[W, B, d + 1]`, and cotangents; zero where nothing follows."""
    states = jax.vmap(jax.vmap(carried.groups))(cuts.ends)["carry"][:, :, 0]
    states = jnp.concatenate([states, jnp.ones((*states.shape[:2], 1))], axis=2)
    counts = cuts.counts[:, None, None]
    return states * counts, cuts.true["carry"][:, :, 0] * counts


def measures(bench: Bench, outcome: loop.Outcome) -> dict[str, Any]:
    """What the probe says of an LSTM that bootstraps from window to window and hears
    what it predicts; nothing of others."""
    stream = bench.settings.stream
    plain = stream.target == "bootstrap" and stream.control == "none"
    plain = plain and not stream.trace and not stream.auxiliary
    if bench.run.method != "lstm_stream" or not plain:
        return {}
    found = make_probe(bench)(outcome.state)
    return {
        f"gradient_{name}": results.measure([float(each)], "")
        for name, each in found.items()
    }


def make_probe(bench: Bench) -> Callable[[protocol.CopyState], dict[str, jax.Array]]:
    """`(state) -> {name: []}`: cosine with what the truth adds to the gradient, and the
    length relative to it, of what the predictor adds (`learned`) and of what a solved
    one adds (`solved`); both for fresh sequences as long as the last ones."""
    run, settings = bench.run, bench.settings
    kind = protocol.kind_of(run, "none")._replace(beyond=run.data.longest)
    design = lstm_stream.make_design(settings, bench.task, steps=run.train.steps)

    def solved(params: Any, place: Any, keys: jax.Array) -> jax.Array:
        def add(sums: tuple, key: jax.Array) -> tuple[tuple, None]:
            states, true = _rows(find_cuts(design, params, (key, kind, place)))
            seen = jnp.einsum("wbi,wbj->ij", states, states)
            told = jnp.einsum("wbi,wbj->ij", states, true)
            return (sums[0] + seen, sums[1] + told), None

        width = 2 * settings.model.width
        empty = jnp.zeros((width + 1, width + 1)), jnp.zeros((width + 1, width))
        seen, told = jax.lax.scan(add, empty, keys)[0]
        size = RIDGE * jnp.mean(jnp.diag(seen))
        return jnp.linalg.solve(seen + size * jnp.eye(width + 1), told)

    @jax.jit
    def probe(state: protocol.CopyState) -> dict[str, jax.Array]:
        params = state.method.network.params
        keys = jax.random.split(jax.random.fold_in(state.key, FRESH), 2 * BATCHES)
        kernel = solved(params, state.place, keys[BATCHES:])

        def add(sums: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
            cuts = find_cuts(design, params, (key, kind, state.place))
            told = [cuts.true, {"carry": (_rows(cuts)[0] @ kernel)[:, :, None]}]
            told.append(_believed(design, state, cuts))
            each = [pulled(design, params, cuts, each) for each in told]
            return sums + jnp.stack(each), None

        size = sum(leaf.size for leaf in jax.tree.leaves(params.core))
        sums = jax.lax.scan(add, jnp.zeros((3, size)), keys[:BATCHES])[0]
        return {
            f"{name}_{measure}": found
            for name, added in (("solved", sums[1]), ("learned", sums[2]))
            for measure, found in _compared(added, sums[0]).items()
        }

    return probe


def _believed(design: Design, state: protocol.CopyState, cuts: Cuts) -> Groups:
    """What the predictor says at every cut; nothing without one."""
    future, learner = design.future, state.method.future
    if future is None or learner is None:
        return jax.tree.map(jnp.zeros_like, cuts.true)
    return jax.vmap(lambda ends: future_lib.predict(future, learner, ends, None))(
        cuts.ends
    )


def _compared(added: jax.Array, true: jax.Array) -> dict[str, jax.Array]:
    length, whole = jnp.linalg.norm(added), jnp.linalg.norm(true)
    cosine = jnp.vdot(added, true) / jnp.maximum(length * whole, 1e-30)
    return {"cosine": cosine, "length": length / jnp.maximum(whole, 1e-30)}
