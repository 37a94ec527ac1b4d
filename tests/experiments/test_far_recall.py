"""Far recall: the writer is taught from beyond the cut; what is counted is right."""

from __future__ import annotations

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from experiments import report
from experiments.common import results
from experiments.far_recall import config, probing, protocol, records
from experiments.far_recall import report as recall_report
from nmn_jax.feedback import pipeline
from nmn_jax.methods import nmn_stream, stream_pass, streams
from nmn_jax.run import parallel
from nmn_jax.settings import reader
from nmn_jax.tasks import recall

job = importlib.import_module("experiments.far_recall.__main__")

SMALL = {
    "data": {"streams": 2, "window": 3, "farthest": 2, "key_width": 3, "values": 2},
    "model": {"slots": 9, "width": 8, "key_width": 4},
    "train": {
        "steps": 8, "tested": 4, "steps_per_call": 2, "log_every": 2,
        "validate_every": 4, "checkpoint_every": 4,
    },
}  # fmt: skip


def run_of(variant, **given):
    """A small run of a variant."""
    made = config.get_config(variant)
    for record, fields in [*SMALL.items(), *given.items()]:
        made[record].update(fields)
    if made.data.ahead:
        made.data.ahead = 2
    return reader.from_mapping(records.Run, made)


def bench_of(variant):
    return protocol.prepare(run_of(variant), parallel.make_mesh())


def write_gradient(variant):
    """Of the write controller at the first steps of a stream."""
    bench = bench_of(variant)
    design = nmn_stream.make_design(bench.settings, bench.task)
    state = bench.method.init(jax.random.key(0))

    @tiny.jit
    def gradient(state):
        total = 0.0
        for step in range(4):
            batch = bench.task.sample(jax.random.key(1), jnp.asarray(step), ())
            way = stream_pass.make_pass(design, state, batch)
            found = pipeline.two_speeds(design.sg, state, way)
            each = jax.tree.leaves(found.network.cell.controllers.write)
            total += sum(jnp.sum(jnp.abs(leaf)) for leaf in each)
            at = streams.onward(found.back.aux.final, batch)
            state = state._replace(carried=at.state, previous=at.previous)
        return total

    return float(gradient(state))


def test_within_windows_the_writer_is_taught_exactly_nothing():
    assert write_gradient("truncated") == 0.0
    # A predictor that was never trained says nothing, the truth does.
    assert write_gradient("state") == 0.0
    assert write_gradient("oracle") > 1e-6


def test_a_slot_is_used_next_when_its_pair_is_asked_for():
    """Against the memory itself: the true cotangent of a slot that nobody asks for is
    far smaller than of one that is."""
    bench = bench_of("truncated")
    kind = protocol.kind_of(bench.run)
    key, state = jax.random.key(1), bench.method.init(jax.random.key(0))
    step = tiny.jit(bench.method.step)
    for at in range(3):
        state, _ = step(state, bench.task.sample(key, jnp.asarray(at), ()))
    found = np.asarray(probing.next_use(kind, 9, key, state.step))
    stored = np.asarray(state.carried.memory.rows[:, :, 4:])
    expected = np.zeros_like(found)
    for stream, key_of in enumerate(recall.stream_keys(kind, key)):
        for ahead in (2, 1):
            asked = recall.question(kind, key_of, state.step + ahead - 1)
            window = state.step + ahead - 1 - asked.gap
            if not bool(asked.counts) or int(window) >= int(state.step):
                continue
            # Written third by third: a question and two pairs a window.
            number = int(window) * 3 + 1 + int(asked.place)
            expected[stream, number % 9] = ahead
            old = recall.pairs(kind, key_of, window)
            value = int(np.argmax(stored[stream, number % 9][:2]))
            assert value == int(old.values[asked.place])
    np.testing.assert_array_equal(found, expected)
    assert expected.any()


def test_agreement_is_summed_by_distance():
    kind = recall.FarRecall(farthest=2, window=1)
    distance = jnp.asarray([[0, 2, 2]])
    guess, true = tiny.normal(1, 1, 3, 4), tiny.normal(2, 1, 3, 4)
    # Write 4 was to slot 1, 3 to slot 0, 2 to slot 2.
    told = distance, jnp.asarray(4)
    found = probing.agreement(kind, told, guess, true)
    sizes = np.sum(np.asarray(guess) ** 2, axis=-1)[0]
    np.testing.assert_allclose(found.predicted_by_age, sizes[[1, 0, 2]], 1e-5)
    inner = np.sum(np.asarray(guess * true), axis=-1)[0]
    np.testing.assert_allclose(found.inner, [inner[0], 0, inner[1] + inner[2]], 1e-5)
    np.testing.assert_allclose(found.true.sum(), np.sum(np.asarray(true) ** 2), 1e-5)
    np.testing.assert_array_equal(found.slots, [1, 0, 2])


def rows_of(run):
    """Two calls that were tested, and one from before."""
    steps = run.data.streams * run.data.window * run.train.log_every
    rows = []
    for step, right in ((4, 0), (6, 3), (8, 1)):
        row = {"step": step, "accuracy": 0.5}
        for gap in (1, 2):
            row[f"asked/{gap:02d}"] = (4 if gap == 1 else 0) / steps
            row[f"right/{gap:02d}"] = (right if gap == 1 else 0) / steps
        rows.append(row)
    return rows


def test_only_the_last_windows_are_the_test():
    run = run_of("state")
    told = protocol.counts(run, rows_of(run))
    assert told == {"asked": [8, 0], "right": [4, 0]}
    found = protocol.measures(run, rows_of(run))
    assert list(found) == ["accuracy"]
    assert found["accuracy"] == results.measure([1.0] * 4 + [0.0] * 4)


def test_a_run_from_the_stream_to_its_pictures(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    run = run_of("trace", stream={"horizon": 2})
    result = job.main(run, tmp_path / "run", str(tmp_path / "results"))
    told = result["columns"]["beyond the window"]
    assert told == "bootstrap, λ = 0.5, weight 0.95"
    assert result["measures"]["accuracy"]["n"] == sum(result["extra"]["gaps"]["asked"])
    assert result["measures"]["accuracy"]["n"] == 2 * 4
    names = {each.name for each in (tmp_path / "run" / "figures").glob("*.png")}
    assert names == {"gaps.png", "cotangents.png"}
    text = report.whole(results.load([tmp_path / "results"]))
    assert "bootstrap at the state, λ = 0.5" in text


def made(arm, seed, right):
    """A result by hand: 10 questions of every gap."""
    run = run_of(arm)
    settings = records.resolve(run, nmn_stream.ENTRY.uses)
    return {
        "seed": seed, "study": "", "task": dataclasses.asdict(run.data),
        "settings": dataclasses.asdict(settings), "variant": arm, "evaluation": {},
        "extra": {"gaps": {"asked": [10] * 5, "right": [0] * 4 + [right]}},
    }  # fmt: skip


def test_shares_are_of_what_the_truth_gains_seed_by_seed():
    found = [
        made(arm, seed, right + seed)
        for seed in (0, 1)
        for arm, right in (("frozen", 2), ("state", 4 + seed), ("oracle", 6))
    ]
    groups = recall_report.grouped(found)
    told = recall_report.shares(groups, 5)
    assert told["frozen writer"].mean == 0.0
    assert told["the truth about 2 windows"].mean == pytest.approx(1.0)
    # Seed 0: (4 - 2) / (6 - 2); seed 1: (6 - 3) / (7 - 3).
    state = told["bootstrap at the state, λ = 0"]
    assert state.mean == pytest.approx((0.5 + 0.75) / 2)
    assert recall_report.shares({"frozen writer": groups["frozen writer"]}, 5) == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": {"ahead": 3}}, "has to look"),
        ({"stream": {"control": "oracle"}}, "has to look"),
        ({"train": {"log_every": 4}}, "must be equal"),
        ({"train": {"tested": 3}}, "multiple of train.log_every"),
        ({"stream": {"trace": 0.5}}, "needs a horizon"),
    ],
)
def test_what_cannot_be_is_refused_before_the_first_step(given, said):
    with pytest.raises(ValueError, match=said):
        protocol.prepare(run_of("state", **given), parallel.make_mesh())
