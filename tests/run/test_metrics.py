"""Numbers on their way out: rows, events, the progress line, the alarm."""

import io
import json
import math

import jax.numpy as jnp
import pytest

from nmn_jax.run import metrics


def read(path) -> list[dict]:
    return [json.loads(row) for row in (path / metrics.FILE).read_text().splitlines()]


def test_rows_are_json_also_where_numbers_are_not_finite(tmp_path):
    with metrics.Writer(tmp_path / "run") as writer:
        writer.write(1, {"loss": 0.5, "ratio": math.nan, "norm": math.inf})
    text = (tmp_path / "run" / metrics.FILE).read_text()
    refuse = pytest.fail
    row = json.loads(text, parse_constant=refuse)
    assert {k: v for k, v in row.items() if k != "time"} == {
        "step": 1, "loss": 0.5, "ratio": "nan", "norm": "inf"
    }  # fmt: skip
    assert len(list((tmp_path / "run").glob("events.*"))) == 1


def test_after_a_resume_the_file_reads_as_if_never_interrupted(tmp_path):
    with metrics.Writer(tmp_path) as writer:
        for step in range(1, 6):
            writer.write(step, {"loss": float(step)})
    with (tmp_path / metrics.FILE).open("a") as file:
        file.write('{"step": 6, "lo')
    with metrics.Writer(tmp_path, resume_step=3) as writer:
        writer.write(4, {"loss": 40.0})
    found = [(row["step"], row["loss"]) for row in read(tmp_path)]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]


def test_rows_that_cannot_be_read_are_dropped(tmp_path):
    rows = ['{"step": 1, "a": 1.0}', "\0\0\0", '{"a": 1}', "7", '{"step": 2, "a": 2.0}']
    (tmp_path / metrics.FILE).write_text("\n".join(rows) + "\n")
    metrics.Writer(tmp_path, resume_step=5).close()
    assert [row["step"] for row in read(tmp_path)] == [1, 2]


def test_a_run_made_anew_starts_an_empty_file(tmp_path):
    with metrics.Writer(tmp_path) as writer:
        writer.write(1, {"loss": 1.0})
    with metrics.Writer(tmp_path) as writer:
        writer.write(0, {"loss": 2.0})
    assert [row["loss"] for row in read(tmp_path)] == [2.0]


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    out = io.StringIO()
    with metrics.Writer(tmp_path) as writer:
        writer.write(1, {"loss": 1.0})
    metrics.Progress(1, out=out).update(1)
    assert list(tmp_path.iterdir()) == []
    assert out.getvalue() == ""


def test_arrays_become_floats_and_vectors_one_number_per_entry():
    found = metrics.host_scalars(
        {"loss": jnp.float32(0.5), "share": jnp.array([0.25, 0.75]), "n": 3}
    )
    assert found == {"loss": 0.5, "share/0": 0.25, "share/1": 0.75, "n": 3.0}
    with pytest.raises(ValueError, match=r"metric grid has shape \(2, 2\)"):
        metrics.host_scalars({"grid": jnp.ones((2, 2))})


def test_the_alarm_names_metric_leaf_and_step():
    state = {"encoder": {"kernel": jnp.array([1.0, jnp.nan])}, "count": jnp.arange(2)}
    metrics.check_finite({"loss": 1.0}, step=3, state=state)
    with pytest.raises(FloatingPointError) as said:
        metrics.check_finite({"loss": math.nan, "a": 1.0}, step=12, state=state)
    assert "step 12: loss = nan; leaves with such values: encoder.kernel" in str(
        said.value
    )
    with pytest.raises(FloatingPointError, match=r"step 4: encoder\.kernel$"):
        metrics.check_finite_tree(state, step=4)
    metrics.check_finite_tree({"half": jnp.ones(2, jnp.bfloat16)}, step=1)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_progress_line_tells_rate_and_time_left(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    out = io.StringIO()
    progress = metrics.Progress(7300, start=100, every=10.0, out=out)
    progress.update(100)
    for clock.now, step in [(5.0, 110), (10.0, 120), (19.0, 150), (20.0, 7300)]:
        progress.update(step, loss=0.123456)
    lines = out.getvalue().splitlines()
    assert lines[0] == "step 100/7300 0.00 it/s eta --:--:--"
    # 20 steps in 10 s leave 7180 steps, 3590 s.
    assert lines[1] == "step 120/7300 2.00 it/s eta 00:59:50 loss=0.1235"
    assert lines[2] == "step 7300/7300 360.00 it/s eta 00:00:00 loss=0.1235"
    assert len(lines) == 3


def test_long_runs_show_more_than_a_day(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    out = io.StringIO()
    progress = metrics.Progress(100_000, out=out)
    clock.now = 10.0
    progress.update(10)
    assert "eta 27:46:30" in out.getvalue()


def test_on_a_terminal_one_line_is_rewritten(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    out = Terminal()
    progress = metrics.Progress(3, out=out)
    for clock.now, step in [(1.0, 1), (1.1, 2), (2.0, 3)]:
        progress.update(step)
    assert out.getvalue().count("\r\x1b[K") == 2
    assert out.getvalue().count("\n") == 1
