"""A new method is one file (`echo.py`) and one line in the table; nothing else."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from experiments import report
from experiments.common import results
from experiments.omniglot import __main__ as omniglot
from experiments.omniglot import records
from nmn_jax.methods import table
from tests.methods import echo

RUN = {
    "method": "echo",
    "ways": 3,
    "data": records.Data(source="glyphs"),
    "train": records.Train(
        steps=4, episodes=8, log_every=1, validate_every=2, checkpoint_every=2
    ),
    "validate": records.Validate(episodes=8, queries=1, batch=8),
    "eval": records.Evaluate(episodes=8, queries=1, batch=8),
}


@pytest.fixture
def with_the_line(monkeypatch):
    """The line in the table."""
    monkeypatch.setitem(table.METHODS, "echo", echo.ENTRY)


def test_it_trains_is_tested_drawn_and_tabled(with_the_line, tmp_path):
    run = records.Run(**RUN)
    written = omniglot.main(run, tmp_path / "run", str(tmp_path / "results"))
    found = results.load([tmp_path / "results"])
    assert [each["columns"]["method"] for each in found] == ["echo"]
    assert written["measures"]["accuracy"]["n"] == 8
    assert {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows][-1] == 4
    assert "echo" in report.whole(found)


def test_it_answers_with_its_input(with_the_line):
    task = omniglot.protocol.prepare(records.Run(**RUN), _one_device()).task
    method = table.entry("echo", form="episodes").make(None, task, steps=1)
    queries = np.random.default_rng(0).normal(size=(2, 5, 28, 28)).astype(np.float32)
    state = method.init(jax.random.key(0))
    answer = method.predict(state, None, queries)
    np.testing.assert_array_equal(answer.output, queries[:, :, 0, :3])


def _one_device():
    return jax.sharding.Mesh(jax.devices()[:1], ("episode",))


def test_without_the_line_it_is_unknown_and_those_there_are_are_named():
    with pytest.raises(ValueError, match=r"'echo'.*nmn.*prototype"):
        table.entry("echo", form="episodes")
