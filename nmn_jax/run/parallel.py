"""Many devices and many hosts: one mesh axis, the episodes.

Code is written for one device; `jit` splits the episode axis over all devices of all
hosts and adds what has to be added up. Parameters are replicated.
"""

from __future__ import annotations

import os
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
) -> bool:
    """Start `jax.distributed` where there are peers; before any other use of JAX.

    Args:
      mode: `auto` starts it if a coordinator is given or the environment names one and
        goes on alone where jax finds none; `on` insists; `off` never does.
      coordinator: `host:port` of the first process.
      processes: how many there are.
      process: the number of this one.

    Returns whether it was started.

    Raises:
      ValueError: for an unknown mode, only some of the three numbers, `on` without
        anything to start from, or peers that are there but cannot be reached.
    """
    if mode not in ("auto", "on", "off"):
        raise ValueError(f"distributed={mode!r}; choose one of 'auto', 'on', 'off'")
    given = (coordinator, processes, process)
    if None in given and given != (None, None, None):
        raise ValueError(
            f"coordinator={coordinator}, processes={processes}, process={process}: "
            "give all three, or none to have the environment asked"
        )
    found = coordinator or any(name in os.environ for name in ENVIRONMENTS)
    if mode == "off" or (mode == "auto" and not found):
        return False
    try:
        jax.distributed.initialize(*given)
    except (ValueError, RuntimeError) as error:
        if mode == "auto" and any(each in str(error) for each in ALONE):
            return False
        raise ValueError(
            f"jax.distributed could not be started: {error}. Give coordinator, "
            "processes and process, or set distributed to off to run alone"
        ) from error
    return True


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


def replicate(mesh: Mesh, tree: Any) -> Any:
    """A whole copy of every array on every device; all processes pass the same."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda leaf: _everywhere(leaf, sharding), tree)


def _everywhere(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """`device_put` onto devices of other processes, which it refuses."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        numbers = _everywhere(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))


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
