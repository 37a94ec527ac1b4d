"""Numbers on their way out: rows, events, the progress line, the alarm."""

import io
import json
import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from nmn_jax.run import fingerprint, metrics


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


def write_rows(path, count=5, note=3) -> dict:
    """Rows of steps 1 to `count`; what was noted of them after `note`."""
    with metrics.Writer(path) as writer:
        for step in range(1, count + 1):
            writer.write(step, {"loss": float(step)})
            if step == note:
                noted = json.loads(json.dumps(writer.record()))
    return noted


def test_after_a_resume_the_file_reads_as_if_never_interrupted(tmp_path):
    noted = write_rows(tmp_path)
    with (tmp_path / metrics.FILE).open("a") as file:
        file.write('{"step": 6, "lo')
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with metrics.Writer(tmp_path, resume=noted) as writer:
            writer.write(4, {"loss": 40.0})
    found = [(row["step"], row["loss"]) for row in read(tmp_path)]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    assert writer.record()["steps"] == [1, 2, 3, 4]


DOUBLED = [0, 1, 1, 2, 3, 4]
SWAPPED = [0, 2, 1, 3, 4]


@pytest.mark.parametrize("order", [DOUBLED, SWAPPED, [0, 3, 1, 2]])
def test_rows_that_are_all_there_are_put_in_order_and_it_is_said(tmp_path, order):
    noted = write_rows(tmp_path)
    path = tmp_path / metrics.FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[place] for place in order))
    with pytest.warns(UserWarning, match=r"metrics.jsonl: row [23] \(step \d\) is dou"):
        metrics.Writer(tmp_path, resume=noted).close()
    assert path.read_text() == "".join(lines[:3])


def lose(lines):
    return lines[:1] + lines[2:]


def alter(lines):
    return [lines[0], lines[1].replace("2.0", "7.0"), *lines[2:]]


def tear(lines):
    return [lines[0], lines[1][:9]]


def garble(lines):
    return [lines[0], "\0" * len(lines[1]), *lines[2:]]


@pytest.mark.parametrize("damage", [lose, alter, tear, garble])
def test_a_row_that_is_not_there_as_written_is_an_error(tmp_path, damage):
    noted = write_rows(tmp_path)
    path = tmp_path / metrics.FILE
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    before = path.read_bytes()
    with pytest.raises(fingerprint.DamagedError) as said:
        metrics.Writer(tmp_path, resume=noted)
    assert f"{path}: row 2 of 3 (step 2) was lost or altered" in str(said.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_text("")])
def test_a_file_that_is_gone_or_empty_is_an_error(tmp_path, damage):
    noted = write_rows(tmp_path)
    damage(tmp_path / metrics.FILE)
    with pytest.raises(fingerprint.DamagedError, match=r"row 1 of 3 .* is missing sin"):
        metrics.Writer(tmp_path, resume=noted)


def test_a_resume_before_the_first_row_needs_none(tmp_path):
    metrics.Writer(tmp_path, resume=metrics.Writer(tmp_path).record()).close()
    assert read(tmp_path) == []


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
    half = {"half": jnp.array([1, jnp.inf], jnp.bfloat16), "host": np.array(np.nan)}
    assert metrics.nonfinite_leaves(half) == ["half", "host"]
    metrics.check_finite_tree({"best": jnp.float32(-jnp.inf)}, step=1)


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


def test_names_are_whole_and_a_line_never_wraps(monkeypatch):
    shown = {"validation/accuracy": 0.5, "validation/rare_accuracy": 0.25}
    plain, terminal = io.StringIO(), Terminal()
    metrics.Progress(1, out=plain).update(1, **shown)
    assert "validation/accuracy=0.5 validation/rare_accuracy=0.25" in plain.getvalue()
    monkeypatch.setenv("COLUMNS", "70")
    metrics.Progress(1, out=terminal).update(1, **shown)
    (line,) = terminal.getvalue().removeprefix("\r\x1b[K").splitlines()
    assert line.endswith("validation/accuracy=0.5") and len(line) < 70
