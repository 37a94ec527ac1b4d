"""The training loop on a counter: order of things, resume, and what stops it."""

from __future__ import annotations

import json
import math
import shutil
import time

import jax.numpy as jnp
import pytest

from experiments.common import loop
from nmn_jax.run import checkpoint, fingerprint, lock

PLAN = loop.Plan(
    steps=12, steps_per_call=1, log_every=2, validate_every=4, checkpoint_every=3,
    minutes=0.0,
)  # fmt: skip


def step(state):
    after = state + 1
    return after, {"loss": after, "accuracy": jnp.zeros(())}


def validate(state):
    return state, {"validation/accuracy": float(state)}


def train(workdir, plan=PLAN, step=step, validate=validate):
    return loop.train(plan, jnp.zeros(()), step, validate, workdir=workdir, identity={})


def rows(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    found = map(json.loads, lines)
    return [(row["step"], row.get("loss", "validated")) for row in found]


def test_metrics_and_validations_come_in_order_of_steps(tmp_path):
    outcome = train(tmp_path)
    assert (float(outcome.state), outcome.step) == (12, 12)
    assert rows(tmp_path) == [
        (2, 2), (4, 4), (4, "validated"), (6, 6), (8, 8), (8, "validated"),
        (10, 10), (12, 12), (12, "validated"),
    ]  # fmt: skip


def test_a_crash_is_resumed_from_the_last_checkpoint(tmp_path):
    def failing(state):
        if state == 7:
            raise RuntimeError("power cut")
        return step(state)

    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, step=failing)
    seen = []

    def counted(state):
        seen.append(int(state))
        return step(state)

    outcome = train(tmp_path, step=counted)
    assert seen == list(range(6, 12))
    assert float(outcome.state) == 12
    assert rows(tmp_path)[-2:] == [(12, 12), (12, "validated")]
    assert len(set(rows(tmp_path))) == len(rows(tmp_path)) == 9


def test_a_finished_run_is_not_trained_again(tmp_path):
    train(tmp_path)
    outcome = train(tmp_path, step=None)
    assert (float(outcome.state), outcome.step) == (12, 12)


def test_whether_steps_are_left_is_read_off_the_checkpoints(tmp_path):
    assert loop.left(PLAN, tmp_path / "absent")
    train(tmp_path, PLAN._replace(minutes=1e-9))
    assert loop.left(PLAN, tmp_path)
    train(tmp_path)
    assert not loop.left(PLAN, tmp_path)
    assert loop.left(PLAN._replace(steps=13), tmp_path)


def test_out_of_time_it_still_validates(tmp_path):
    outcome = train(tmp_path, PLAN._replace(minutes=1e-9))
    assert outcome.step == 0
    assert rows(tmp_path) == [(0, "validated")]


def test_numbers_that_are_not_finite_stop_it_by_name(tmp_path):
    def broken(state):
        return state + 1, {"loss": state / 0.0, "accuracy": jnp.zeros(())}

    with pytest.raises(FloatingPointError, match=r"not finite at step 2: loss"):
        train(tmp_path, step=broken)


def burst(state):
    """Numbers that are not finite from step 5 on, in the metrics a step later."""
    after = jnp.where(state == 4, jnp.nan, state + 1)
    return after, {"loss": state}


@pytest.mark.parametrize("log_every", [1, 2, 12])
def test_no_checkpoint_holds_what_is_not_finite_however_seldom_it_is_logged(
    tmp_path, log_every
):
    plan = PLAN._replace(log_every=log_every, checkpoint_every=1, validate_every=12)
    with pytest.raises(FloatingPointError, match=r"at step 5: .*Every checkpoint was"):
        train(tmp_path, plan, burst)
    with checkpoint.Checkpoints(tmp_path / "checkpoints") as saved:
        assert saved.steps() == [3, 4]
        assert saved.restore_latest(jnp.zeros(())).state == 4


def test_metrics_between_two_logs_are_looked_at_before_a_save(tmp_path):
    def broken(state):
        return state + 1, {"loss": jnp.where(state == 2, jnp.inf, 1.0)}

    plan = PLAN._replace(log_every=12, checkpoint_every=3)
    with pytest.raises(FloatingPointError, match="at step 3: loss = inf"):
        train(tmp_path, plan, broken)


def test_periods_have_to_fit_the_calls(tmp_path):
    with pytest.raises(ValueError, match="train.log_every=2 must be a positive multip"):
        train(tmp_path, PLAN._replace(steps_per_call=3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"minutes": math.nan}, r"train.minutes=nan: give a number of minutes from 0"),
        ({"minutes": -1.0}, r"train.minutes=-1.0: give a number of minutes"),
        ({"minutes": math.inf}, r"train.minutes=inf: give a number of minutes"),
        ({"steps_per_call": -2}, r"train.steps_per_call=-2: give a number from 1 on"),
        ({"steps": 0}, r"train.steps=0: give a number from 1 on"),
        ({"log_every": -5}, r"train.log_every=-5: give a number from 1 on"),
        ({"validate_every": 0}, r"train.validate_every=0: give a number from 1 on"),
        ({"checkpoint_every": 0}, r"train.checkpoint_every=0: give a number from 1"),
    ],
)
def test_a_plan_without_sense_is_refused_before_anything_is_written(
    tmp_path, change, said
):
    with pytest.raises(ValueError, match=said):
        train(tmp_path / "run", PLAN._replace(**change))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", [None, 0])
def test_steps_of_a_call_are_chosen_by_the_backend_unless_given(given):
    plan = loop.Plan(60, given, 20, 30, 10, 0.0)
    assert loop.steps_per_call(plan, "cpu") == 1
    assert loop.steps_per_call(plan, "gpu") == 10
    assert loop.steps_per_call(plan._replace(log_every=4), "tpu") == 2
    assert loop.steps_per_call(plan._replace(steps_per_call=5), "gpu") == 5
    loop.check_plan(plan)


def test_a_call_of_several_steps_counts_them(tmp_path):
    calls = []

    def four(state):
        calls.append(int(state))
        return state + 4, {"loss": state + 4}

    plan = loop.Plan(12, 4, 4, 12, 12, 0.0)
    assert train(tmp_path, plan, four).step == 12
    assert calls == [0, 4, 8]


def test_seconds_until_the_first_step_are_told_once_there_was_one(tmp_path):
    def slow(state):
        time.sleep(0.05 if state == 0 else 0)
        return step(state)

    outcome = train(tmp_path, step=slow)
    assert outcome.first_step is not None
    assert 0.05 <= outcome.first_step <= outcome.seconds
    assert train(tmp_path).first_step is None


def test_a_state_keeps_its_types_through_training(tmp_path):
    """A weak type would have the step compiled once more."""
    weak = []

    def watched(state):
        weak.append(state.weak_type)
        return step(state)

    loop.train(
        PLAN, jnp.asarray(0.0), watched, lambda state: (jnp.asarray(float(state)), {}),
        workdir=tmp_path, identity={},
    )  # fmt: skip
    assert not any(weak)


def test_a_second_process_in_the_folder_is_refused(tmp_path):
    with lock.hold(tmp_path), pytest.raises(lock.LockedError, match="is at work there"):
        train(tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()
    train(tmp_path)


def test_checkpoints_that_were_removed_are_missed(tmp_path):
    train(tmp_path)
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(fingerprint.DamagedError, match=r"no checkpoint; .* start anew"):
        train(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    assert train(tmp_path).step == 12


def test_a_run_that_ended_before_its_first_step_starts(tmp_path):
    def failing(state):
        raise RuntimeError("power cut")

    (tmp_path / "config.json").write_text("{}")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="power cut"):
            train(tmp_path, step=failing)
    train(tmp_path)
    assert len(rows(tmp_path)) == 9


@pytest.mark.parametrize("gone", [2, 5])
def test_a_row_that_was_lost_is_missed_at_the_next_start(tmp_path, gone):
    train(tmp_path)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(
        fingerprint.DamagedError, match=rf"metrics.jsonl: row {gone + 1} of 9 \(step"
    ):
        train(tmp_path)


def test_the_progress_line_keeps_names_apart(tmp_path, capsys):
    """Of regression too, which has no accuracy."""

    def validate(state):
        return state, {"validation/accuracy": 0.5, "validation/accuracy_rare": 0.25}

    loop.train(
        PLAN, jnp.zeros(()), lambda state: (state + 1, {"loss": state}), validate,
        workdir=tmp_path, identity={},
    )  # fmt: skip
    train(tmp_path / "more", PLAN._replace(steps=16), validate=validate)
    said = capsys.readouterr().err.splitlines()[-1]
    assert "step 16/16" in said
    assert "validation/accuracy=0.5 validation/accuracy_rare=0.25" in said


def test_collapsed_slots_are_told_once_in_a_run(tmp_path):
    def collapsing(state):
        after, measured = step(state)
        return after, {**measured, "memory/spread": 1.0 * (after < 5)}

    with pytest.warns(UserWarning, match="slot collapse") as said:
        train(tmp_path, step=collapsing)
    told = [each for each in said if "slot collapse" in str(each.message)]
    assert len(told) == 1 and "at step 6" in str(told[0].message)
