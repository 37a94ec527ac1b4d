"""Many devices and many hosts: one mesh axis, the episodes.

Code is written for one device; `jit` splits the episode axis over all devices of all
hosts and adds what has to be added up. Parameters are replicated.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import jax
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


def initialize(
    mode: Literal["auto", "on", "off"] = "auto",
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
      ValueError: for an unknown mode, or `on` without anything to start from.
    """
    if mode not in ("auto", "on", "off"):
        raise ValueError(f"distributed={mode!r}; choose one of 'auto', 'on', 'off'")
    found = coordinator or any(name in os.environ for name in ENVIRONMENTS)
    if mode == "off" or (mode == "auto" and not found):
        return False
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except ValueError as error:
        # "coordinator_address should be defined": a cluster's variables, but no step.
        if mode == "auto" and coordinator is None and "coordinator" in str(error):
            return False
        raise
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
    """A whole copy of every array on every device."""
    sharding = NamedSharding(mesh, PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), tree
    )


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
