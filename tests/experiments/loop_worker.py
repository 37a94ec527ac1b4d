"""One of the processes that test_loop_processes.py starts: the loop, three times.

python loop_worker.py COORDINATOR PROCESSES PROCESS WORKDIR
"""

import json
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import loop
from nmn_jax.run import fingerprint, metrics, parallel


def initial() -> dict[str, jax.Array]:
    """As a method makes it: on this process's own device, a weak type among it."""
    return {"weights": jnp.ones(3), "key": jax.random.key(4), "best": jnp.asarray(-1.0)}


TRACES = []


@jax.jit
def advance(state: dict) -> tuple[dict, dict]:
    TRACES.append(None)
    drawn = jax.random.normal(state["key"], (3,))
    after = {**state, "weights": state["weights"] - 0.1 * drawn}
    return after, {"loss": jnp.sum(after["weights"] ** 2)}


def validate(state: dict) -> tuple[dict, dict]:
    """The best is a number made on the way, on this process's own device."""
    found = float(parallel.host_value(state["weights"]).sum())
    return {**state, "best": jnp.asarray(found)}, {"validation/score": found}


def train(workdir: pathlib.Path, steps: int) -> loop.Outcome:
    plan = loop.Plan(steps, 1, 1, 2, 2, 0.0)
    return loop.train(plan, initial(), advance, validate, workdir=workdir, identity={})


def evaluated() -> list[float]:
    """Five rows over two devices, each doubled; the sixth is thrown away."""
    mesh = parallel.make_mesh()
    rows = parallel.spread(mesh, np.arange(5.0, dtype=np.float32))
    assert not rows.is_fully_addressable and len(rows) == 6
    return parallel.host_value(jax.jit(lambda x: 2 * x)(rows))[:5].tolist()


def damaged(workdir: pathlib.Path) -> str:
    """What is said in this process once a row is lost."""
    if jax.process_index() == 0:
        path = workdir / metrics.FILE
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    parallel.everywhere(True)
    try:
        train(workdir, 6)
    except fingerprint.DamagedError as error:
        return str(error)
    return "nothing"


def main(workdir: pathlib.Path) -> None:
    """Print what one process saw."""
    first = train(workdir, 4)
    again = train(workdir, 6)
    seen = {
        "traces": len(TRACES),
        "steps": [first.step, again.step],
        "weights": parallel.host_value(again.state["weights"]).tolist(),
        "best": float(parallel.host_value(again.state["best"])),
        "evaluated": evaluated(),
        "damaged": damaged(workdir),
    }
    print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    coordinator, processes, process, workdir = sys.argv[1:]
    parallel.initialize(
        "on", coordinator=coordinator, processes=int(processes), process=int(process)
    )
    main(pathlib.Path(workdir))
