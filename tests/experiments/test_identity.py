"""Whose a folder is, and what its results are called."""

from __future__ import annotations

import dataclasses
import json

import pytest

from experiments.common import identity
from experiments.omniglot import records

RUN = records.Run()
SETTINGS = records.resolve(RUN, ("model", "sg", "optim", "adapt"))


def claimed(workdir, **changes) -> str:
    return identity.claim(workdir, dataclasses.replace(RUN, **changes), SETTINGS)


def finish(workdir) -> None:
    (workdir / "result.json").write_text("{}")


def test_a_folder_is_the_runs_that_claimed_it(tmp_path):
    assert claimed(tmp_path) == ""
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["run"]["validate"]["seed"] == RUN.validate.seed
    assert written["settings"]["sg"]["use"] == "fast"
    assert claimed(tmp_path) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, r"config\.seed: 0 there, 1 asked for"),
        ({"validate": records.Validate(seed=5)}, r"config\.validate\.seed: 2021 there"),
        (
            {"validate": records.Validate(episodes=7)},
            r"config\.validate\.episodes: 200 there, 7 asked for",
        ),
        ({"train": records.Train(steps=7)}, r"config\.train\.steps: 5000 there, 7"),
        ({"model": {"width": 32}}, r"config\.model\.width: None there, 32 asked for"),
        ({"adapt": {"lr": 0.5}}, r"config\.adapt\.lr: None there, 0\.5 asked for"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path, changes, said):
    claimed(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match=said):
        claimed(tmp_path, **changes)
    assert (tmp_path / "config.json").read_bytes() == before


def test_settings_that_a_preset_resolves_to_are_part_of_it(tmp_path):
    claimed(tmp_path)
    slower = dataclasses.replace(SETTINGS.optim, lr=1e-9)
    other = dataclasses.replace(SETTINGS, optim=slower)
    with pytest.raises(ValueError, match=r"settings\.optim\.lr: 0\.001 there, 1e-09"):
        identity.claim(tmp_path, RUN, other)


def test_much_that_differs_is_counted(tmp_path):
    claimed(tmp_path)
    train = records.Train(1, 2, 4, 0.0, 1, 6, 7, 8)
    with pytest.raises(ValueError, match=r"episodes: 16 there.*; and 3 more\)"):
        claimed(tmp_path, train=train, seed=1)


def test_an_evaluation_has_a_name_of_its_own_after_the_first(tmp_path):
    first = records.Evaluate(episodes=500)
    other = records.Evaluate(episodes=2000, adapt_steps=(0, 1))
    minutes = dataclasses.replace(RUN.train, minutes=5.0)
    # Nothing is finished: what is asked last is the first evaluation.
    assert claimed(tmp_path) == ""
    assert claimed(tmp_path, eval=first, train=minutes) == ""
    finish(tmp_path)
    assert claimed(tmp_path, eval=first) == ""
    assert claimed(tmp_path, eval=other) == "adapt_steps-0-1-episodes-2000"
    assert claimed(tmp_path, eval=records.Evaluate(kind="episodes")) == "episodes-1000"
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["run"]["eval"]["episodes"] == 500


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_config_that_cannot_be_read_is_no_new_run(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: cannot be read as a run's"):
        claimed(tmp_path)
