"""Mixtures, distortions, recast characters and views of a few-shot run."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import telltale
from telltale import POOLS, RUN, bench_of, noise

from experiments.omniglot import __main__ as command
from experiments.omniglot import cells, protocol, records
from nmn_jax.methods import views
from nmn_jax.run import parallel
from nmn_jax.tasks import distortion


@pytest.fixture
def told(monkeypatch) -> None:
    telltale.install(monkeypatch)


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


@pytest.mark.usefixtures("told")
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


@pytest.mark.usefixtures("told")
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


def assert_asked_alike(plain, bench, images):
    for part in (RUN.validate, RUN.eval):
        asked = [
            protocol.episodes_exam(each, images, part).draw(np.arange(8))
            for each in (plain, bench)
        ]
        jax.tree.map(np.testing.assert_array_equal, *asked)


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
    assert_asked_alike(plain, bench, images)
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
    assert_asked_alike(plain, bench, images)
    assert bench.method.columns == {**plain.method.columns, "characters": "recast"}
