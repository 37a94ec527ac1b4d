"""Both benchmarks on two processes of two devices each: train, save, test, go on."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = (
    "--config.train.steps=4", "--config.train.log_every=1",
    "--config.train.validate_every=2", "--config.train.checkpoint_every=2",
    "--config.model.channels=2", "--config.model.layers=2",
)  # fmt: skip
# Methods that compile fast, since loop, checkpoints and evaluation know none of them.
# Numbers that no count of devices divides: what is filled up must not be counted.
COMMANDS = {
    "omniglot": (
        "--config=2way1shot", "--config.data.source=glyphs",
        "--config.method=prototype", "--config.train.episodes=4",
        "--config.train.queries=1", "--config.validate.episodes=10",
        "--config.validate.batch=5", "--config.eval.episodes=9",
        "--config.eval.batch=5", "--config.eval.queries=1",
    ),
    "rare_classes": (
        "--config=digits", "--config.method=cnn_replay", "--config.data.period=2",
        "--config.train.batch=4", "--config.validate.images=9",
    ),
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(benchmark: str, workdir: pathlib.Path, processes: int) -> dict:
    """The command in so many processes; the result that is written."""
    environment = {
        **os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"
    }  # fmt: skip
    at = f"--coordinator=127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"experiments.{benchmark}", *COMMANDS[benchmark],
             *SMALL, f"--workdir={workdir}", "--traceback",
             *([at, f"--processes={processes}", f"--process={number}"]
               if processes > 1 else [])],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for number in range(processes)
    ]  # fmt: skip
    try:
        for process in started:
            said, _ = process.communicate(timeout=300)
            assert process.returncode == 0, said
    finally:
        for process in started:
            process.kill()
    return json.loads((workdir / "result.json").read_text())


def losses(workdir: pathlib.Path) -> list[float]:
    rows = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


@pytest.mark.parametrize("benchmark", COMMANDS)
def test_two_processes_learn_what_one_does_and_go_on_from_a_checkpoint(
    benchmark, tmp_path
):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = run(benchmark, one, 1)
    together = run(benchmark, two, 2)
    assert (alone["devices"], together["devices"]) == (2, 4)
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert len(losses(two)) == 4
    counts = {name: each["n"] for name, each in together["measures"].items()}
    assert counts == {name: each["n"] for name, each in alone["measures"].items()}

    # As if it had been stopped after step 2.
    shutil.rmtree(two / "checkpoints" / "4")
    (two / "result.json").unlink()
    before = losses(two)
    resumed = run(benchmark, two, 2)
    assert resumed["state_digest"] == together["state_digest"]
    assert resumed["measures"] == together["measures"]
    assert losses(two) == before
