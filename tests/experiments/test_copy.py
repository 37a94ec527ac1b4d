"""Copying: sequences grow when they were said, and what was reached is the result."""

from __future__ import annotations

import dataclasses
import importlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from experiments import report
from experiments.common import results
from experiments.copy import config, probing, protocol, records
from experiments.copy import report as copy_report
from nmn_jax.methods import lstm_stream
from nmn_jax.methods.base import Method
from nmn_jax.run import parallel
from nmn_jax.settings import reader

job = importlib.import_module("experiments.copy.__main__")

SMALL = {
    "data": {"streams": 2, "window": 2, "bits": 2, "longest": 9},
    "train": {
        "steps": 4, "steps_per_call": 2, "log_every": 2, "validate_every": 4,
        "checkpoint_every": 4,
    },
}  # fmt: skip


def run_of(variant="copy", **given):
    """A small run of a variant."""
    made = config.get_config(variant)
    for record, fields in [*SMALL.items(), *given.items()]:
        made[record].update(fields)
    return reader.from_mapping(records.Run, made)


class Knowing(NamedTuple):
    """A method that says every sequence, or from a length on none."""

    step: jax.Array
    starts: jax.Array


def knowing(monkeypatch, *, until):
    def step(state, batch):
        counts = jnp.mean(batch.targets[..., -1])
        bits = jnp.where(state.step < until, 0.1, 0.2) * counts
        after = Knowing(state.step + 1, state.starts)
        return after, {"loss": bits, "bits": bits, "counts": counts}

    def init(key):
        return Knowing(jnp.zeros((), jnp.int32), jnp.zeros((2,), bool))

    made = Method(init, step, lambda *_: None, lambda state: state, None, {})
    entry = lstm_stream.ENTRY._replace(make=lambda *_, **__: made)
    monkeypatch.setitem(protocol.table.METHODS, "lstm_stream", entry)


@pytest.mark.parametrize(
    ("variant", "lengths"),
    # Steps of a sequence: N (1 + R) + 1, in windows of two.
    [("copy", [(1, 1)] * 2 + [(2, 1)] * 3 + [(3, 1)] * 4 + [(4, 1)] * 5),
     ("repeat_copy", [(1, 1)] * 2 + [(2, 1)] * 3 + [(2, 2)] * 4)],
)  # fmt: skip
def test_sequences_grow_up_to_the_longest(variant, lengths, monkeypatch):
    knowing(monkeypatch, until=1000)
    bench = protocol.prepare(run_of(variant), parallel.make_mesh())
    step = tiny.jit(protocol.one_step(bench))
    state, seen = protocol.start(bench), []
    assert bool(state.method.starts.all())
    for _ in range(30):
        seen.append((int(state.place.length), int(state.place.repeats)))
        state, _ = step(state, None)
    assert seen[: len(lengths)] == lengths
    # Nine steps are allowed: 4 vectors said once, or 2 said twice (3 twice are 10).
    assert seen[-1] == ((4, 1) if variant == "copy" else (2, 2))
    assert int(state.solved) == 4


def test_what_was_said_with_too_many_bits_is_not_solved(monkeypatch):
    knowing(monkeypatch, until=5)
    bench = protocol.prepare(run_of(), parallel.make_mesh())
    step = tiny.jit(protocol.one_step(bench))
    state = protocol.start(bench)
    for _ in range(20):
        state, told = step(state, None)
    # Five windows are two sequences: of one and of two vectors.
    assert int(state.solved) == 2 and int(state.place.length) == 3
    assert float(told["solved"]) == 2.0
    outcome = protocol.loop.Outcome(state, 20, 1.0)
    assert protocol.measures(outcome)["length"]["mean"] == 2.0


def test_a_curve_holds_where_it_rose():
    rows = [{"step": 2 * at, "solved": value} for at, value in enumerate([0, 0, 1, 3])]
    assert protocol.curve(rows) == {"steps": [0, 4, 6], "solved": [0, 1, 3]}


def test_whole_sequences_are_one_window_and_an_oracle_sees_their_end():
    whole = protocol.kind_of(run_of(data={"window": 0}), "none")
    assert (whole.window, whole.beyond) == (9, 0)
    assert protocol.kind_of(run_of(), "oracle").beyond == 5


def test_a_run_from_the_first_sequence_to_its_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    run = run_of(model={"width": 4}, stream={"target": "bootstrap"})
    result = job.main(run, tmp_path / "run", str(tmp_path / "results"))
    assert result["train_steps"] == 4
    assert result["columns"]["beyond the window"].startswith("bootstrap, λ = 0")
    assert (tmp_path / "run" / "figures" / "lengths.png").exists()
    text = report.whole(results.load([tmp_path / "results"]))
    assert "longest sequence solved" in text and "remembered, not verified" in text
    assert "solved at rest" in text
    fewer = {**result, "variant": "other", "train_steps": 2}
    fewer["columns"] = {**result["columns"], "control": "oracle"}
    (section,) = copy_report.sections([fewer, result])
    assert "4 windows unless a cell says otherwise" in section.text
    assert "(1 seed, 2 windows)" in section.text and "(1 seed)" in section.text


@tiny.float64
def test_the_probe_knows_the_gradient_that_a_cut_takes_away():
    """Of sequences that go on behind their first two windows, by back-propagation
    through all of them less that through each window alone."""
    run = run_of(
        model={"width": 3},
        stream={"target": "bootstrap", "predictor": "least_squares"},
    )
    bench = protocol.prepare(run, parallel.make_mesh())
    state = protocol.start(bench)
    place = state.place._replace(length=jnp.asarray(2))
    network = tiny.filled(1, state.method.network.params)
    design = lstm_stream.make_design(bench.settings, bench.task, steps=4)
    kind = protocol.kind_of(run, "none")._replace(beyond=9)
    cuts = probing.find_cuts(design, network, (jax.random.key(3), kind, place))
    np.testing.assert_array_equal(cuts.counts, [True, True, False, False, False])
    found = probing.pulled(design, network, cuts, cuts.true)

    def loss(params, between):
        cursor = jax.tree.map(lambda leaf: leaf[0], cuts.cursors)
        total = 0.0
        for at in range(3):
            window = jax.tree.map(lambda leaf, at=at: leaf[at], cuts.windows)
            each, cursor = lstm_stream.make_run(design, params)(cursor, window)
            cursor, total = between(cursor), total + each
        return total

    whole, parts = (
        jax.grad(loss)(network, between).core
        for between in (lambda cursor: cursor, jax.lax.stop_gradient)
    )
    missing = jax.tree.map(jnp.subtract, whole, parts)
    expected = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(missing)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.any(found)
    state = state._replace(
        place=place, method=state.method._replace(
            network=state.method.network._replace(params=network)
        ),
    )  # fmt: skip
    told = probing.make_probe(bench)(state)
    # A predictor that never learned says nothing; two streams of two bits are solved.
    assert told["learned_length"] == 0 and told["solved_cosine"] > 0.8


def test_a_memory_copies_too(tmp_path):
    run = run_of(
        data={"window": 3}, model={"width": 4, "slots": 3},
        stream={"target": "bootstrap"},
    )  # fmt: skip
    run = reader.from_mapping(
        records.Run, {**dataclasses.asdict(run), "method": "nmn_stream"}
    )
    bench = protocol.prepare(run, parallel.make_mesh())
    before = protocol.start(bench)
    state, told = tiny.jit(protocol.one_step(bench))(before, None)
    assert int(state.step) == 1 and np.isfinite(float(told["loss"]))
    rows = [
        each.network.params.cell.memory.rows for each in (before.method, state.method)
    ]
    # A sequence starts from the learned memory, so that learns.
    assert np.any(rows[0] != rows[1])


def test_whole_sequences_have_no_future():
    with pytest.raises(ValueError, match="have no future"):
        run_of(data={"window": 0}, stream={"target": "bootstrap"})


def test_what_is_solved_for_has_no_learning_rate():
    given = {"target": "bootstrap", "predictor": "least_squares"}
    run = run_of(stream=given, optim={"predictor_lr": 0.1})
    with pytest.raises(ValueError, match="predictor_lr=0.1 has no effect"):
        protocol.prepare(run, parallel.make_mesh())
