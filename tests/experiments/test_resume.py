"""A run that is killed at any moment goes on, and ends as if it had not been."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from nmn_jax.run import lock, preemption

ROOT = pathlib.Path(__file__).resolve().parents[2]
# More kills by `NMN_KILLS=20 pytest tests/experiments/test_resume.py`.
KILLS = int(os.environ.get("NMN_KILLS", "2"))
TINY = [
    "--config.model.channels=4", "--config.model.width=16",
    "--config.model.key_width=8", "--config.train.steps=200",
    "--config.train.episodes=4", "--config.train.queries=1",
    "--config.train.log_every=20", "--config.train.validate_every=100",
    "--config.train.checkpoint_every=20", "--config.eval.episodes=20",
    "--config.eval.queries=1", "--config.validate.episodes=20",
    "--config.validate.queries=1",
]  # fmt: skip


def start(workdir: pathlib.Path, *more: str) -> subprocess.Popen:
    """The main job, in an environment without this suite's made-up devices."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NMN_CPU_TUNING": "off"}
    environment.pop("XLA_FLAGS", None)
    command = [sys.executable, "-m", "experiments.omniglot", *TINY]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}", *more], cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(workdir: pathlib.Path) -> tuple[dict, list[dict]]:
    """Run to the end; the result and the rows of the metrics."""
    process = start(workdir)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    rows = (workdir / "metrics.jsonl").read_text().splitlines()
    return json.loads((workdir / "result.json").read_text()), [
        {k: v for k, v in json.loads(row).items() if k != "time"} for row in rows
    ]


def wait_for(workdir: pathlib.Path, process: subprocess.Popen) -> None:
    """Until there is a checkpoint of a step; the one before the first comes earlier."""
    while process.poll() is None and not list(workdir.glob("checkpoints/[1-9]*")):
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed_place(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def undisturbed(undisturbed_place) -> tuple[dict, list[dict]]:
    return finish(undisturbed_place)


def test_killed_at_random_moments_it_ends_the_same_to_the_bit(undisturbed, tmp_path):
    moments = random.Random(0)
    for _ in range(KILLS):
        process = start(tmp_path)
        wait_for(tmp_path, process)
        time.sleep(moments.uniform(0.0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    result, rows = finish(tmp_path)
    assert result["state_digest"] == undisturbed[0]["state_digest"]
    assert result["measures"] == undisturbed[0]["measures"]
    assert rows == undisturbed[1]


def test_asked_to_go_it_saves_and_says_so(undisturbed, tmp_path):
    process = start(tmp_path)
    wait_for(tmp_path, process)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == preemption.EXIT_CODE
    result, _ = finish(tmp_path)
    assert result["state_digest"] == undisturbed[0]["state_digest"]


def test_another_config_in_the_same_place_is_refused(undisturbed, undisturbed_place):
    del undisturbed
    process = start(undisturbed_place, "--config.model.width=32")
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "run of another config" in said
    assert "config.model.width: 16 there, 32 asked for" in said


def test_a_lost_row_and_a_second_process_are_one_line_each(
    undisturbed, undisturbed_place
):
    del undisturbed
    with lock.hold(undisturbed_place):
        said, _ = start(undisturbed_place).communicate(timeout=120)
    assert [line for line in said.splitlines() if line.startswith("error: ")] == [
        said.splitlines()[-1]
    ]
    assert f"process {os.getpid()} of" in said and "is at work there" in said
    path = undisturbed_place / "metrics.jsonl"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[1:]))
    said, _ = start(undisturbed_place).communicate(timeout=120)
    path.write_text(whole)
    last = said.splitlines()[-1]
    assert last.startswith("error: ") and "row 1 of 12 (step 20) was lost" in last
