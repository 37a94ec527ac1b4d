"""The paper's encoder, forward and backward: the naive way and ours, in turn.

    python -m benchmarks.encoder --images 20 40 100 --repeats 15
    python -m benchmarks.encoder --formulations naive tiled windows-bfloat16

Everything is measured twice: in a process as it starts by itself, where the naive way
lives, and with the settings of experiments/common/runtime.py, which hasten the naive
way too. One JSON line per setting, number of images and formulation: median
milliseconds of a pass (gradient for all parameters; float32, but for the products of
formulations in bfloat16), the ratio this / the fastest float32, the ratio naive / this
(median of the ratios of neighbouring repetitions), the same ratio of processor time
(which other work on the machine disturbs less), images/s, GFLOP/s of the plain
convolution sums against a matrix product measured in the same run, and the largest
relative difference of any gradient from the naive one in float64: of rounding alone,
or of products in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import train_step
from experiments.common import runtime
from nmn_jax.data import glyphs
from nmn_jax.nets import encoder as encoder_lib

EPISODES, SUPPORTS = 16, 5
Encode = Callable[[Any, jax.Array], jax.Array]


class Taken(NamedTuple):
    """Seconds `[repeats]` on the clock and of the processors."""

    wall: np.ndarray
    processor: np.ndarray


def naive(params: Any, images: jax.Array) -> jax.Array:
    """The encoder as one would write it: two-pass norm, ReLU, then the pooling."""
    lead = images.shape[:2]
    features = images.reshape(-1, *images.shape[2:], 1)
    for block in params:
        values = jax.lax.conv_general_dilated(
            features, block.kernel, (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        values = values.reshape(*lead, *values.shape[1:])
        counted = values[:, :SUPPORTS]
        mean = counted.mean((1, 2, 3), keepdims=True)
        variance = jnp.square(counted - mean).mean((1, 2, 3), keepdims=True)
        values = (values - mean) / jnp.sqrt(variance + encoder_lib.EPSILON)
        values = jax.nn.relu(values * block.gain + block.bias)
        features = jax.lax.reduce_window(
            values.reshape(-1, *values.shape[2:]), -jnp.inf, jax.lax.max,
            (1, 2, 2, 1), (1, 2, 2, 1), "VALID",
        )  # fmt: skip
    return features.reshape(*lead, -1)


def formulations() -> dict[str, Encode]:
    """The naive encoder and ours in every formulation of every precision."""

    def encode(
        encoder: encoder_lib.Encoder, params: Any, images: jax.Array
    ) -> jax.Array:
        return encoder.apply(params, (), images, supports=SUPPORTS, phase="train")[0]

    ours = {
        f"{name}{'' if precision == 'float32' else f'-{precision}'}": partial(
            encode, encoder_lib.make_conv_encoder(formulation=formulation)
        )
        for precision, known in encoder_lib.FORMULATIONS.items()
        for name, formulation in known.items()
    }
    return {"naive": naive, **ours}


def make_pass(encode: Encode) -> Callable[..., tuple]:
    """Features, and the pull-back of a cotangent into the parameters."""

    @jax.jit
    def run(params: Any, images: jax.Array, cotangent: jax.Array) -> tuple:
        features, pull = jax.vjp(lambda params: encode(params, images), params)
        return features, pull(cotangent)

    return run


def example(episodes: int, count: int, dtype: Any) -> tuple:
    """Parameters, made-up characters in a fixed order, and a random cotangent."""
    encoder = encoder_lib.make_conv_encoder()
    params, _ = encoder.init(jax.random.key(0))
    drawn = glyphs.make(alphabets=4).images.reshape(-1, 28, 28)
    order = np.random.default_rng(0).permutation(len(drawn))
    chosen = np.resize(drawn[order], (episodes, count, 28, 28)) / 255
    cotangent = jax.random.normal(jax.random.key(1), (episodes, count, encoder.width))
    given = params, jnp.asarray(chosen), cotangent
    return jax.tree.map(lambda each: each.astype(dtype), given)


def differences(encodes: dict[str, Encode], count: int) -> dict[str, float]:
    """Largest difference of a gradient from the naive one, relative to its largest."""
    with jax.enable_x64(True):
        given = example(2, count, jnp.float64)
        gradients = {n: make_pass(encode)(*given)[1] for n, encode in encodes.items()}

        def largest(one: jax.Array, other: jax.Array) -> float:
            return float(jnp.abs(one - other).max() / jnp.abs(other).max())

        return {
            name: max(jax.tree.leaves(jax.tree.map(largest, each, gradients["naive"])))
            for name, each in gradients.items()
        }


def in_turn(works: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Taken]:
    """Every piece of work, called in turn after a warm-up."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for repeat in range(-2, repeats):
        for name, work in works.items():
            begun = time.perf_counter(), time.process_time()
            jax.block_until_ready(work())
            ended = time.perf_counter(), time.process_time()
            if repeat >= 0:
                taken[name].append((ended[0] - begun[0], ended[1] - begun[1]))
    return {name: Taken(*np.array(each).T) for name, each in taken.items()}


def measure(
    count: int, repeats: int, encodes: dict[str, Encode]
) -> list[dict[str, Any]]:
    """The JSON lines of one number of images an episode."""
    difference = differences(encodes, count)
    given = example(EPISODES, count, jnp.float32)
    passes = {name: make_pass(encode) for name, encode in encodes.items()}
    works = {name: partial(run, *given) for name, run in passes.items()}
    product, product_operations = train_step.matrix_product()
    taken = in_turn(works | {"product": product}, repeats)
    images = EPISODES * count
    operations = train_step.encoder_operations(images)
    walls = {name: taken[name].wall for name in encodes if "bfloat16" not in name}
    fastest = min(walls.values(), key=np.median)

    def line(name: str) -> dict[str, Any]:
        wall, processor = taken[name]
        seconds, naive = float(np.median(wall)), taken["naive"]
        peak = product_operations / float(np.median(taken["product"].wall))
        return {
            "benchmark": "encoder",
            "formulation": name,
            "episodes": EPISODES,
            "images": images,
            "milliseconds": round(1e3 * seconds, 1),
            "processor_milliseconds": round(1e3 * float(np.median(processor)), 1),
            "of_float32": round(float(np.median(wall / fastest)), 2),
            "times_naive": round(float(np.median(naive.wall / wall)), 2),
            "times_naive_processor": round(
                float(np.median(naive.processor / processor)), 2
            ),
            "images_per_second": round(images / seconds),
            "gflops": round(operations / seconds / 1e9, 1),
            "product_gflops": round(peak / 1e9, 1),
            "gradient_difference_float64": difference[name],
            "tuned": os.environ.get(runtime.SWITCH) == "done",
            "repeats": repeats,
            "device": jax.devices()[0].device_kind,
        }

    return [line(name) for name in works]


def main() -> None:
    """Print one JSON line per formulation and number of images."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", nargs="+", type=int, default=[20])
    parser.add_argument("--repeats", type=int, default=15)
    encodes = formulations()
    parser.add_argument(
        "--formulations", nargs="+", choices=encodes, default=list(encodes)
    )
    given = parser.parse_args()
    # Everything is compared with it.
    chosen = {
        name: encodes[name]
        for name in {"naive": 0, **dict.fromkeys(given.formulations)}
    }
    if runtime.SWITCH not in os.environ:
        here = dict(os.environ)
        for there in ({**here, runtime.SWITCH: "off"}, runtime.tuned(here)):
            arguments = [sys.executable, *sys.orig_argv[1:]]
            subprocess.run(arguments, env=there, check=True)
        return
    for count in given.images:
        for line in measure(count, given.repeats, chosen):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
