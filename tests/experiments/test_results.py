"""What a result file holds, where it lies, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import shlex
from typing import NamedTuple

import jax.numpy as jnp
import pytest

from experiments.common import provenance, results, tables


@dataclasses.dataclass(frozen=True)
class Model:
    slots: int = 10


@dataclasses.dataclass(frozen=True)
class Optim:
    lr: float = 5e-6


@dataclasses.dataclass(frozen=True)
class Adapt:
    lr: float = 0.01


@dataclasses.dataclass(frozen=True)
class Settings:
    preset: str = "paper"
    model: Model = Model()
    optim: Optim = Optim()
    adapt: Adapt = Adapt()


@dataclasses.dataclass(frozen=True)
class Train:
    steps: int = 50
    log_every: int = 5


@dataclasses.dataclass(frozen=True)
class Eval:
    seed: int = 7


@dataclasses.dataclass(frozen=True)
class Run:
    method: str = "nmn"
    study: str = ""
    seed: int = 0
    train: Train = Train()
    eval: Eval = Eval()
    optim: dict = dataclasses.field(default_factory=dict)


class Outcome(NamedTuple):
    state: object
    step: int
    seconds: float


def make(run=Run(), settings=Settings(), **changes):
    given = {
        "experiment": "omniglot",
        "columns": {"method": "nmn", "sg": "off"},
        "task": {"ways": 5, "shots": 1},
        "evaluation": {"kind": "episodes"},
        "measures": {"accuracy": results.measure([0.5, 1.0])},
        "images_per_step": 20,
    }
    outcome = Outcome(jnp.zeros(3), 50, 1.26)
    return results.make_result(run, settings, outcome, **{**given, **changes})


def test_a_result_says_what_was_measured_and_how_it_came_about():
    found = make(first_step_seconds=2.5, extra={"curves": [0.1]})
    assert found["measures"]["accuracy"] == {
        "mean": 0.75, "half": pytest.approx(12.706 * 0.25, 1e-3), "n": 2,
        "unit": "fraction",
    }  # fmt: skip
    assert (found["train_images"], found["wall_seconds"]) == (1000, 1.3)
    assert found["extra"] == {"curves": [0.1]} and found["first_step_seconds"] == 2.5
    assert found["config"]["train"]["steps"] == 50
    assert results.summary(found).startswith("accuracy 75.00 ± 317.66 % (50 steps")


def test_what_is_small_is_told_with_three_digits():
    def told(mean, half=None, unit=""):
        return results.tell({"mean": mean, "half": half, "n": 3, "unit": unit})

    assert told(0.98621, 0.0019, "fraction") == "98.62 ± 0.19 %"
    assert told(0.604, 0.06, "m") == "0.604 ± 0.060 m"
    assert told(-0.012, 0.003) == "-0.0120 ± 0.0030"
    assert told(5.57e-5, 2.1e-5) == "5.57e-05 ± 2.10e-05"
    assert told(0.0, 0.5) == "0.00 ± 0.50"


def test_one_episode_writes_null_and_no_nan():
    found = make(measures={"accuracy": results.measure([1.0])})
    assert found["measures"]["accuracy"]["half"] is None
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    with pytest.raises(ValueError, match="nan"):
        results.measure([math.nan])
    with pytest.raises(ValueError, match="not JSON compliant"):
        make(extra={"curves": [math.nan]})


@pytest.mark.parametrize(
    "run",
    [
        Run(seed=3),
        Run(study="other"),
        Run(eval=Eval(seed=8)),
        Run(train=Train(log_every=1)),
        Run(optim={"lr": None}),
    ],
)
def test_seed_study_evaluation_and_pace_make_no_other_variant(run):
    assert make(run)["variant"] == make()["variant"]


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": Settings(optim=Optim(lr=1e-5))},
        {"settings": Settings(model=Model(slots=11))},
        {"run": Run(train=Train(steps=60))},
        {"run": Run(method="cnn")},
        {"task": {"ways": 20, "shots": 1}},
        {"experiment": "rare_classes"},
    ],
)
def test_what_is_learned_otherwise_is_another_variant(changes):
    assert make(**changes)["variant"] != make()["variant"]


def test_a_setting_that_is_added_later_does_not_part_old_runs_from_new_ones():
    @dataclasses.dataclass(frozen=True)
    class Later(Settings):
        extra: int = 3

    chosen = {"optim": Optim(lr=1e-5)}
    assert (
        make(settings=Later(**chosen))["variant"]
        == (make(settings=Settings(**chosen))["variant"])
    )
    assert make(settings=Later(extra=4))["variant"] != make()["variant"]


def test_records_of_other_methods_in_a_config_make_no_other_variant():
    @dataclasses.dataclass(frozen=True)
    class Later(Run):
        matching: dict = dataclasses.field(default_factory=dict)
        maml: dict = dataclasses.field(default_factory=dict)
        mixture: tuple = ()

    assert make(Later())["variant"] == make()["variant"]


def test_how_gradient_steps_are_taken_at_test_is_part_of_the_evaluation():
    assert make(settings=Settings(adapt=Adapt(lr=1.0)))["variant"] == make()["variant"]


def test_the_copy_lies_with_its_experiment_and_study(tmp_path):
    workdir = tmp_path / "mine"
    results.write_result(make(), workdir, str(tmp_path / "all"))
    results.write_result(
        make(Run(study="effect")), workdir, str(tmp_path / "all"), suffix="lake"
    )
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    assert written == {
        "mine/result.json", "mine/result-lake.json",
        "all/omniglot/single/mine.json", "all/omniglot/effect/mine-lake.json",
    }  # fmt: skip
    assert results.load([tmp_path / "all" / "omniglot" / "single"]) == [make()]


def test_what_is_no_result_is_named_with_what_is_wrong(tmp_path):
    path = tmp_path / "torn.json"

    def said(content):
        path.write_text(content)
        with pytest.raises(ValueError) as error:
            results.load([tmp_path])
        return str(error.value)

    assert "torn.json: not a JSON file" in said("{")
    assert "it is no JSON object" in said("[]")
    whole = make()
    lacking = {name: value for name, value in whole.items() if name != "commit"}
    assert "torn.json: not a result, it lacks commit" in said(json.dumps(lacking))
    wrong = json.dumps({**whole, "seed": "0"})
    assert "seed is '0'; it must be of type int" in said(wrong)
    for half in ("NaN", "Infinity"):
        broken = json.dumps(whole).replace('"n": 2', f'"n": 2, "half": {half}')
        assert "needs finite numbers" in said(broken)
    assert "no measures" in said(json.dumps({**whole, "measures": {}}))
    with pytest.raises(ValueError, match="no such file"):
        results.load([tmp_path / "absent"])


def test_committed_results_are_results_and_name_no_place_of_their_machine():
    folder = provenance.ROOT / "results"
    committed = results.load([folder])
    assert committed and not [each for each in committed if "/" in each["command"]]
    for path in folder.rglob("*.json"):
        place = results.place(results.read(path), path.stem)
        assert path.relative_to(folder) == place
    assert all(path.stat().st_size < 200_000 for path in folder.rglob("*.png"))


def test_one_seed_given_twice_is_one_seed(capsys):
    first, again, other = make(), make(), make(Run(seed=1))
    (group,) = tables.grouped([first, other, again])
    assert [each["seed"] for each in group.results] == [0, 1]
    assert (
        "seed 0 of nmn, sg off comes twice in omniglot/single"
        in capsys.readouterr().err
    )
    assert tables.seeds(group) == "2 seeds"


def test_another_rate_or_evaluation_is_another_row():
    slow = make(settings=Settings(optim=Optim(lr=1e-5)))
    lake = make(evaluation={"kind": "lake"})
    assert len(tables.grouped([make(), slow, lake])) == 3


def test_a_row_of_one_seed_tells_the_interval_over_examples_of_more_that_over_seeds():
    def at(seed, *values):
        return make(Run(seed=seed), measures={"accuracy": results.measure(values)})

    (one,) = tables.grouped([at(0, 0.5, 0.5)])
    assert tables.over_seeds(one, "accuracy") == "50.00 ± 0.00"
    (two,) = tables.grouped([at(0, 0.90), at(1, 0.92)])
    assert tables.over_seeds(two, "accuracy") == "91.00 ± 12.71"


@pytest.mark.parametrize("place", [["--workdir=/a/b"], ["--results", "/a/b"]])
def test_the_command_of_a_result_names_no_place_of_its_machine(place):
    given = ["/a/omniglot/__main__.py", "--config=5way1shot", *place, "--config.seed=1"]
    expected = "python -m experiments.omniglot --config=5way1shot --config.seed=1"
    assert provenance.command(given) == expected
    flag = "--config.mixture=('5way1shot',)"
    assert shlex.split(provenance.command([*given, flag]))[-1] == flag
    assert pathlib.Path(provenance.ROOT / "experiments").is_dir()


def test_kinds_that_are_practised_part_variants_by_the_task_alone():
    """Configs from before have no such field."""
    told = [
        results.variant("omniglot", config, task, Settings())
        for config, task in (
            ({"ways": 5}, {"ways": 5}), ({"ways": 5, "practice": []}, {"ways": 5}),
            ({"ways": 5}, {"ways": 5, "practice": "20way1shot"}),
        )
    ]  # fmt: skip
    assert told[0] == told[1] != told[2]
