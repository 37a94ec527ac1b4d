"""The real command compiles a training step once, whatever the method."""

from __future__ import annotations

import collections
import logging
import re

import jax
import numpy as np
import pytest

from experiments import report
from experiments.omniglot import __main__ as omniglot
from experiments.omniglot import records as few
from experiments.omniglot import sources
from experiments.rare_classes import __main__ as rare_classes
from experiments.rare_classes import records as rare
from experiments.trajectory import __main__ as trajectory
from experiments.trajectory import records as tracks
from nmn_jax.data.types import Partition
from nmn_jax.methods import table
from nmn_jax.run import parallel

TRAIN = {"steps": 6, "log_every": 1, "validate_every": 2, "checkpoint_every": 3}
MODEL = {"channels": 2, "layers": 2}
MEMORY = {"width": 16, "key_width": 4}
MEMORIES = {"nmn", "nmn_stream", "nmn_replay"}
# Settings of methods with no encoder of their own to make small.
UNENCODED: dict[str, dict] = {"lstm_stream": {"width": 64}, "mann": {}}
# What a whole run compiles once. Forecasts go on learning after training, with the same
# step.
PROGRAMS = {
    "episodes": ("train_step", "answering"),
    "stream": ("train_step", "answering"),
    "forecast": ("step", "sample", "predict"),
}
# The order that compiles in half the time.
SG = {"order": "first"}


def command(method: str, form: str):
    """The command of a method's form, and its smallest run."""
    memory = method in MEMORIES
    model = UNENCODED.get(method, MODEL | (MEMORY if memory else {}))
    sg = SG if memory else {}
    if form == "episodes":
        return omniglot.main, few.Run(
            method=method, data=few.Data("glyphs"), model=model, sg=sg,
            ways=2, train=few.Train(episodes=2, queries=1, **TRAIN),
            validate=few.Validate(episodes=10, queries=1, batch=5),
            eval=few.Evaluate(episodes=10, queries=1, batch=5),
        )  # fmt: skip
    if form == "forecast":
        return trajectory.main, tracks.Run(
            method=method, draws=2, train=tracks.Train(batch=4, **TRAIN),
            data=tracks.Data(observed=8, horizon=4, train=8, support=4),
            eval=tracks.Evaluate(steps=(0, 1, 2), tracks=4),
        )  # fmt: skip
    return rare_classes.main, rare.Run(
        method=method, data=rare.Data("digits", period=2, held_out=300), model=model,
        sg=sg, train=rare.Train(batch=4, **TRAIN), validate=rare.Validate(images=10),
    )  # fmt: skip


class Counter(logging.Handler):
    """Programs that jax says it compiles, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.programs: collections.Counter[str] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        found = re.match(r"Compiling (?:jit\()?(\w+)", record.getMessage())
        if found:
            self.programs[found[1]] += 1


@pytest.fixture
def programs():
    """What is compiled within the test."""
    logger = logging.getLogger("jax._src.interpreters.pxla")
    counter, before = Counter(), logger.propagate
    logger.addHandler(counter)
    logger.propagate = False
    # In every thread: the step is compiled in one of its own.
    jax.config.update("jax_log_compiles", True)
    yield counter.programs
    jax.config.update("jax_log_compiles", False)
    logger.removeHandler(counter)
    logger.propagate = before


@pytest.fixture(autouse=True)
def cheap(monkeypatch) -> None:
    """One device, few characters and no pictures: programs are what this is about."""
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh(
        (1,), (parallel.AXIS,), devices=jax.devices()[:1], axis_types=auto
    )
    monkeypatch.setattr(parallel, "make_mesh", lambda: mesh)
    monkeypatch.setattr(report, "draw_run", lambda workdir: [])
    draw = np.random.default_rng(0)
    pools = (draw.integers(0, 256, (9, 4, 28, 28), dtype=np.uint8) for _ in range(3))
    partition = Partition(*pools)
    monkeypatch.setattr(sources, "load", lambda data: partition)


@pytest.mark.parametrize(
    ("method", "form"), [(name, line.form) for name, line in table.METHODS.items()]
)
def test_a_whole_run_compiles_its_step_and_its_answers_once(
    method, form, programs, tmp_path
):
    main, run = command(method, form)
    result = main(run, tmp_path, "")
    assert result["train_steps"] == TRAIN["steps"]
    assert {name: programs[name] for name in PROGRAMS[form]} == dict.fromkeys(
        PROGRAMS[form], 1
    )
    assert result["first_step_seconds"] > 0


def test_a_finished_run_compiles_no_step(programs, tmp_path):
    main, run = command("prototype", "episodes")
    result = main(run, tmp_path, "")
    programs.clear()
    again = main(run, tmp_path, "")
    assert programs["train_step"] == 0
    assert again["state_digest"] == result["state_digest"]
    assert again["measures"] == result["measures"]
