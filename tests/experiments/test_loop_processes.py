"""The loop in two processes: the same state in both, and one end where one is bad."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from nmn_jax.run import metrics

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_two(workdir: pathlib.Path) -> list[dict]:
    """What each of two processes of one device saw."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("XLA_FLAGS", None)
    worker = str(ROOT / "tests" / "experiments" / "loop_worker.py")
    address = f"127.0.0.1:{free_port()}"
    processes = [
        subprocess.Popen(
            [sys.executable, worker, address, "2", str(number), str(workdir)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    seen = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            seen.append(json.loads(out.splitlines()[-1]))
    finally:
        for process in processes:
            process.kill()
    return seen


def test_two_processes_train_save_validate_and_resume_as_one_would(tmp_path):
    """With a state that was made on each process's own device."""
    seen = run_two(tmp_path)
    drawn = np.asarray(jax.random.normal(jax.random.key(4), (3,)))
    for each in seen:
        assert each["steps"] == [4, 6]
        assert each["traces"] == 1
        np.testing.assert_allclose(each["weights"], 1 - 0.6 * drawn, rtol=1e-5)
        assert each["best"] == pytest.approx(sum(each["weights"]), rel=1e-5)
        assert each["evaluated"] == [0, 2, 4, 6, 8]
    assert "row 1 of 9 (step 1) was lost" in seen[0]["damaged"]
    assert "process 0 found it damaged" in seen[1]["damaged"]
    rows = (tmp_path / metrics.FILE).read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2, 2, 3, 4, 4, 5, 6, 6]
