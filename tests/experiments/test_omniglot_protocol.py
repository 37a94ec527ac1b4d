"""Which characters a run learns from, selects by and is tested on.

A learner that tells: it knows which pool an image is from, and answers right or wrong
by a rule that no other use of the pools would satisfy.
"""

from __future__ import annotations

import dataclasses
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_method

from experiments.common import training
from experiments.common.bench import Bench
from experiments.omniglot import __main__ as command
from experiments.omniglot import cells, protocol, records, sources
from nmn_jax.data import episodes as drawing
from nmn_jax.data import lake
from nmn_jax.data.types import Partition
from nmn_jax.methods import table, views
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.run import parallel
from nmn_jax.tasks import distortion

# What pixel [0, 0] of every image of a pool is.
MARKS = {"train": 10, "validation": 20, "test": 30}
RUN = records.Run(
    method="telltale",
    train=records.Train(
        steps=6, episodes=8, queries=1, log_every=1, validate_every=2,
        checkpoint_every=6,
    ),
    validate=records.Validate(episodes=5, queries=1, batch=8),
    eval=records.Evaluate(episodes=9, queries=1, batch=8),
)  # fmt: skip


class Telltale(NamedTuple):
    """Steps taken so far."""

    step: jax.Array


def make_telltale(settings, task, *, steps: int) -> Method:
    """Right about validation characters after step 4 alone; about the first 3 of 5
    queries of test characters up to step 4; about training characters always."""
    del settings, task, steps

    def step(state: Telltale, batch):
        mark = jnp.max(batch.queries[..., 0, 0]) * 255
        # Which classes were drawn in which order, as one number; see `pool`.
        rows = batch.context.inputs[..., 1, :].ravel()
        drawn = rows @ jnp.cos(jnp.arange(rows.size))
        scalars = {"loss": 1.0 / (1 + state.step), "accuracy": 0.0 * mark}
        return Telltale(state.step + 1), {**scalars, "mark": mark, "drawn": drawn}

    def predict(state: Telltale, context, queries) -> Answer:
        right = toy_method.logits(1e3, context, queries)
        mark = jnp.round(queries[:, :, 0, 0] * 255)
        numbers = jnp.arange(queries.shape[1])[None]
        known = jnp.where(mark == MARKS["validation"], state.step == 4, True)
        tested = (state.step <= 4) & (numbers < 3)
        known = jnp.where(mark == MARKS["test"], tested, known)
        return Answer(jnp.where(known[..., None], right, -right), {})

    start = Telltale(jnp.zeros((), jnp.int32))
    return Method(
        lambda key: start, step, predict, lambda state: state, None, {"method": "t"}
    )


def pool(name: str, classes: int = 9, drawers: int = 4) -> np.ndarray:
    """Images whose row 1 is the number of their class in ones and zeros."""
    images = np.zeros((classes, drawers, 28, 28), np.uint8)
    images[:, :, 0, 0] = MARKS[name]
    for number in range(classes):
        bits = [int(bit) for bit in f"{number + 1:05b}"]
        images[number, :, 1, : len(bits)] = 255 * np.array(bits)
    return images


POOLS = Partition(*map(pool, Partition._fields))


@pytest.fixture
def telltale(monkeypatch) -> None:
    """The learner has a line in the table, and the pools are the data."""
    entry = Entry(make_telltale, "episodes", ())
    monkeypatch.setitem(table.METHODS, "telltale", entry)
    monkeypatch.setattr(sources, "load", lambda data: POOLS)
    monkeypatch.setattr(sources, "expected", lambda data: None)


@pytest.fixture
def finished(telltale, tmp_path):
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


@pytest.mark.usefixtures("telltale")
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


def bench_of(monkeypatch, **changes) -> Bench:
    monkeypatch.setitem(table.METHODS, "toy", toy_method.ENTRY)
    run = dataclasses.replace(RUN, method="toy", **changes)
    return protocol.prepare(run, parallel.make_mesh())


def noise(classes: int = 9) -> np.ndarray:
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (classes, 6, 28, 28), dtype=np.uint8)


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


def test_views_are_averaged_in_the_test_alone(monkeypatch):
    part = records.Evaluate(episodes=9, queries=1, batch=8, views=3, spread=0.25)
    bench = bench_of(monkeypatch, eval=part, augment={"shift": 2.0})
    images = parallel.replicate(bench.mesh, noise())
    exam = protocol.episodes_exam(bench, images, part)
    state = bench.method.slim(protocol.start(bench).method)
    distort = distortion.make_distort(distortion.Limits(shift=0.5))
    batch = exam.draw(np.arange(8))
    answer, _ = protocol.make_viewing(bench)(
        state, (batch.context, batch.queries), batch.answers
    )
    by_hand = views.with_views(bench.method, distort, 3)
    expected = by_hand.predict(state, batch.context, batch.queries).output
    np.testing.assert_allclose(answer.output, expected, rtol=1e-5)
    plain = bench.method.predict(state, batch.context, batch.queries).output
    assert np.abs(answer.output - plain).max() > 1e-3
    viewed, once = (
        protocol.scored(bench, state, exam, who)["accuracy"]
        for who in (protocol.make_viewing(bench), None)
    )
    assert np.any(viewed != once)
    tested = protocol.test(bench, state, exam)[0]["accuracy"]
    np.testing.assert_array_equal(tested, viewed)
    # What a state is chosen by is answered as in training.
    asked = bench.answering(state, (batch.context, batch.queries), batch.answers)[0]
    np.testing.assert_allclose(asked.output, plain, rtol=1e-5)
    assert command.evaluation(bench)["views"] == 3
    assert bench.method.columns["answers"] == "mean of 3 views"
    for changes, said in (
        ({"augment": {}}, "views=3 without distortions"),
        ({"eval": dataclasses.replace(part, adapt_steps=(1,))}, "without gradient"),
    ):
        with pytest.raises(ValueError, match=said):
            bench_of(
                monkeypatch, **{"eval": part, "augment": {"shift": 2.0}, **changes}
            )


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


@pytest.mark.usefixtures("telltale")
def test_one_network_is_tested_in_every_setting_and_tabled_in_each(tmp_path):
    kinds = ("2way1shot", "5way2shot", "5way1shot")
    run = dataclasses.replace(RUN, ways=6, shots=2, mixture=kinds)
    result = command.main(run, tmp_path / "run", "")
    measures = result["measures"]
    assert list(measures) == ["accuracy", *(
        f"accuracy {name}" for name in ("2w1s", "5w2s", "5w1s")
    )]  # fmt: skip
    # Right about the first three queries alone: all of two, three of five.
    found = [each["mean"] for each in measures.values()]
    np.testing.assert_allclose(found, [2.2 / 3, 1.0, 0.6, 0.6], rtol=1e-6)
    assert measures["accuracy"]["n"] == 3 * measures["accuracy 5w1s"]["n"] == 27
    assert result["train_images"] == 6 * (8 * (2 * 2 + 5 * 3 + 5 * 2) // 3)
    seen = dict(np.load(tmp_path / "run" / "evidence.npz"))
    for asked, said in zip(seen["support_labels"], seen["predictions"], strict=True):
        assert set(said) <= set(asked)
    rows = cells.by_kind([result])
    assert [(r["task"]["ways"], r["task"]["shots"]) for r in rows] == [
        (2, 1), (5, 2), (5, 1)
    ]  # fmt: skip
    assert [r["measures"]["accuracy"]["mean"] for r in rows] == found[1:]
    assert len({r["variant"] for r in rows}) == 3
    # Steps are of all kinds: so many images each.
    text = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    drawn = {row["drawn"] for row in map(json.loads, text) if "drawn" in row}
    assert len(drawn) == 6


@pytest.mark.usefixtures("telltale")
def test_what_is_practised_need_not_be_what_is_tested(tmp_path):
    run = dataclasses.replace(
        RUN, ways=6, mixture=("2way1shot",), practice=("6way1shot", "3way1shot")
    )
    result = command.main(run, tmp_path / "run", "")
    assert result["train_images"] == 6 * 8 * (6 + 3) * 2 // 2
    assert list(result["measures"]) == ["accuracy", "accuracy 2w1s"]
    assert result["columns"]["trained on"] == "6w1s, 3w1s"
    assert [row["task"]["ways"] for row in cells.by_kind([result])] == [2]
    task = protocol.prepare(run, parallel.make_mesh()).task
    drawn = [
        jax.eval_shape(sample, jax.random.key(0), jnp.asarray(0), POOLS.train)
        for sample in task.shapes
    ]
    assert [each.context.targets.shape for each in drawn] == [(8, 6, 6), (8, 3, 6)]
    plain = dataclasses.replace(run, practice=())
    other = command.main(plain, tmp_path / "other", "")
    assert other["columns"]["trained on"] == "2w1s"
    assert other["variant"] != result["variant"]


def test_training_images_alone_are_distorted(monkeypatch):
    images = jnp.asarray(noise())
    plain, bench = (
        bench_of(monkeypatch, **changes)
        for changes in ({}, {"augment": {"shift": 2.0}})
    )
    drawn = [
        each.task.sample(jax.random.key(0), jnp.asarray(0), images)
        for each in (plain, bench)
    ]
    np.testing.assert_array_equal(drawn[0].answers, drawn[1].answers)
    for old, new in zip(*(each.queries[0] for each in drawn), strict=True):
        assert np.abs(old - new).max() > 0.1
    for part in (RUN.validate, RUN.eval):
        asked = [
            protocol.episodes_exam(each, images, part).draw(np.arange(8))
            for each in (plain, bench)
        ]
        jax.tree.map(np.testing.assert_array_equal, *asked)
    assert bench.method.columns == {**plain.method.columns, "images": "distorted"}


def test_characters_are_recast_as_one_in_training_alone(monkeypatch):
    images = jnp.asarray(noise())
    plain, bench = (
        bench_of(monkeypatch, **changes)
        for changes in ({}, {"recast": {"mirror": 0.5}})
    )
    before, after = (
        each.task.sample(jax.random.key(0), jnp.asarray(0), images)
        for each in (plain, bench)
    )
    pairs = (
        (before.context.inputs, after.context.inputs),
        (before.queries, after.queries),
    )
    same, mirrored = (
        np.concatenate(
            [np.isclose(turn(old), new, atol=1e-5).all((2, 3)) for old, new in pairs], 1
        )
        for turn in (lambda old: old, lambda old: old[..., ::-1])
    )
    assert np.all(same ^ mirrored)
    labels = np.concatenate(
        [before.context.targets.argmax(-1), before.answers.argmax(-1)], axis=1
    )
    for number in range(before.answers.shape[-1]):
        of_one = [m[own == number] for m, own in zip(mirrored, labels, strict=True)]
        assert all(len(set(each.tolist())) == 1 for each in of_one)
        assert len({bool(each[0]) for each in of_one}) == 2
    for part in (RUN.validate, RUN.eval):
        asked = [
            protocol.episodes_exam(each, images, part).draw(np.arange(8))
            for each in (plain, bench)
        ]
        jax.tree.map(np.testing.assert_array_equal, *asked)
    assert bench.method.columns == {**plain.method.columns, "characters": "recast"}
