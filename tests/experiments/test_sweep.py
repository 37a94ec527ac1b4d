"""Studies name every run once, and every run is a config that builds."""

from __future__ import annotations

import pytest

from experiments import rare_settings, settings, sweep
from experiments.configs import omniglot, rare_classes
from nmn_jax import config

RECORDS = {
    "omniglot": (omniglot, settings),
    "rare_classes": (rare_classes, rare_settings),
}


def parsed(flags, experiment="omniglot"):
    """The run that flags describe, through the same config and conversion."""
    given = dict(flag.removeprefix("--").split("=") for flag in flags)
    configs, records = RECORDS[experiment]
    made = configs.get_config(given.pop("config"))
    for name, value in given.items():
        path = name.removeprefix("config.").split(".")
        field = made
        for part in path[:-1]:
            field = field[part]
        kind = field.get_type(path[-1])
        field[path[-1]] = kind(value)
    return config.from_mapping(records.Run, made)


@pytest.mark.parametrize("study", sorted(sweep.STUDIES))
def test_every_run_has_its_own_name_and_a_config_that_resolves(study):
    experiment, runs = sweep.STUDIES[study]
    queue = list(runs())
    assert len({sweep.name_of(flags) for flags in queue}) == len(queue)
    for flags in queue:
        RECORDS[experiment][1].resolve(parsed(flags, experiment))


def test_the_effect_of_synthetic_gradients_is_a_full_table():
    runs = [parsed(flags) for flags in sweep.sg_effect()]
    columns = {(run.preset, run.model["label_input"]) for run in runs}
    assert len(runs) == 2 * len(columns) * len(sweep.VARIANTS)
    assert {run.study for run in runs} == {"sg_effect"}
    budgets = {(run.train, run.eval) for run in runs}
    assert len(budgets) == 1


def test_a_result_that_is_there_is_left_alone(tmp_path, monkeypatch):
    flags = next(iter(sweep.sg_effect()))
    (tmp_path / f"sg_effect-{sweep.name_of(flags)}.json").write_text("{}")
    monkeypatch.setattr(sweep.subprocess, "run", None)
    assert sweep.run_one("sg_effect", flags, tmp_path, -1) == 0


def test_the_rare_study_has_five_seeds_of_everything_that_was_asked_for():
    runs = [parsed(flags, "rare_classes") for flags in sweep.rare()]
    resting = [run for run in runs if run.optim["lr"]]
    assert {(run.sg, run.optim["lr"]) for run in resting} == {("off", 1e-7)}
    plain = [run for run in runs if not run.stream.replayed and run.method == "nmn"]
    chosen = [run for run in plain if run.preset == "recommended"]
    assert {(run.sg, run.control) for run in chosen} == set(sweep.VARIANTS)
    yardsticks = {run.stream.replayed > 0 for run in runs if run.method == "cnn"}
    assert yardsticks == {True, False}
    assert {run.seed for run in runs} == set(range(5))
    assert min(run.train.steps for run in runs) >= 5_000
