"""What a step costs with memories of different sizes, there and back.

    python -m benchmarks.memory --slots 20 128 1024 8192 --steps 100 --repeats 3
    python -m benchmarks.memory --slots 128 65536 --ways sparse signs --steps 1000

Streams of a cell of width 64 (skip LSTMs; keys are half a slot; one-hot writes in
turn), then 15 queries each: loss and gradient for parameters and inputs. One JSON line
per size and way: `plain`, `recompute` and `journal` read all slots and differ in what
they keep for the way back (`nmn_jax.unrolling`); `sparse` and `signs` keep a journal
and read the 8 likest slots, found by comparing all of them or by random hyperplanes
(`nmn_jax.memory.search`). Milliseconds per step of all streams (fastest of the
repeats), the compiler's account of temporaries, the ratios of both to the first way of
the same size, and the ratio of time to the same way at the smallest size. Everything
runs in turn in one process.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import itertools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import train_step
from nmn_jax import cell as cell_lib
from nmn_jax.settings import builders
from nmn_jax.settings.records import ModelSettings
from nmn_jax.types import Inputs

WIDTH, CLASSES, QUERIES, READS = 64, 5, 15, 8
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"gradients": "plain"},
    "recompute": {"gradients": "recompute"},
    "journal": {"gradients": "journal"},
    "sparse": {"gradients": "journal", "reads": READS},
    "signs": {"gradients": "journal", "reads": READS, "search": "signs"},
}


def make_cell(slots: int, way: str, similarity: str) -> cell_lib.Cell:
    """The cell of one workload."""
    given = dict(WAYS[way])
    if "reads" in given:
        given["reads"] = min(READS, slots)
    return builders.make_cell(
        ModelSettings(
            slots=slots, width=WIDTH, key_width=WIDTH // 2, controller="skip_lstm",
            compose="query_mem", label_input="write", similarity=similarity,
            scale=10.0, write_rule="in_turn", **given,
        )
    )  # fmt: skip


def example(streams: int, steps: int) -> tuple[Inputs, Inputs]:
    """Random streams `[B, T, ...]` and queries `[B, Q, ...]`."""
    draw = np.random.default_rng(0)

    def inputs(count: int) -> Inputs:
        sizes = (WIDTH, CLASSES, CLASSES)
        return Inputs(
            *(
                jnp.asarray(draw.normal(size=(streams, count, size)), jnp.float32)
                for size in sizes
            )
        )

    return inputs(steps), inputs(QUERIES)


def compile_gradient(cell: cell_lib.Cell, given: tuple[Inputs, Inputs]) -> Any:
    """The compiled `(params, given) -> (loss, gradients)`, and its parameters."""
    params = cell.init(jax.random.key(0), features=WIDTH, classes=CLASSES)

    def loss(params: Any, given: tuple[Inputs, Inputs]) -> jax.Array:
        def one(stream: Inputs, queries: Inputs) -> jax.Array:
            start = cell.initial_state(params)
            state, trace = cell_lib.unroll(cell, params, start, stream)
            asked = cell_lib.ask(cell, params, state, queries)
            return jnp.mean(asked.outputs.output**2) + jnp.mean(trace.outputs.output**2)

        return jnp.mean(jax.vmap(one)(*given))

    work = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return work.lower(params, given).compile(), params


def caller(program: Any, *given: Any) -> Callable[[], Any]:
    """The program on these arguments."""
    return lambda: program(*given)


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The JSON lines of all sizes and ways."""
    given = example(options.streams, options.steps)
    pairs = itertools.product(options.slots, options.ways)
    programs = {
        (slots, way): compile_gradient(make_cell(slots, way, options.similarity), given)
        for slots, way in pairs
    }
    works = {
        f"{slots} {way}": caller(program, params, given)
        for (slots, way), (program, params) in programs.items()
    }
    taken = train_step.in_turn(works, options.repeats)
    fastest = {name: float(np.min(each)) for name, each in taken.items()}
    first, smallest = options.ways[0], min(options.slots)

    def kept(slots: int, way: str) -> float:
        return programs[slots, way][0].memory_analysis().temp_size_in_bytes / 2**20

    return [
        {
            "benchmark": "memory",
            "slots": slots,
            "way": way,
            "similarity": options.similarity,
            "streams": options.streams,
            "steps": options.steps,
            "milliseconds_per_step": 1e3 * fastest[f"{slots} {way}"] / options.steps,
            "temporaries_mib": round(kept(slots, way), 1),
            f"time_to_{first}": round(
                fastest[f"{slots} {way}"] / fastest[f"{slots} {first}"], 3
            ),
            f"temporaries_to_{first}": round(kept(slots, way) / kept(slots, first), 3),
            f"time_to_{smallest}_slots": round(
                fastest[f"{slots} {way}"] / fastest[f"{smallest} {way}"], 2
            ),
            "repeats": options.repeats,
            "device": jax.devices()[0].device_kind,
        }
        for slots, way in programs
    ]


def main() -> None:
    """Print one JSON line per size and way."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slots", nargs="+", type=int, default=[20, 128, 1024, 8192])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--similarity", default="dot")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    for line in measure(parser.parse_args()):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
