"""Two networks: with nothing in common they are two runs; what is shared is a value."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import results
from experiments.common import tracks as common_tracks
from experiments.sharing import exchange, protocol, records, report, sources, tables
from experiments.sharing.exchange import SHARINGS, Pair
from nmn_jax.data import trajectories
from nmn_jax.run import parallel
from tests.experiments.test_trajectory_protocol import made_up
from tests.methods import contract

job = importlib.import_module("experiments.sharing.__main__")

RUN = records.Run(
    sharing="separate",
    draws=2,
    data=records.Data("synthetic", observed=3, horizon=3, train=6),
    train=records.Train(
        steps=4, lead=1, period=2, batch=3, log_every=2, validate_every=2,
        checkpoint_every=4,
    ),
    validate=records.Validate(tracks=3),
    model={"slots": 3, "width": 4},
    forecast={"units": 3},
    optim={"lr": 1e-2},
)  # fmt: skip


def tracks_of(seed):
    """Of two draws."""
    draw = np.random.default_rng(seed)
    paths = np.asarray(contract.paths(16))
    moved = [paths + 0.1 * draw.normal(size=(1, 1, 2)) for _ in range(2)]
    whole = np.stack(moved).astype(np.float32)
    return protocol.Tracks(whole[:, :8], whole[:, 8:])


TRACKS = (tracks_of(1), tracks_of(2))


@functools.cache
def bench_of(sharing):
    run = dataclasses.replace(RUN, sharing=sharing)
    return protocol.prepare(run, parallel.make_mesh())


@functools.cache
def ran(sharing, steps=4):
    """The states before every step and at the end, and the metrics of every step."""
    bench = bench_of(sharing)
    step = protocol.make_step(bench, TRACKS)
    states, told = [protocol.start(bench)], []
    for _ in range(steps):
        state, metrics = step(states[-1])
        states.append(state)
        told.append(metrics)
    return states, told


def test_the_second_network_has_its_turn_at_200_300_and_no_sooner():
    turns = [s + 1 for s in range(350) if exchange.turn(s, lead=100, period=100)]
    assert turns == [200, 300]
    every = [s + 1 for s in range(6) if exchange.turn(s, lead=1, period=2)]
    assert every == [2, 4, 6]


@pytest.mark.parametrize("branch", [0, 1])
def test_separate_networks_are_two_runs_to_the_bit(branch):
    """A run by itself: the same step on its own tracks, as often as it had its turn."""
    states, _ = ran("separate")
    bench, name = bench_of("separate"), protocol.BRANCHES[branch]
    state = getattr(states[0].method, name)
    key = jax.random.fold_in(states[0].key, branch)
    source = jnp.asarray(TRACKS[branch].train)
    learn = jax.jit(
        lambda state: bench.method.step(
            state, bench.task.sample(key, state.step, source)
        )[0]
    )
    for _ in range((4, 2)[branch]):
        state = learn(state)
    chex.assert_trees_all_equal(getattr(states[-1].method, name), state)


def predictors(state):
    return state.inner.sg, state.inner.scale


def differ(one, other):
    """Whether any leaf does."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return any(np.any(np.asarray(a) != np.asarray(b)) for a, b in pairs)


def test_shared_predictors_are_handed_on_as_they_were_left():
    """At every turn the second network gets what the first has left, learns, and the
    first goes on with that."""
    given = []

    def step(name):
        def learn(state):
            given.append((name, state))
            return state + 1, {}

        return learn

    hand = exchange.Sharing(hand=lambda giver, taker: giver)
    pair = Pair(10, 0, 0)
    for has_turn in (False, True, False):
        steps = (step("first"), step("second"))
        pair, _ = exchange.advance(hand, pair, steps, has_turn=has_turn)
    assert given == [("first", 10), ("first", 11), ("second", 12), ("first", 13)]
    states, _ = ran("shared")
    for before, state in itertools.pairwise(states[1:]):
        turn = int(before.method.step) % 2 == 1
        same = not differ(*map(predictors, state.method[:2]))
        assert same == turn
    # Networks are never handed on.
    assert differ(*(each.inner.network for each in states[-1].method[:2]))


def test_before_the_second_networks_turn_nothing_is_shared():
    alone, shared = (ran(kind)[0] for kind in ("separate", "shared"))
    chex.assert_trees_all_equal(alone[1].method, shared[1].method)
    assert differ(
        predictors(alone[2].method.second), predictors(shared[2].method.second)
    )
    # The first network's own step is the same until its predictors come back changed.
    chex.assert_trees_all_equal(
        alone[2].method.first.inner.network, shared[2].method.first.inner.network
    )


def test_frozen_predictors_speak_and_never_learn():
    states, told = ran("frozen")
    first = states[0].method.first.inner.sg.params
    for state in states[2:]:
        for each in state.method[:2]:
            chex.assert_trees_all_equal(each.inner.sg.params, first)
    assert all(np.all(np.any(np.asarray(leaf) != 0)) for leaf in jax.tree.leaves(first))
    assert float(told[0]["first/sg/output/norm"]) > 0
    start = ran("separate")[0][0].method.first.inner.sg.params
    assert differ(first, start)


def test_a_warm_network_starts_as_the_first_and_keeps_its_predictors():
    states, _ = ran("warm", 2)
    before, after = states[1].method, states[2].method
    entered = exchange.SHARINGS["warm"].enter(before.first.inner, before.second.inner)
    chex.assert_trees_all_equal(entered.network, before.first.inner.network)
    chex.assert_trees_all_equal(entered.sg, before.second.inner.sg)
    # Adam's first step is small: the second network is near the first's, not its own.
    near, own = (
        np.concatenate(
            [
                np.ravel(np.asarray(a) - np.asarray(b))
                for a, b in zip(
                    jax.tree.leaves(after.second.inner.network.params),
                    jax.tree.leaves(each.inner.network.params),
                    strict=True,
                )
            ]
        )
        for each in (after.first, before.second)
    )
    assert np.abs(near).max() < 0.1 < np.abs(own).max()


def test_a_warm_start_is_made_once():
    """At its next turn the second network goes on from where it was."""
    states, _ = ran("warm")
    bench, before = bench_of("warm"), states[3].method.second
    key = jax.random.fold_in(states[0].key, 1)
    source = jnp.asarray(TRACKS[1].train)
    batch = bench.task.sample(key, before.step, source)
    expected, _ = jax.jit(bench.method.step)(before, batch)
    chex.assert_trees_all_close(
        states[4].method.second.inner.network.params, expected.inner.network.params,
        rtol=1e-6, atol=1e-7,
    )  # fmt: skip


def test_random_predictors_have_no_layer_of_zeros(key):
    state = protocol.start(bench_of("separate")).method.first.inner
    silent = state.sg.params.predictors
    assert not np.any(jax.tree.leaves(silent)[0])
    drawn = jax.vmap(exchange.random_predictors)(jax.random.split(key, 2), state)
    for leaf in jax.tree.leaves(drawn.sg.params.predictors):
        assert np.all(np.any(np.asarray(leaf) != 0, axis=tuple(range(1, leaf.ndim))))


def test_a_run_from_files_to_pictures(tmp_path, monkeypatch):
    cleaning = trajectories.clean(made_up(frames=6), []).report
    found = common_tracks.Loaded(
        trajectories.windows(made_up(frames=6), 3, 3), trajectories.as_json(cleaning)
    )
    monkeypatch.setattr(sources, "load", lambda data: found)
    run = dataclasses.replace(RUN, sharing="shared")
    result = job.main(run, tmp_path / "run", str(tmp_path / "results"))
    copy = tmp_path / "results" / "sharing" / "single" / "run.json"
    assert json.loads(copy.read_text()) == result == results.read(copy)
    curves = result["extra"]["curves"]
    assert result["extra"]["cleaning"][0]["rule"] == "read"
    assert curves["steps"] == [2, 4]
    assert np.shape(curves["second"]) == np.shape(curves["first"]) == (2, 2)
    assert result["measures"]["second squared_error"]["n"] == 2
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"first.png", "second.png"}
    other = {**result, "config": {**result["config"], "sharing": "separate"},
             "variant": "b"}  # fmt: skip
    (section,) = report.sections([result, other])
    assert "shared predictors | 1 [1, 1]" in section.text
    (groups,) = tables.parted([result, other]).values()
    assert set(groups) == {tables.SHARED, tables.SEPARATE}


def test_who_is_streamed_can_be_exchanged_and_nobody_is_asked_who_was_learned_from():
    windows = trajectories.windows(made_up(frames=6), 3, 3)
    first, second = sources.draw(RUN, windows)
    data = dataclasses.replace(RUN.data, first="pedestrian")
    other = sources.draw(dataclasses.replace(RUN, data=data), windows)
    chex.assert_trees_all_equal((first, second), other[::-1])
    for part in (first, second):
        for learned, asked in zip(*part, strict=True):
            seen = {each.tobytes() for each in learned}
            assert not seen & {each.tobytes() for each in asked}
    assert first.train.shape[:2] == (2, 6)
    # Cyclists have the lower places, and their scale.
    assert np.all(np.abs(first.train) <= 0.5 + 1e-6) and second.train.max() > 0.6


def test_without_predictors_there_is_nothing_to_share():
    run = dataclasses.replace(RUN, sharing="shared", sg={"use": "off"})
    with pytest.raises(ValueError, match="there is nothing to share"):
        protocol.prepare(run, parallel.make_mesh())


def test_the_table_of_sharings_is_that_of_the_config():
    assert set(records.SHARINGS) == set(SHARINGS)
