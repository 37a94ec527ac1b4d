"""Trajectories: who is learned from, adapted to and asked about; how it is judged."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import json

import jax
import numpy as np
import pytest
import toy_forecast

from experiments.common import plots, results, tracks
from experiments.trajectory import protocol, records, sources
from experiments.trajectory.sources import Part, Sources
from nmn_jax.data import trajectories
from nmn_jax.methods import table
from nmn_jax.run import parallel

job = importlib.import_module("experiments.trajectory.__main__")

RUN = records.Run(
    method="toy",
    draws=2,
    data=records.Data("synthetic", observed=3, horizon=2, train=6, support=4),
    train=records.Train(steps=4, batch=3, log_every=2, validate_every=2),
    eval=records.Evaluate(steps=(0, 1, 3), tracks=5),
)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(table.METHODS, "toy", toy_forecast.ENTRY)


def made_up(cyclists=14, pedestrians=12, frames=5):
    """Tracks at places of their own, so that who is who can be told."""
    made = []
    for number in range(cyclists + pedestrians):
        label = trajectories.LABELS[number >= cyclists]
        path = 100.0 * number + np.arange(frames)[:, None] * np.array([1.0, 0.5])
        made.append(
            trajectories.Track(
                "r", "here", number, label, 25.0, np.arange(frames), path
            )
        )
    return trajectories.from_tracks(made)


def windows():
    return trajectories.windows(made_up(), 3, 2)


def numbered(*parts: range) -> Sources:
    """Sources of two draws whose tracks are told apart by their first position."""

    def part(numbers):
        xy = np.zeros((2, len(numbers), 5, 2), np.float32)
        xy[..., 0] = np.array(numbers)[:, None]
        one = np.ones((2, len(numbers), 2), np.float32)
        return Part(xy, 0 * one, one, one[..., None] * np.eye(2, dtype=np.float32))

    return Sources(*map(part, parts))


PARTS = numbered(range(6), range(10, 20), range(20, 24), range(30, 35))


def bench_of(run=RUN):
    return protocol.prepare(run, parallel.make_mesh())


def metres(part: Part) -> np.ndarray:
    return np.stack([part.metres(draw, xy) for draw, xy in enumerate(part.xy)])


def test_a_draw_keeps_road_users_apart():
    """Cyclists are trained on and validated with, pedestrians are adapted to and tested
    on; nobody is in two parts."""
    found = sources.draw(RUN, windows())
    parts = {}
    for name, part in found._asdict().items():
        numbers = np.floor(metres(part)[:, :, 0, 0] / 100 + 0.01).astype(int)
        parts[name] = [set(each) for each in numbers]
        assert all(len(s) == numbers.shape[1] for s in parts[name])
    for draw in range(2):
        for one, other in itertools.combinations(parts.values(), 2):
            assert not one[draw] & other[draw]
        assert parts["train"][draw] | parts["validation"][draw] <= set(range(14))
        assert parts["support"][draw] | parts["heldout"][draw] <= set(range(14, 26))
    assert [part.xy.shape[1] for part in found] == [6, 8, 4, 5]
    assert parts["train"][0] != parts["train"][1]
    # A draw is its own number, whatever draw comes first.
    later = sources.draw(dataclasses.replace(RUN, seed=1, draws=1), windows())
    np.testing.assert_array_equal(later.heldout.xy[0], found.heldout.xy[1])


def test_only_who_is_trained_on_may_come_with_all_windows():
    data = dataclasses.replace(RUN.data, per_track="all", every=5)
    cut = trajectories.windows(made_up(frames=15), 3, 2, every=5)
    found = sources.draw(dataclasses.replace(RUN, data=data), cut)
    assert found.train.xy.shape[1] == 3 * 6
    for part in found[1:]:
        users = np.floor(metres(part)[:, :, 0, 0] / 100 + 0.01).astype(int)
        assert all(len(set(each)) == len(each) for each in users)


def test_the_scale_is_that_of_the_training_tracks():
    found = sources.draw(RUN, windows()).train
    ends = (found.xy.min(axis=(1, 2)), found.xy.max(axis=(1, 2)))
    np.testing.assert_allclose(ends[0], -0.5, atol=1e-6)
    np.testing.assert_allclose(ends[1], 0.5, atol=1e-6)


def test_training_sees_training_tracks_and_nobody_else(tmp_path):
    bench = bench_of()
    outcome = job.train(bench, protocol.make_learn(bench), PARTS, tmp_path)
    seen = np.asarray(outcome.state.method.inner.seen)
    assert seen.sum() == 2 * 4 * 3
    assert set(np.flatnonzero(seen.sum(axis=0))) <= toy_forecast.users(PARTS.train.xy)


def test_every_adaptation_step_sees_all_support_tracks_and_nobody_else():
    bench = bench_of()
    state = protocol.start(bench).method
    found = protocol.adapted(bench, protocol.make_learn(bench), state, PARTS.support)
    states = list(itertools.islice(found, 4))
    for taken, each in enumerate(states):
        assert int(each.step) == taken
        seen = np.asarray(each.inner.seen)
        expected = np.zeros_like(seen)
        expected[:, 20:24] = taken
        np.testing.assert_array_equal(seen, expected)
    assert int(state.step) == 0


def test_a_method_adapts_in_its_own_way_where_it_has_one():
    bench = bench_of()

    def adapt(state, batch, steps):
        return state._replace(step=state.step + 7 * steps)

    own = bench._replace(method=bench.method._replace(adapt=adapt))
    learn, state = protocol.make_learn(bench), protocol.start(bench).method
    found = protocol.adapted(own, learn, state, PARTS.support)
    assert [int(each.step) for each in itertools.islice(found, 3)] == [0, 7, 14]


def test_what_is_descended_is_what_the_run_names():
    train = dataclasses.replace(RUN.train, loss="distance")
    task = bench_of(dataclasses.replace(RUN, train=train)).task
    assert task.loss(jax.numpy.array([3.0, 4.0]), jax.numpy.zeros(2)) == 5
    assert bench_of().task.loss(jax.numpy.array([3.0, 4.0]), jax.numpy.zeros(2)) == 12.5


def test_held_out_tracks_are_asked_after_the_steps_that_were_named():
    """The toy says its steps for every position: what it misses by is known."""
    bench = bench_of()
    found, last = protocol.test(
        bench, protocol.make_learn(bench), protocol.start(bench).method,
        protocol.phase(RUN, PARTS),
    )  # fmt: skip
    assert int(last.step) == 3
    # Only who is adapted to was learned from.
    seen = np.asarray(last.inner.seen)
    assert set(np.flatnonzero(seen.sum(axis=0))) == set(range(20, 24))
    for name, numbers in (("heldout", range(30, 35)), ("support", range(20, 24))):
        assert found[name]["fde"].shape == (3, 2)
        for place, taken in enumerate((0, 1, 3)):
            across = np.hypot(taken - np.array(numbers), taken).mean()
            square = (np.square(taken - np.array(numbers)) + taken**2).mean() / 2
            np.testing.assert_allclose(found[name]["fde"][place], across, rtol=1e-5)
            np.testing.assert_allclose(found[name]["ade"][place], across, rtol=1e-5)
            got = found[name]["squared_error"][place]
            np.testing.assert_allclose(got, square, rtol=1e-5)


def test_settings_are_chosen_without_a_pedestrian():
    run = dataclasses.replace(RUN, eval=records.Evaluate("validation", (0, 1)))
    asked = protocol.phase(run, PARTS)
    assert toy_forecast.users(asked.support.xy) == set(range(10, 14))
    assert toy_forecast.users(asked.heldout.xy) == set(range(14, 20))
    tested = protocol.phase(RUN, PARTS)
    assert toy_forecast.users(tested.support.xy) == set(range(20, 24))
    assert toy_forecast.users(tested.heldout.xy) == set(range(30, 35))


def test_errors_are_in_metres_by_each_axis():
    missed = np.zeros((1, 2, 2, 2), np.float32)
    missed[0, 0] = [[0.3, 0.0], [0.3, 0.2]]
    size = np.array([[[10.0, 20.0], [1.0, 1.0]]], np.float32)
    found = protocol.errors(missed, size)
    np.testing.assert_allclose(found["fde"], [5.0 / 2], rtol=1e-6)
    np.testing.assert_allclose(found["ade"], [(3.0 + 5.0) / 4], rtol=1e-6)
    np.testing.assert_allclose(found["squared_error"], [0.22 / 8], rtol=1e-6)


def test_a_run_from_files_to_pictures(tmp_path, monkeypatch):
    cleaning = trajectories.clean(made_up(), trajectories.standard(points=6)).report
    loaded = tracks.Loaded(windows(), trajectories.as_json(cleaning))
    monkeypatch.setattr(sources, "load", lambda data: loaded)
    result = job.main(RUN, tmp_path / "run", str(tmp_path / "results"))
    copy = tmp_path / "results" / "trajectory" / "single" / "run.json"
    assert json.loads(copy.read_text()) == result == results.read(copy)
    assert result["extra"]["steps"] == [0, 1, 3]
    assert np.shape(result["extra"]["heldout"]["ade"]) == (3, 2)
    assert np.shape(result["extra"]["examples"]["said"]) == (4, 2, 2)
    assert result["extra"]["cleaning"] == loaded.cleaning != []
    assert result["measures"]["fde after 3"]["n"] == 2
    assert result["measures"]["fde after 3"]["unit"] == "m"
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"adaptation.png", "forecasts.png"}
    rows = [r for r in plots.rows(tmp_path / "run") if "validation/ade" in r]
    assert [row["step"] for row in rows] == [2, 4]
    again = job.main(RUN, tmp_path / "run", "")
    assert again["state_digest"] == result["state_digest"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "nmn_stream"}, "unknown method 'nmn_stream'"),
        ({"sg": {"use": "off"}}, None),
        ({"sg": {"use": "both"}}, "no effect on this method"),
        ({"train": records.Train(batch=7)}, "a batch holds different tracks"),
    ],
)
def test_what_cannot_be_is_told_before_data_are_read(changes, message):
    run = dataclasses.replace(RUN, **changes)
    if message is None:
        bench_of(run)
        return
    with pytest.raises(ValueError, match=message):
        bench_of(run)


def test_steps_have_to_rise():
    with pytest.raises(ValueError, match=r"eval.steps=\(0, 2, 1\): must rise"):
        records.Evaluate(steps=(0, 2, 1))


@pytest.mark.parametrize("preset", records.CHANGES)
def test_no_label_is_an_input_of_any_preset(preset):
    run = dataclasses.replace(RUN, method="nmn_forecast", preset=preset)
    settings = records.resolve(run, table.METHODS["nmn_forecast"].uses)
    assert settings.model.label_input == "none" and not settings.model.key_width
    given = dataclasses.replace(run, model={"label_input": "write"})
    with pytest.raises(ValueError, match=r"model.label_input='write' has no effect"):
        records.resolve(given, table.METHODS["nmn_forecast"].uses)


def test_the_key_of_a_draw_is_no_other_draws(key):
    bench = bench_of()
    batch = bench.task.sample(key, jax.numpy.asarray(0), PARTS.train.xy)
    first, second = (toy_forecast.users(each) for each in batch.inputs)
    assert len(first) == len(second) == 3
    assert first != second


def test_every_source_of_the_configs_can_be_loaded():
    assert set(tracks.LOADERS) == set(records.SOURCES)
    found, cleaning = tracks.load("synthetic", 50, 50)
    for label in trajectories.LABELS:
        assert len(np.unique(found.users[found.labels == label])) > 200
    slower = tracks.load("synthetic", 50, 50, fps=12.5).windows
    assert slower.fps == 12.5 and len(slower.xy) < len(found.xy)
    # Counts go down rule by rule, and every track that is left gives a window.
    last = cleaning[-1]
    assert last["rule"] == "short, fewer than 100 points"
    assert [each["rule"] for each in cleaning].count("read") == 1
    for label in trajectories.LABELS:
        left = [each["left"][label]["points"] for each in cleaning]
        assert left == sorted(left, reverse=True)
        users = np.unique(found.users[found.labels == label])
        assert last["left"][label]["users"] == len(users)
