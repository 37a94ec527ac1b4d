"""Which characters a run learns from, selects by and is tested on."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import pytest
import telltale
from telltale import MARKS, POOLS, RUN, bench_of, noise

from experiments.common import training
from experiments.omniglot import __main__ as command
from experiments.omniglot import protocol, records
from nmn_jax.data import episodes as drawing
from nmn_jax.data import lake
from nmn_jax.run import parallel


@pytest.fixture
def told(monkeypatch) -> None:
    telltale.install(monkeypatch)


@pytest.fixture
def finished(told, tmp_path):
    """A whole run: bench, outcome, and where its files are."""
    bench = protocol.prepare(RUN, parallel.make_mesh())
    pools = protocol.place(bench, POOLS)
    return bench, pools, command.train(bench, pools, tmp_path), tmp_path


def test_training_sees_training_characters_alone_and_other_ones_every_step(finished):
    *_, workdir = finished
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    steps = [row for row in rows if "mark" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert {round(row["mark"]) for row in steps} == {MARKS["train"]}
    assert len({row["drawn"] for row in steps}) == 6


def test_what_is_kept_is_best_on_validation_characters(finished):
    *_, outcome, workdir = finished
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    found = [row["validation/accuracy"] for row in rows if "validation/accuracy" in row]
    assert found == [0.0, 1.0, 0.0]
    assert int(outcome.state.best.state.step) == 4
    assert float(outcome.state.best.score) == 1.0
    assert int(outcome.state.method.step) == 6


def test_the_best_is_tested_not_the_last(finished):
    bench, pools, outcome, _ = finished
    exam = protocol.episodes_exam(bench, pools.test, RUN.eval)
    best, last = outcome.state.best.state, outcome.state.method
    tested = protocol.test(bench, best, exam)
    np.testing.assert_allclose(tested[0]["accuracy"], np.full(9, 0.6), rtol=1e-6)
    np.testing.assert_array_equal(protocol.test(bench, last, exam)[0]["accuracy"], 0)


@pytest.mark.usefixtures("told")
def test_the_command_reports_the_best_state_on_test_characters(tmp_path):
    result = command.main(RUN, tmp_path / "run", str(tmp_path / "results"))
    assert result["measures"] == {
        "accuracy": {"mean": pytest.approx(0.6), "half": pytest.approx(0, abs=1e-6),
                     "n": 9, "unit": "fraction"}
    }  # fmt: skip
    assert result["extra"]["validation_accuracy"] == 1.0
    assert result["train_images"] == 6 * 8 * 10
    seen = dict(np.load(tmp_path / "run" / "evidence.npz"))
    assert set(seen["query_images"][..., 0, 0].ravel()) == {MARKS["test"]}
    assert seen["predictions"].shape == (4, 5)
    copy = tmp_path / "results" / "omniglot" / "single" / "run.json"
    assert json.loads(copy.read_text()) == result

    # The same training, tested another way: a file of its own, the first one untouched.
    more = dataclasses.replace(RUN.eval, episodes=12, seed=1)
    command.main(dataclasses.replace(RUN, eval=more), tmp_path / "run", "")
    files = {path.name for path in (tmp_path / "run").glob("result*")}
    assert files == {"result.json", "result-episodes-12-seed-1.json"}
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    other = json.loads((tmp_path / "run/result-episodes-12-seed-1.json").read_text())
    assert other["measures"]["accuracy"]["n"] == 12
    assert other["state_digest"] == result["state_digest"]
    assert other["variant"] == result["variant"]

    # What decided which state is best is part of the run.
    changed = dataclasses.replace(RUN.validate, seed=3)
    with pytest.raises(
        ValueError, match=r"config\.validate\.seed: 2021 there, 3 asked"
    ):
        command.main(dataclasses.replace(RUN, validate=changed), tmp_path / "run", "")


def test_accuracy_does_not_depend_on_how_episodes_are_batched(monkeypatch):
    found = []
    for batch in (8, 20):
        part = records.Evaluate(episodes=13, queries=1, batch=batch)
        bench = bench_of(monkeypatch, eval=part)
        images = parallel.replicate(bench.mesh, noise())
        exam = protocol.episodes_exam(bench, images, part)
        assert exam.size == {8: 8, 20: 24}[batch]
        state = bench.method.slim(protocol.start(bench).method)
        found.append(protocol.scored(bench, state, exam)["accuracy"])
    np.testing.assert_array_equal(*found)
    assert found[0].shape == (13,)


def test_test_episodes_are_those_of_the_seed_whatever_the_model(monkeypatch):
    """The very episodes of every committed result."""
    bench = bench_of(monkeypatch)
    images = noise()
    exam = protocol.episodes_exam(
        bench, parallel.replicate(bench.mesh, images), RUN.eval
    )
    keys = drawing.fixed_keys(RUN.eval.seed, 9)
    by_hand = drawing.sample_each(keys, images, ways=5, shots=1, queries=1)
    drawn = exam.draw(np.arange(8))
    np.testing.assert_array_equal(drawn.queries, by_hand.query_images[:8])
    np.testing.assert_array_equal(
        np.argmax(drawn.answers, -1), by_hand.query_labels[:8]
    )
    spread = {each.data.shape[0] for each in drawn.queries.addressable_shards}
    assert spread == {1}


def test_gradient_steps_at_test_time_are_each_episodes_own(monkeypatch):
    part = records.Evaluate(episodes=9, queries=1, batch=8, adapt_steps=(0, 2))
    bench = bench_of(monkeypatch, eval=part)
    images = parallel.replicate(bench.mesh, noise())
    exam = protocol.episodes_exam(bench, images, part)
    state = bench.method.slim(protocol.start(bench).method)
    assert set(protocol.test(bench, state, exam)) == {0, 2}

    batch = exam.draw(np.arange(8))
    adapted = training.make_adapted_answering(
        bench.method, bench.task, bench.mesh, steps=2
    )
    answer, _ = adapted(state, (batch.context, batch.queries), batch.answers)
    batch = jax.device_get(batch)
    for number in (0, 5):
        alone = jax.tree.map(lambda leaf, n=number: leaf[n : n + 1], batch)
        own = bench.method.adapt(state, alone.context, 2)
        one = bench.method.predict(own, alone.context, alone.queries)
        np.testing.assert_allclose(answer.output[number], one.output[0], rtol=1e-5)
        assert float(own.scale) != float(state.scale)


def test_lakes_runs_are_asked_as_they_are(monkeypatch):
    draw = np.random.default_rng(1)
    runs = lake.Runs(
        *(draw.integers(0, 256, (20, 20, 28, 28), dtype=np.uint8) for _ in range(2)),
        np.stack([draw.permutation(20) for _ in range(20)]).astype(np.int32),
    )
    bench = bench_of(
        monkeypatch, ways=20, data=records.Data(split="official"),
        eval=records.Evaluate(kind="lake"),
    )  # fmt: skip
    exam = protocol.lake_exam(bench, runs)
    assert (exam.episodes, exam.size) == (20, 24)
    state = bench.method.slim(protocol.start(bench).method)
    found = protocol.test(bench, state, exam)[0]["accuracy"]
    right = []
    for training_images, test_images, answers in zip(*runs, strict=True):
        apart = (test_images[:, None] / 255 - training_images[None] / 255) ** 2
        right.append(np.mean(apart.mean((2, 3)).argmin(1) == answers))
    np.testing.assert_allclose(found, right, rtol=1e-6)
