"""The committed numbers stand: first losses, as they were before rooms and contracts.

Written down from `metrics.jsonl` of commit 5065af5 (`--config.train.log_every=1`, two
CPU cores), where a step was made by other code.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from experiments.common import bench as bench_lib
from experiments.omniglot import protocol as omniglot
from experiments.omniglot import records as omniglot_records
from experiments.omniglot import sources as omniglot_sources
from experiments.rare_classes import protocol as rare
from experiments.rare_classes import records as rare_records
from experiments.rare_classes import sources as rare_sources
from nmn_jax.run import parallel

OMNIGLOT = {
    "nmn": (1.0587868690, 0.8634945750, 0.8309524059, 0.7237931489, 0.6906768084),
    "prototype": (0.8315718174, 0.7320230007, 0.7221882343, 0.6868125796, 0.6860011816),
}
RARE = {
    "off": (2.4792590141, 0.7399681211, 1.1172776414, 0.8484986424, 0.0729338750),
    "both": (2.4792590141, 0.7385022044, 1.1124705076, 0.8501207232, 0.0697909817),
}
# Rounding differs between machines and flags of the compiler, and grows with the steps;
# another batch or gradient shows at the second.
TOLERANCE = np.array([1e-5, 1e-5, 1e-3, 3e-3, 3e-3])


def one_device() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(jax.devices()[:1], (parallel.AXIS,))


def losses(step, state) -> list[float]:
    found = []
    for _ in range(5):
        state, metrics = step(state)
        found.append(float(metrics["loss"]))
    return found


def assert_near(found: list[float], expected: tuple[float, ...]) -> None:
    apart = np.abs(np.array(found) / np.array(expected) - 1)
    assert np.all(apart < TOLERANCE), f"{found} where {expected} was"


@pytest.mark.parametrize("method", OMNIGLOT)
def test_5way1shot_learns_as_it_did(method, data_dir):
    sg = {"use": "off"} if method == "nmn" else {}
    run = omniglot_records.Run(method=method, sg=sg)
    bench = omniglot.prepare(run, one_device())
    pools = omniglot.place(bench, omniglot_sources.load(run.data))
    found = losses(bench_lib.make_step(bench, pools.train), omniglot.start(bench))
    assert_near(found, OMNIGLOT[method])


@pytest.mark.parametrize("use", RARE)
def test_rare_classes_on_digits_learn_as_they_did(use):
    data = rare_records.Data(source="digits", held_out=300)
    run = rare_records.Run(data=data, sg={"use": use})
    bench = rare.prepare(run, one_device())
    sources = rare_sources.load(run.data, run.validate.part)
    pools = parallel.replicate(bench.mesh, sources.pools)
    found = losses(rare.make_step(bench, pools), rare.start(bench))
    assert_near(found, RARE[use])


def test_references_are_of_the_committed_defaults():
    """Other defaults would make other curves, and these numbers of something else."""
    train = omniglot_records.Run().train
    assert (train.episodes, train.queries) == (16, 3)
    assert dataclasses.asdict(rare_records.Run().train)["batch"] == 10
