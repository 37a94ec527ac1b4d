"""Studies name every run once, and every run is a config that builds."""

from __future__ import annotations

import pytest

from experiments import settings, sweep
from experiments.configs import omniglot
from nmn_jax import config


def parsed(flags):
    """The run that flags describe, through the same config and conversion."""
    given = dict(flag.removeprefix("--").split("=") for flag in flags)
    made = omniglot.get_config(given.pop("config"))
    for name, value in given.items():
        path = name.removeprefix("config.").split(".")
        field = made
        for part in path[:-1]:
            field = field[part]
        kind = field.get_type(path[-1])
        field[path[-1]] = kind(value)
    return config.from_mapping(settings.Run, made)


@pytest.mark.parametrize("study", sorted(sweep.STUDIES))
def test_every_run_has_its_own_name_and_a_config_that_resolves(study):
    queue = list(sweep.STUDIES[study]())
    assert len({sweep.name_of(flags) for flags in queue}) == len(queue)
    for flags in queue:
        settings.resolve(parsed(flags))


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
