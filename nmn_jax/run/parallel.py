"""Many devices and many hosts: one mesh axis, the episodes.

Code is written for one device; `jit` splits the episode axis over all devices of all
hosts and adds what has to be added up. Parameters are replicated.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "episode"
# Set by the launchers that jax.distributed can find its peers through.
ENVIRONMENTS = (
    "SLURM_STEP_NODELIST",
    "OMPI_MCA_orte_hnp_uri",
    "JAX_COORDINATOR_ADDRESS",
    "TPU_WORKER_HOSTNAMES",
    "MEGASCALE_COORDINATOR_ADDRESS",
    "KUBERNETES_SERVICE_HOST",
)
# What jax says where such a variable is set, but this process has no peers: nothing
# was found, or the pod belongs to no job.
ALONE = ("coordinator_address should be defined", "does not have a controller")


def initialize(
    mode: str = "auto",
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    timeout: float = 300.0,
) -> bool:
    """Start `jax.distributed` where there are peers; before any other use of JAX.

    Args:
      mode: `auto` starts it if a coordinator is given or the environment names one and
        goes on alone where jax finds none; `on` insists; `off` never does.
      coordinator: `host:port` of the first process.
      processes: how many there are.
      process: the number of this one.
      timeout: seconds within which all processes have to be there.

    Returns whether it was started.

    Raises:
      ValueError: for an unknown mode, only some of the three numbers, an address
        without a port, `on` without anything to start from, peers that cannot be
        reached in time, or a JAX_PLATFORMS that this machine does not have.
    """
    if mode not in ("auto", "on", "off"):
        raise ValueError(f"distributed={mode!r}; choose one of 'auto', 'on', 'off'")
    given = (coordinator, processes, process)
    _check_peers(*given)
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout={timeout}: give a positive number of seconds")
    found = coordinator or any(name in os.environ for name in ENVIRONMENTS)
    started = mode == "on" or (mode == "auto" and bool(found))
    if started:
        started = _start(mode, given, timeout)
    check_backend()
    return started


def check_backend() -> None:
    """Start the devices that JAX_PLATFORMS asks for.

    Raises:
      ValueError: if there are none, with the variable's value.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        chosen = os.environ.get("JAX_PLATFORMS", "")
        cause = (str(error) or "no such device here").splitlines()[0]
        raise ValueError(
            f"JAX_PLATFORMS={chosen!r}: jax could not start it ({cause}); unset the "
            "variable to take what is there, or set it to cpu"
        ) from error


def _check_peers(
    coordinator: str | None, processes: int | None, process: int | None
) -> None:
    if coordinator is None and processes is None and process is None:
        return
    listed = f"coordinator={coordinator}, processes={processes}, process={process}"
    if coordinator is None or processes is None or process is None:
        raise ValueError(
            f"{listed}: give all three, or none to have the environment asked"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(
            f"coordinator={coordinator!r}: give host:port of process 0, such as "
            "10.0.0.1:8476"
        )
    if not 0 <= process < processes:
        raise ValueError(f"{listed}: processes are numbered from 0 to processes - 1")


def _start(
    mode: str, given: tuple[str | None, int | None, int | None], timeout: float
) -> bool:
    try:
        _in_time(lambda limit: _connect(*given, limit), timeout)
    except TimeoutError as error:
        where = given[0] or "that the environment names"
        raise ValueError(
            f"the processes of this job did not meet at the coordinator {where} within "
            f"{timeout:g} s; start all of them, check the address, or give more time"
        ) from error
    except (ValueError, RuntimeError) as error:
        if mode == "auto" and any(each in str(error) for each in ALONE):
            return False
        raise ValueError(
            f"jax.distributed could not be started: {error}. Give coordinator, "
            "processes and process, or set distributed to off to run alone"
        ) from error
    return True


def _connect(
    coordinator: str | None, processes: int | None, process: int | None, limit: int
) -> None:
    jax.distributed.initialize(
        coordinator, processes, process, initialization_timeout=limit
    )


def _in_time(action: Callable[[int], None], seconds: float) -> None:
    """Run `action(limit)` in a thread: past its limit jax ends the whole process.

    Raises:
      TimeoutError: after `seconds`; else what the action raised.
    """
    ended, raised = threading.Event(), []

    def run() -> None:
        try:
            action(math.ceil(seconds) + 3600)
        except Exception as error:
            raised.append(error)
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    if not ended.wait(seconds):
        raise TimeoutError
    if raised:
        raise raised[0]


def make_mesh() -> Mesh:
    """All devices of all processes along the episode axis."""
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=auto)


def episode_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def check_divisible(mesh: Mesh, episodes: int) -> None:
    """Raises ValueError unless the episodes can be shared out evenly."""
    devices = mesh.shape[AXIS]
    if episodes % devices:
        raise ValueError(
            f"{episodes} episodes cannot be shared out evenly among {devices} devices; "
            f"choose a multiple of {devices}"
        )


def pad_to_devices(mesh: Mesh, count: int) -> int:
    """The least multiple of the mesh's devices that holds `count` episodes."""
    devices = mesh.shape[AXIS]
    return -(-count // devices) * devices


def replicate(mesh: Mesh, tree: Any) -> Any:
    """A whole copy of every array on every device; all processes pass the same."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _placed(leaf, sharding), tree)


def settle(tree: Any) -> Any:
    """The state as it can be saved and stepped: global arrays without weak types.

    What lies on the devices of one process only (a number made on the way) is copied
    to all devices of all processes, which have to hold the same; an array of a weak
    type would have the step compiled once more.
    """
    alone = jax.process_count() == 1
    everywhere = None if alone else NamedSharding(make_mesh(), PartitionSpec())

    def settled(leaf: Any) -> jax.Array:
        if getattr(leaf, "weak_type", True):
            leaf = jnp.asarray(leaf, jnp.result_type(leaf))
        if everywhere is not None and leaf.is_fully_addressable:
            return _placed(leaf, everywhere)
        return leaf

    return jax.tree.map(settled, tree)


def spread(mesh: Mesh, tree: Any) -> Any:
    """Split the leading axis over all devices; every process passes the whole.

    An axis that cannot be split evenly is filled up with its last row: what is
    computed from row `n` on, for the `n` rows given, is to be thrown away.

    Args:
      tree: arrays of one leading size, typed keys included.
    """
    sharding = episode_sharding(mesh)

    def place(leaf: Any) -> jax.Array:
        more = pad_to_devices(mesh, len(leaf)) - len(leaf)
        rows = np.minimum(np.arange(len(leaf) + more), len(leaf) - 1)
        return _placed(leaf[rows] if more else leaf, sharding)

    return jax.tree.map(place, tree)


def host_value(tree: Any) -> Any:
    """Arrays as NumPy arrays, whole in every process, however they are placed.

    All processes have to call it, since parts may lie on devices of another one.
    """
    return jax.tree.map(_host_value, tree)


def _host_value(leaf: Any) -> np.ndarray:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        return np.asarray(leaf.addressable_data(0))
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


def everywhere(true_here: bool) -> bool:
    """Whether it is true in every process; also a barrier."""
    if jax.process_count() == 1:
        return true_here
    from jax.experimental import multihost_utils

    return bool(np.all(multihost_utils.process_allgather(np.asarray(true_here))))


def _placed(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """`device_put` of a whole onto devices of other processes too, which it refuses."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        numbers = _placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(whole.shape, sharding, lambda at: whole[at])


def shard_batch(mesh: Mesh, tree: Any) -> Any:
    """Split the leading axis of every array over the devices.

    Every process passes its own share of the batch.

    Raises:
      ValueError: if the global batch cannot be split evenly.
    """
    sharding = episode_sharding(mesh)

    def place(leaf: Any) -> jax.Array:
        check_divisible(mesh, len(leaf) * jax.process_count())
        return jax.make_array_from_process_local_data(sharding, leaf)

    return jax.tree.map(place, tree)


def is_main_process() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0
