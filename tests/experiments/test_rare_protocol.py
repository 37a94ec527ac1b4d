"""Rare classes: what the stream brings, what is asked, and what makes a run a run."""

from __future__ import annotations

import dataclasses
import importlib
import json

import jax
import numpy as np
import pytest
import toy_stream

from experiments.common import plots, results
from experiments.rare_classes import protocol, records, sources
from nmn_jax.data import mnist
from nmn_jax.methods import table
from nmn_jax.run import parallel
from nmn_jax.types import CONTROLLERS

job = importlib.import_module("experiments.rare_classes.__main__")

SMALL = {"channels": 2, "width": 16, "key_width": 4, "slots": 12}
RUN = records.Run(
    method="toy",
    data=records.Data("digits", period=5, held_out=300),
    train=records.Train(steps=12, validate_every=5, checkpoint_every=4),
    validate=records.Validate(images=50),
)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(table.METHODS, "toy", toy_stream.ENTRY)


def changed(run=RUN, **records_changed):
    """The run with fields of its records replaced."""
    return dataclasses.replace(
        run,
        **{
            name: dataclasses.replace(getattr(run, name), **fields)
            for name, fields in records_changed.items()
        },
    )


def tell_tale(monkeypatch):
    """Digits whose first pixel is their class, ten of each in both parts."""
    labels = np.tile(np.arange(10, dtype=np.int32), 10)
    images = np.zeros((100, 28, 28), np.uint8)
    images[:, 0, 0] = labels
    digits = mnist.Digits(images, labels, images, labels)
    monkeypatch.setitem(sources.DATA, "digits", lambda: digits)


def test_rare_windows_are_the_5th_the_10th_and_no_others(tmp_path, monkeypatch):
    """Counted from 1: what a toy says of every window it was given."""
    tell_tale(monkeypatch)
    run = changed(data={"held_out": 20})
    result = job.main(run, tmp_path, "")
    rows = [row for row in plots.rows(tmp_path) if "loss" in row]
    told = {row["step"]: row["applied/input/norm"] for row in rows}
    assert told == {step: 6.0 if step in (5, 10) else 2.0 for step in range(1, 13)}
    for controller in CONTROLLERS:
        found = result["extra"]["gradients"][controller]["applied"]
        assert found["curve"]["rare_steps"] == [5, 10]
        assert found["curve"]["rare"] == [6.0, 6.0]
        assert found["ratio"] == 3.0 and found["among_highest"] == 1.0


def test_windows_differ_and_follow_from_the_seed(tmp_path):
    def ink(seed, place):
        job.main(dataclasses.replace(RUN, seed=seed), tmp_path / place, "")
        return [
            row["accuracy"] for row in plots.rows(tmp_path / place) if "loss" in row
        ]

    first = ink(0, "first")
    assert len(set(first)) == len(first)
    assert ink(0, "again") == first and ink(1, "other") != first


def test_what_is_asked_is_in_no_window():
    test, held = (sources.load(RUN.data, part) for part in ("test", "validation"))
    seen = {image.tobytes() for image in np.asarray(test.pools.images)}
    assert len(test.pools.labels) == 1797 - 360 - 300
    assert set(np.asarray(test.pools.labels[test.pools.frequent])) == {0, 1, 2, 3, 4}
    assert set(np.asarray(test.pools.labels[test.pools.rare])) == {5, 6, 7, 8, 9}
    for part in (test, held):
        assert set(part.rare.labels) == {5, 6, 7, 8, 9}
        assert set(part.frequent.labels) == {0, 1, 2, 3, 4}
        for asked in (part.rare, part.frequent):
            assert not seen & {image.tobytes() for image in asked.images}


@pytest.mark.parametrize("size", [2, 3, 7, 50])
def test_an_image_counts_once_whatever_the_chunk_and_the_devices(size):
    labels = np.array([0, 1, 2, 3, 4, 5, 6])
    images = np.zeros((7, 28, 28), np.uint8)
    images[:, 0, 0] = [0, 1, 2, 3, 0, 0, 0]
    bench = protocol.prepare(changed(validate={"images": size}), parallel.make_mesh())
    state = protocol.start(bench).method
    found = protocol.scored(bench, state, sources.Asked(images, labels))
    assert found.tolist() == [1, 1, 1, 1, 0, 0, 0]


def test_the_curve_asks_some_and_the_end_all():
    asked = sources.Asked(np.arange(20), np.arange(20))
    some = sources.some(asked, 5)
    assert len(set(some.labels)) == 5 and list(some.labels) != sorted(some.labels)
    assert sources.some(asked, 5).labels.tolist() == some.labels.tolist()
    assert len(sources.some(asked, 50).labels) == 20


def test_a_result_says_what_was_asked_and_is_the_same_on_disk(tmp_path):
    result = job.main(RUN, tmp_path / "run", str(tmp_path / "results"))
    copy = tmp_path / "results" / "rare_classes" / "single" / "run.json"
    assert json.loads(copy.read_text()) == result == results.read(copy)
    assert result["extra"]["curves"]["steps"] == [5, 10, 12]
    assert result["measures"]["rare accuracy"]["n"] + (
        result["measures"]["frequent accuracy"]["n"]
    ) == 360  # fmt: skip
    assert result["evaluation"] == {"kind": "images", "part": "test", "images": 50}
    assert result["task"]["frequent"] == [0, 1, 2, 3, 4]
    assert result["columns"] == {"method": "toy"}
    assert result["train_images"] == 120
    drawn = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"accuracy.png", "gradients.png"}


def test_several_steps_a_call_are_all_taken_and_end_the_same(tmp_path):
    one = job.main(changed(train={"steps": 8}), tmp_path / "one", "")
    periods = dict.fromkeys(("log_every", "validate_every", "checkpoint_every"), 4)
    run = changed(train={"steps": 8, "steps_per_call": 4, **periods})
    four = job.main(run, tmp_path / "four", "")
    assert four["state_digest"] == one["state_digest"]
    assert [row["step"] for row in plots.rows(tmp_path / "four") if "loss" in row] == [
        4,
        8,
    ]
    # Rows of four windows each tell no window apart.
    assert four["extra"]["gradients"] == {} and one["extra"]["gradients"] != {}
    assert {path.name for path in (tmp_path / "four" / "figures").iterdir()} == {
        "accuracy.png"
    }


def test_every_device_follows_the_whole_stream():
    bench = protocol.prepare(RUN, parallel.make_mesh())
    pools = parallel.replicate(bench.mesh, sources.load(RUN.data, "test").pools)
    state, _ = protocol.make_step(bench, pools)(protocol.start(bench))
    assert jax.device_count() == 8
    for leaf in jax.tree.leaves(state.method):
        assert len(leaf.sharding.device_set) == 8 and leaf.is_fully_replicated
    assert float(state.method.seen.sum()) == RUN.train.batch


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [("validate", "part", "test"), ("validate", "images", 40), ("data", "period", 6)],
)
def test_what_was_asked_on_the_way_belongs_to_a_run(record, field, value, tmp_path):
    run = changed(validate={"part": "validation"})
    job.main(run, tmp_path, "")
    said = f"config.{record}.{field}: .* there, {value!r} asked for"
    with pytest.raises(ValueError, match=said):
        job.main(changed(run, **{record: {field: value}}), tmp_path, "")


def test_folders_that_cannot_be_written_are_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir, copy, said in (
        ("file", "", "--workdir"),
        ("run", "file", "--results"),
    ):
        with pytest.raises(ValueError, match=said):
            job.main(RUN, tmp_path / workdir, str(tmp_path / copy) if copy else "")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_interrupted_in_mid_stream_it_ends_the_same(tmp_path, monkeypatch):
    whole = job.main(RUN, tmp_path / "whole", "")
    made = protocol.make_step

    def breaking(bench, pools, ahead):
        step = made(bench, pools, ahead)

        def broken(state):
            if int(state.method.step) == 7:
                raise KeyboardInterrupt
            return step(state)

        return broken

    monkeypatch.setattr(protocol, "make_step", breaking)
    with pytest.raises(KeyboardInterrupt):
        job.main(RUN, tmp_path / "broken", "")
    monkeypatch.setattr(protocol, "make_step", made)
    result = job.main(RUN, tmp_path / "broken", "")
    for field in ("state_digest", "extra", "measures"):
        assert result[field] == whole[field]
