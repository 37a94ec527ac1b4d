"""One of the processes that test_parallel.py starts: a few steps of a linear model.

python distributed_worker.py COORDINATOR PROCESSES PROCESS WORKDIR STEPS
"""

import json
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from nmn_jax.run import checkpoint, metrics, parallel, preemption

ROWS = 8


def batch(step: int) -> np.ndarray:
    """The whole batch of a step, `[8, 3]`, the same in every process."""
    return np.random.default_rng(step).normal(size=(ROWS, 3)).astype(np.float32)


def initial() -> dict[str, jax.Array]:
    return {"weights": jnp.ones(3), "key": jax.random.key(4), "step": jnp.int32(0)}


@jax.jit
def advance(state: dict, rows: jax.Array) -> tuple[dict, dict]:
    """Gradient of a loss over all rows; noise from the key, the same everywhere."""
    key = jax.random.fold_in(state["key"], state["step"])
    aims = jax.random.normal(key, (ROWS,))

    def loss(weights):
        return jnp.mean((rows @ weights - aims) ** 2)

    value, slope = jax.value_and_grad(loss)(state["weights"])
    state = {
        "weights": state["weights"] - 0.1 * slope,
        "key": state["key"],
        "step": state["step"] + 1,
    }
    return state, {"loss": value}


def main(workdir: pathlib.Path, steps: int, pause: float) -> None:
    mesh = parallel.make_mesh()
    share = ROWS // jax.process_count()
    mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    state = parallel.replicate(mesh, initial())
    with (
        checkpoint.Checkpoints(workdir / "checkpoints") as saved,
        preemption.Preemption() as taken,
    ):
        restored = saved.restore_latest(state)
        state, done = (restored.state, restored.step) if restored else (state, 0)
        rows = restored.extra["rows"] if restored else None
        with metrics.Writer(workdir, resume=rows) as writer:
            for step in range(done + 1, steps + 1):
                rows = parallel.shard_batch(mesh, batch(step)[mine])
                state, measured = advance(state, rows)
                writer.write(step, metrics.host_scalars(measured))
                time.sleep(pause)
                if taken.requested(step) or step == steps:
                    saved.save(step, state, extra={"rows": writer.record()})
                    if step < steps:
                        saved.wait()
                        sys.exit(preemption.EXIT_CODE)
    weights = np.asarray(state["weights"].addressable_data(0)).tolist()
    print(json.dumps({"weights": weights, "devices": jax.device_count()}), flush=True)


if __name__ == "__main__":
    coordinator, processes, process, workdir, steps, pause = sys.argv[1:]
    parallel.initialize(
        "on", coordinator=coordinator, processes=int(processes), process=int(process)
    )
    main(pathlib.Path(workdir), int(steps), float(pause))
