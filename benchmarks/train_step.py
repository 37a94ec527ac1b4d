"""What a training step costs: synthetic gradients off, decoupled, fast and both.

    python -m benchmarks.train_step --workloads 5way1shot 20way5shot --repeats 15

One JSON line per workload and use of synthetic gradients: median milliseconds, steps/s,
images/s, the ratio to `off` (median of the ratios of neighbouring repetitions, so that
a machine whose speed drifts is no matter), the encoder's share of the step, and GFLOP/s
of the encoder's convolutions against a matrix product measured in the same run.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import dataclasses
import json
import re
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import bench as bench_lib
from experiments.omniglot import protocol, records
from nmn_jax.data import glyphs
from nmn_jax.nets import encoder as encoder_lib
from nmn_jax.run import parallel

USES = ("off", "decoupled", "fast", "both")


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call, device included."""
    begun = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - begun


def in_turn(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds `[repeats]` of every piece of work, called in turn after a warm-up."""
    for work in works.values():
        seconds(work)
        seconds(work)
    rounds = [
        {name: seconds(work) for name, work in works.items()} for _ in range(repeats)
    ]
    return {name: np.array([each[name] for each in rounds]) for name in works}


def stepper(run: records.Run, images: np.ndarray) -> Callable[[], Any]:
    """One training step after the other, as the command takes them."""
    bench = protocol.prepare(run, parallel.make_mesh())
    take = bench_lib.make_step(bench, parallel.replicate(bench.mesh, images))
    held = [protocol.start(bench)]

    def step() -> jax.Array:
        held[0], measured = take(held[0])
        return measured["loss"]

    return step


def encoder_alone(run: records.Run) -> Callable[[], Any]:
    """Forward and backward pass of the encoder on the images of one step."""
    encoder = encoder_lib.make_conv_encoder(norm="running")
    params, stats = encoder.init(jax.random.key(0))
    count = run.ways * (run.shots + run.train.queries)
    images = jax.random.uniform(jax.random.key(1), (run.train.episodes, count, 28, 28))

    @jax.jit
    def gradient(params: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            features, _ = encoder.apply(
                params, stats, images, supports=run.ways * run.shots, phase="train"
            )
            return jnp.sum(features**2)

        return jax.grad(loss)(params)

    return lambda: gradient(params)


def matrix_product(size: int = 1536) -> tuple[Callable[[], Any], float]:
    """A square float32 product and its floating-point operations."""
    matrix = jax.random.normal(jax.random.key(0), (size, size))
    multiply = jax.jit(lambda a: a @ a)
    return lambda: multiply(matrix), 2.0 * size**3


def encoder_operations(images: int) -> float:
    """Of three convolutions on 28x28: forward, and twice (the first: once) backward."""
    layers = ((28, 1, 2), (14, 64, 3), (7, 64, 3))
    each = sum(
        2 * 9 * side**2 * inputs * 64 * passes for side, inputs, passes in layers
    )
    return float(each * images)


def measure(name: str, repeats: int, images: np.ndarray) -> list[dict[str, Any]]:
    """The JSON lines of one workload."""
    match = re.fullmatch(r"(\d+)way(\d+)shot", name)
    if not match:
        raise ValueError(f"workload {name!r}; expected <N>way<S>shot, e.g. 5way1shot")
    ways, shots = map(int, match.groups())
    run = records.Run(ways=ways, shots=shots)
    product, operations = matrix_product()
    works = {
        use: stepper(dataclasses.replace(run, sg={"use": use}), images) for use in USES
    }
    works |= {"encoder": encoder_alone(run), "product": product}
    taken = in_turn(works, repeats)
    count = ways * (shots + run.train.queries) * run.train.episodes
    peak = operations / float(np.median(taken["product"])) / 1e9
    reached = encoder_operations(count) / float(np.median(taken["encoder"])) / 1e9
    return [
        {
            "benchmark": "train_step",
            "workload": name,
            "episodes": run.train.episodes,
            "images": count,
            "sg": use,
            "milliseconds": round(1e3 * float(np.median(taken[use])), 1),
            "steps_per_second": round(1 / float(np.median(taken[use])), 2),
            "images_per_second": round(count / float(np.median(taken[use]))),
            "ratio_to_off": round(float(np.median(taken[use] / taken["off"])), 3),
            "encoder_share": round(float(np.median(taken["encoder"] / taken[use])), 3),
            "encoder_gflops": round(reached, 1),
            "product_gflops": round(peak, 1),
            "repeats": repeats,
            "device": jax.devices()[0].device_kind,
        }
        for use in USES
    ]


def main() -> None:
    """Print one JSON line per workload and use."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workloads", nargs="+", default=["5way1shot", "20way5shot"])
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    images = glyphs.make(alphabets=4).images
    for name in given.workloads:
        for line in measure(name, given.repeats, images):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
