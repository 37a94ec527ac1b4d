"""One mesh axis: eight made-up devices here, and two real processes on this machine."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run import distributed_worker

from nmn_jax.run import parallel, preemption

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_mesh_has_all_devices_on_one_automatic_axis():
    mesh = parallel.make_mesh()
    assert dict(mesh.shape) == {"episode": 8}
    assert mesh.axis_types == (jax.sharding.AxisType.Auto,)
    assert parallel.is_main_process()


def test_gradients_on_eight_devices_are_those_of_one():
    mesh = parallel.make_mesh()
    state = distributed_worker.initial()
    rows = distributed_worker.batch(1)
    alone, _ = distributed_worker.advance(state, rows)
    spread, _ = distributed_worker.advance(
        parallel.replicate(mesh, state), parallel.shard_batch(mesh, rows)
    )
    assert spread["weights"].sharding.is_fully_replicated
    np.testing.assert_allclose(spread["weights"], alone["weights"], rtol=1e-6)


def test_a_batch_is_split_and_a_state_is_copied():
    mesh = parallel.make_mesh()
    tree = {"x": jnp.arange(32.0).reshape(16, 2), "y": np.arange(8)}
    split = parallel.shard_batch(mesh, tree)
    assert {s.data.shape for s in split["x"].addressable_shards} == {(2, 2)}
    np.testing.assert_array_equal(split["y"], tree["y"])
    copied = parallel.replicate(mesh, {"key": jax.random.key(3), "x": tree["x"]})
    assert {s.data.shape for s in copied["x"].addressable_shards} == {(16, 2)}
    assert (jax.random.bits(copied["key"]) == jax.random.bits(jax.random.key(3))).all()


def test_what_cannot_be_shared_out_evenly_is_an_error_with_both_numbers():
    mesh = parallel.make_mesh()
    parallel.check_divisible(mesh, 16)
    with pytest.raises(ValueError, match=r"12 episodes .* 8 devices; .* multiple of 8"):
        parallel.check_divisible(mesh, 12)
    with pytest.raises(ValueError, match="12 episodes"):
        parallel.shard_batch(mesh, np.ones((12, 2)))


@pytest.mark.parametrize(("count", "padded"), [(0, 0), (1, 8), (8, 8), (9, 16)])
def test_a_count_is_rounded_up_to_the_devices(count, padded):
    assert parallel.pad_to_devices(parallel.make_mesh(), count) == padded


def test_rows_are_spread_over_all_devices_and_filled_up_with_the_last():
    mesh = parallel.make_mesh()
    tree = {"x": np.arange(20.0).reshape(10, 2), "key": jax.random.split(
        jax.random.key(1), 10)}  # fmt: skip
    split = parallel.spread(mesh, tree)
    assert {s.data.shape for s in split["x"].addressable_shards} == {(2, 2)}
    assert len(split["key"].sharding.device_set) == 8
    whole = parallel.host_value(split["x"])
    np.testing.assert_array_equal(whole[:10], tree["x"])
    np.testing.assert_array_equal(whole[10:], np.tile(tree["x"][9], (6, 1)))
    bits = jax.vmap(jax.random.bits)
    assert (bits(split["key"])[:10] == bits(tree["key"])).all()


def test_a_settled_state_has_no_weak_types_and_keeps_its_place():
    mesh = parallel.make_mesh()
    whole = parallel.replicate(mesh, jnp.ones(3))
    state = {"best": jnp.asarray(-1.0), "whole": whole, "key": jax.random.key(0)}
    assert state["best"].weak_type
    settled = parallel.settle(state)
    assert not settled["best"].weak_type and settled["best"] == -1.0
    assert settled["whole"] is whole and settled["key"] is state["key"]


@pytest.fixture
def no_cluster(monkeypatch):
    for name in parallel.ENVIRONMENTS:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_cluster")
def test_without_peers_one_process_goes_on_alone(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("jax.distributed was started")

    monkeypatch.setattr("jax.distributed.initialize", refuse)
    assert not parallel.initialize()
    assert not parallel.initialize("off", coordinator="h:1", processes=2, process=0)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("message", parallel.ALONE)
def test_a_cluster_that_has_no_step_for_this_process_means_alone(monkeypatch, message):
    def find_nothing(*_, **__):
        raise ValueError(f"pod x {message}.")

    monkeypatch.setattr("jax.distributed.initialize", find_nothing)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert not parallel.initialize("auto")
    with pytest.raises(ValueError, match="could not be started: pod x"):
        parallel.initialize("on")


@pytest.mark.usefixtures("no_cluster")
def test_peers_that_cannot_be_reached_are_an_error(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Kubernetes API Error: 403")

    monkeypatch.setattr("jax.distributed.initialize", fail)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(ValueError, match=r"API Error: 403\. .* distributed to off"):
        parallel.initialize()
    with pytest.raises(ValueError, match="'yes'; choose one of"):
        parallel.initialize("yes")
    with pytest.raises(ValueError, match="processes=None, process=1: give all three"):
        parallel.initialize(coordinator="h:1", process=1)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize("address", ["here", "here:", ":80", "here:x", "here:70000"])
def test_an_address_without_a_port_is_refused_at_once(address):
    with pytest.raises(ValueError, match=f"coordinator='{address}': give host:port"):
        parallel.initialize(coordinator=address, processes=2, process=1)


@pytest.mark.usefixtures("no_cluster")
def test_numbers_of_processes_have_to_fit():
    with pytest.raises(ValueError, match=r"process=2: processes are numbered from 0"):
        parallel.initialize(coordinator="here:80", processes=2, process=2)
    with pytest.raises(ValueError, match="timeout=nan: give a positive number"):
        parallel.initialize(timeout=float("nan"))


LONELY = """
import sys
from nmn_jax.run import parallel
try:
    parallel.initialize(
        coordinator=sys.argv[1], processes=2, process=int(sys.argv[2]), timeout=0.5
    )
except ValueError as error:
    sys.exit(f"error: {error}")
"""


def said_alone(program: str, *arguments: str, **environment: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    return ran.stderr.splitlines()


def test_a_coordinator_that_is_not_there_is_one_line_after_the_time_given():
    address = f"127.0.0.1:{free_port()}"
    (line,) = said_alone(LONELY, address, "1")
    assert line.startswith(
        "error: the processes of this job did not meet at the coordinator "
        f"{address} within 0.5 s;"
    )


def test_a_backend_that_is_not_there_is_one_line():
    program = (
        "import sys\nfrom nmn_jax.run import parallel\ntry:\n    parallel.initialize()"
        "\nexcept ValueError as error:\n    sys.exit(f'error: {error}')"
    )
    (line,) = said_alone(program, JAX_PLATFORMS="abacus")
    assert line.startswith("error: JAX_PLATFORMS='abacus': jax could not start it (")
    assert line.endswith("or set it to cpu")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two(workdir: pathlib.Path, steps: int, pause: float) -> list:
    """Two processes of one device each, met at a free port of this machine."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("XLA_FLAGS", None)
    at = f"127.0.0.1:{free_port()}"
    worker = str(ROOT / "tests" / "run" / "distributed_worker.py")
    return [
        subprocess.Popen(
            [sys.executable, worker, at, "2", str(i), str(workdir), str(steps),
             str(pause)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for i in range(2)
    ]  # fmt: skip


def finish(processes: list, code: int) -> list[str]:
    outputs = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, err
        outputs.append(out)
    return outputs


def wait_for_rows(path: pathlib.Path, processes: list) -> None:
    while not (path.exists() and path.read_text().count("\n") > 3):
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, ended[0].communicate()
        time.sleep(0.02)


def test_two_processes_are_preempted_at_one_step_and_end_as_one_would(tmp_path):
    """SIGTERM reaches one of them; both save the same step, and resume together."""
    steps = 2000
    processes = start_two(tmp_path, steps, 0.01)
    try:
        wait_for_rows(tmp_path / "metrics.jsonl", processes)
        processes[1].send_signal(signal.SIGTERM)
        finish(processes, preemption.EXIT_CODE)
        kept = [path.name for path in (tmp_path / "checkpoints").iterdir()]
        assert len(kept) == 1
        at = int(kept[0])
        assert 0 < at < steps

        last = at + 5
        processes = start_two(tmp_path, last, 0.0)
        said = finish(processes, 0)
    finally:
        for process in processes:
            process.kill()

    state = distributed_worker.initial()
    for step in range(1, last + 1):
        state, _ = distributed_worker.advance(state, distributed_worker.batch(step))
    first, second = (json.loads(each.splitlines()[-1]) for each in said)
    assert first == second
    assert first["devices"] == 2
    np.testing.assert_allclose(first["weights"], state["weights"], rtol=1e-4)
    rows = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == list(range(1, last + 1))
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
