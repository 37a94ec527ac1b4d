"""Two processes never work in one folder, and a dead one never holds it."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from nmn_jax.run import lock

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOLDING = """
import sys, time
from nmn_jax.run import lock
with lock.hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_until_the_first_is_dead(tmp_path):
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(
                lock.LockedError, match=rf"process {first.pid} of .* is at w"
            ),
            lock.hold(tmp_path),
        ):
            pass
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    with lock.hold(tmp_path):
        assert f"process {os.getpid()} of" in (tmp_path / lock.FILE).read_text()


def test_it_ends_with_the_block_also_by_an_error(tmp_path):
    with pytest.raises(KeyError), lock.hold(tmp_path):
        raise KeyError
    with lock.hold(tmp_path), pytest.raises(lock.LockedError), lock.hold(tmp_path):
        pass
    with lock.hold(tmp_path):
        pass


def test_of_one_job_only_the_first_process_locks(tmp_path, monkeypatch):
    with lock.hold(tmp_path):
        monkeypatch.setattr("jax.process_index", lambda: 1)
        with lock.hold(tmp_path):
            pass


def test_the_others_end_with_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    monkeypatch.setattr("nmn_jax.run.parallel.everywhere", lambda true_here: False)
    with pytest.raises(lock.LockedError, match="process 0 found another job"):
        lock.hold(tmp_path).__enter__()


def test_without_locks_it_goes_on_and_says_so(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(lock._UNSUPPORTED[0], "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.warns(UserWarning, match="has no locks"), lock.hold(tmp_path):
        pass
