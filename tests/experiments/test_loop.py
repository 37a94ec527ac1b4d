"""The training loop on a counter: order of things, resume, and what stops it."""

from __future__ import annotations

import json

import jax.numpy as jnp
import pytest

from experiments.common import loop

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


def test_out_of_time_it_still_validates(tmp_path):
    outcome = train(tmp_path, PLAN._replace(minutes=1e-9))
    assert outcome.step == 0
    assert rows(tmp_path) == [(0, "validated")]


def test_numbers_that_are_not_finite_stop_it_by_name(tmp_path):
    def broken(state):
        return state + 1, {"loss": state / 0.0, "accuracy": jnp.zeros(())}

    with pytest.raises(FloatingPointError, match=r"not finite at step 2: loss"):
        train(tmp_path, step=broken)


def test_periods_have_to_fit_the_calls(tmp_path):
    with pytest.raises(ValueError, match="train.log_every=2 must be a positive multip"):
        train(tmp_path, PLAN._replace(steps_per_call=3))


def test_collapsed_slots_are_told_once_in_a_run(tmp_path):
    def collapsing(state):
        after, measured = step(state)
        return after, {**measured, "memory/spread": 1.0 * (after < 5)}

    with pytest.warns(UserWarning, match="slot collapse") as said:
        train(tmp_path, step=collapsing)
    told = [each for each in said if "slot collapse" in str(each.message)]
    assert len(told) == 1 and "at step 6" in str(told[0].message)
