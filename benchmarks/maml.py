"""What second-order MAML costs, against our own training step of the NMN.

    python -m benchmarks.maml --steps 1 5 --repeats 15
    python -m benchmarks.maml --formulations winograd patches batched grouped

5-way 1-shot, 16 tasks of 5 support and 15 query images, four blocks of 64 channels with
pooling, float32. Everything is called in turn with the training step of
`benchmarks.train_step` (synthetic gradients off) on the same images. One JSON line per
number of inner steps and formulation of the convolution with a kernel per task: whole
training steps for the one in use, and for every other (named `gradient`) its gradient
alone. Median milliseconds, steps/s, the ratio to the NMN's step (median of the ratios
of neighbouring repetitions), and MiB of temporaries of a gradient's program.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import train_step
from experiments.omniglot import protocol, records
from nmn_jax.data import glyphs
from nmn_jax.methods import maml
from nmn_jax.nets import encoder, per_task
from nmn_jax.run import parallel
from nmn_jax.tasks.base import Batch

NMN = "nmn"


class Work(NamedTuple):
    """One thing that is timed.

    kind: `step` or `gradient`
    mebibytes: of temporaries, None where it is not known
    """

    kind: str
    formulation: str
    call: Callable[[], Any]
    mebibytes: int | None


def run_of(steps: int, rate: float = 0.1) -> records.Run:
    """Second-order MAML, 5-way 1-shot, with so many inner steps."""
    return records.Run(method="maml", maml={"steps": steps, "rate": rate})


def example(run: records.Run, images: np.ndarray) -> tuple[maml.Design, Any, Batch]:
    """The design, parameters and one batch of a run."""
    bench = protocol.prepare(run, parallel.make_mesh())
    design = maml.make_design(maml.MAML, bench.settings, bench.task, steps=1)
    state = bench.method.init(jax.random.key(0))
    sample = jax.jit(bench.task.sample)
    batch = sample(jax.random.key(1), jnp.asarray(0), images)
    return design, state.network.params, batch


def gradient(run: records.Run, images: np.ndarray, formulation: str) -> Work:
    """The gradient of the slow loss by one formulation of the convolution."""
    design, params, batch = example(run, images)
    named = encoder.make_conv_encoder(
        layers=4, norm="batch", formulation=per_task.FORMULATIONS[formulation]
    )
    loss = functools.partial(maml.slow_loss, design._replace(encoder=named))
    program = jax.jit(jax.grad(loss, has_aux=True)).lower(params, batch).compile()
    memory = program.memory_analysis()
    mebibytes = memory.temp_size_in_bytes >> 20 if memory else None
    return Work("gradient", formulation, lambda: program(params, batch), mebibytes)


def measure(
    steps: int, formulations: list[str], images: np.ndarray, repeats: int
) -> list[dict[str, Any]]:
    """The JSON lines of one number of inner steps."""
    run = run_of(steps)
    works = [Work("step", "default", train_step.stepper(run, images), None)]
    works += [gradient(run, images, name) for name in formulations]
    calls = {f"{each.kind} {each.formulation}": each.call for each in works}
    baseline = records.Run(sg={"use": "off"})
    calls[NMN] = train_step.stepper(baseline, images)
    taken = train_step.in_turn(calls, repeats)
    return [
        {
            "benchmark": "maml",
            "inner_steps": steps,
            "tasks": run.train.episodes,
            "work": work.kind,
            "formulation": work.formulation,
            "milliseconds": round(1e3 * float(np.median(seconds)), 1),
            "nmn_milliseconds": round(1e3 * float(np.median(taken[NMN])), 1),
            "steps_per_second": round(1 / float(np.median(seconds)), 2),
            "times_nmn": round(float(np.median(seconds / taken[NMN])), 2),
            "temporaries_mib": work.mebibytes,
            "repeats": repeats,
            "device": jax.devices()[0].device_kind,
        }
        for work, seconds in zip(works, taken.values(), strict=False)
    ]


def main() -> None:
    """Print one JSON line per number of inner steps and formulation."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--formulations", nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    unknown = sorted(set(given.formulations) - set(per_task.FORMULATIONS))
    if unknown:
        parser.error(f"unknown {unknown}; choose of {sorted(per_task.FORMULATIONS)}")
    images = glyphs.make(alphabets=4).images
    for steps in given.steps:
        for line in measure(steps, given.formulations, images, given.repeats):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
