"""A folder of a finished run is opened as what it was."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import opened
from experiments.omniglot import __main__ as command
from experiments.omniglot import protocol, records, sources
from nmn_jax.data.types import Partition
from nmn_jax.run import parallel
from nmn_jax.tasks import episodes

RUN = records.Run(
    method="prototype",
    ways=3,
    data=records.Data(source="glyphs"),
    train=records.Train(steps=2, episodes=8, queries=1, validate_every=1),
    validate=records.Validate(episodes=8, queries=1, batch=8),
    eval=records.Evaluate(episodes=8, queries=1, batch=8),
    model={"channels": 4},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two steps on noise."""
    folder = tmp_path_factory.mktemp("opened") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "load", lambda data: noise())
        command.main(RUN, folder, "")
    return folder


def noise() -> Partition:
    draw = np.random.default_rng(0)
    return Partition(*draw.integers(256, size=(3, 5, 3, 28, 28), dtype=np.uint8))


def test_it_answers_as_the_run_that_was_tested(folder):
    run = opened.open_run(folder)
    result = json.loads((folder / "result.json").read_text())
    bench = protocol.prepare(run.run, parallel.make_mesh())
    exam = protocol.episodes_exam(bench, jnp.asarray(noise().test), run.run.eval)
    found = protocol.scored(bench, jax.device_get(run.state), exam)["accuracy"]
    assert found.mean() == pytest.approx(result["measures"]["accuracy"]["mean"])
    assert run.run == RUN


def test_it_holds_all_that_answering_needs(folder):
    run = opened.open_run(folder)
    keys = jax.random.split(jax.random.key(0), 2)
    images = jnp.asarray(noise().test)
    batch = episodes.fixed(keys, images, ways=3, shots=1, queries=2)
    answer = jax.jit(run.method.predict)(run.state, batch.context, batch.queries)
    assert answer.output.shape == (2, 6, 3)
    assert run.step == 2 and run.settings.model.channels == 4


def test_opening_changes_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json*")}
    opened.open_run(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json*")} == before


def test_a_folder_without_a_finished_run_says_what_is_missing(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="result.json, checkpoints missing"):
        opened.open_run(tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_of_an_unknown_benchmark_is_told(folder, tmp_path):
    for name in ("config.json", "result.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    (tmp_path / "checkpoints").mkdir()
    result = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps({**result, "experiment": "chess"}))
    with pytest.raises(ValueError, match="'chess'; known are .*omniglot"):
        opened.open_run(tmp_path)
