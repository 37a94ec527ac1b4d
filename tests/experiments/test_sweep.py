"""Studies name every run once, and every run is a config that builds."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pathlib

import numpy as np
import pytest

from experiments import sweep
from experiments.common import variants
from experiments.omniglot import __main__ as command
from nmn_jax.methods import table
from nmn_jax.settings import reader

STUDIES = sweep.studies()
FORMS = {
    "omniglot": "episodes", "rare_classes": "stream", "far_recall": "stream",
    "copy": "stream",
    "trajectory": "forecast", "sharing": "forecast",
}  # fmt: skip


def parsed(flags, experiment="omniglot"):
    """The run that flags describe, through the same config and conversion."""
    given = dict(flag.removeprefix("--").split("=") for flag in flags)
    config = importlib.import_module(f"experiments.{experiment}.config")
    records = importlib.import_module(f"experiments.{experiment}.records")
    made = config.get_config(given.pop("config"))
    for name, value in given.items():
        *path, last = name.removeprefix("config.").split(".")
        field = made
        for part in path:
            field = field[part]
        kind = field.get_type(last)
        field[last] = ast.literal_eval(value) if kind is tuple else kind(value)
    return reader.from_mapping(records.Run, made)


def resolved(flags, experiment):
    run = parsed(flags, experiment)
    records = importlib.import_module(f"experiments.{experiment}.records")
    uses = table.entry(run.method, form=FORMS[experiment]).uses
    return run, records.resolve(run, uses)


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_run_has_its_own_name_and_a_config_that_resolves(name):
    study = STUDIES[name]
    queue = study.queue()
    assert len({study.name_of(flags) for flags in queue}) == len(queue)
    for flags in queue:
        run, _ = resolved(flags, study.experiment)
        assert run.study == name


def test_a_name_has_no_quotes_and_brackets_of_a_tuple():
    flags = ("--config=all", "--config.practice=('5way1shot', '20way1shot')")
    assert sweep.name_of(flags) == "all-practice-5way1shot,20way1shot"


def test_a_name_tells_budgets_only_where_it_would_tell_nothing_else():
    def runs():
        for seed in ("0", "1"):
            for steps in ("5", "7"):
                yield ("--config=all", f"--config.train.steps={steps}",
                       f"--config.seed={seed}", "--config.train.queries=2")  # fmt: skip
        yield ("--config=all", "--config.train.steps=9", "--config.seed=2")

    study = sweep.Study("some", "omniglot", runs)
    assert [study.name_of(flags) for flags in study.queue()] == [
        "all-seed-0-steps-5", "all-seed-0-steps-7", "all-seed-1-steps-5",
        "all-seed-1-steps-7", "all-seed-2",
    ]  # fmt: skip


def test_levers_are_compared_at_equal_images_one_at_a_time():
    runs = [resolved(flags, "omniglot") for flags in STUDIES["levers"].queue()]
    images = [run.train.steps * command.images_per_step(run) for run, _ in runs]
    np.testing.assert_allclose(images, 300_000, rtol=2e-3)
    for part in ("validate", "mixture", "seed"):
        assert len({getattr(run, part) for run, _ in runs}) == 1, part


def test_the_effect_of_synthetic_gradients_is_a_full_table():
    runs = [resolved(flags, "omniglot") for flags in STUDIES["sg_effect"].queue()]
    columns = {(run.preset, run.model["label_input"]) for run, _ in runs}
    assert len(runs) == 2 * len(columns) * len(variants.SYNTHETIC)
    assert len({(run.train, run.validate, run.eval) for run, _ in runs}) == 1
    told = {
        (s.sg.use, s.sg.control, s.optim.controller_factor, run.seed) for run, s in runs
    }
    assert ("off", "none", 2.0, 1) in told and ("both", "oracle_query", 1.0, 0) in told
    assert len(told) == 2 * len(variants.SYNTHETIC)


def test_small_batches_are_shown_as_many_images_as_four():
    four, *others = [
        resolved(flags, "omniglot")
        for name in ("four", "small_batches")
        for flags in STUDIES[name].queue()
        if "--config.seed=0" in flags
    ]
    shown = [
        run.train.steps * command.images_per_step(run) for run, _ in (four, *others)
    ]
    np.testing.assert_allclose(shown, 5_760_000)
    assert [run.ways for run, _ in others] == [20, 60]
    for run, _ in others:
        for part in ("augment", "mixture", "validate", "eval"):
            assert getattr(run, part) == getattr(four[0], part), part


def test_the_effect_at_full_budget_has_every_control_and_one_budget():
    runs = [resolved(flags, "omniglot") for flags in STUDIES["sg_full"].queue()]
    assert len({(run.train, run.practice, run.mixture) for run, _ in runs}) == 1
    told = {(run.seed, s.model.label_input, s.sg.use, s.sg.control) for run, s in runs}
    controls = ("zeroed", "oracle_step", "oracle_query", "shuffled")
    assert told == {
        (seed, label, *effect)
        for seed in range(3)
        for label in ("write", "none")
        for effect in (
            ("off", "none"), ("fast", "none"), *(("fast", each) for each in controls),
        )
    }  # fmt: skip


def test_lakes_runs_are_answered_by_three_seeds_of_two_methods():
    runs = [resolved(flags, "omniglot") for flags in STUDIES["lake"].queue()]
    assert {(run.method, run.seed) for run, _ in runs} == {
        (method, seed) for method in ("nmn", "prototype") for seed in range(3)
    }
    assert {(run.eval.kind, run.data.split) for run, _ in runs} == {
        ("lake", "official")
    }
    assert len({run.train for run, _ in runs}) == 1


def test_the_rare_study_has_five_seeds_of_everything_that_was_asked_for():
    runs = [resolved(flags, "rare_classes") for flags in STUDIES["rare"].queue()]
    resting = [(run, settings) for run, settings in runs if run.optim["lr"]]
    assert {(s.sg.use, s.optim.lr) for _, s in resting} == {("off", 1e-7)}
    chosen = [
        (s.sg.use, s.sg.control, s.optim.controller_factor)
        for run, s in runs
        if (run.method, run.preset) == ("nmn_stream", "recommended")
    ]
    assert len(set(chosen)) == len(variants.SYNTHETIC)
    assert {run.method for run, _ in runs} == {
        "nmn_stream", "nmn_replay", "cnn", "cnn_replay",
    }  # fmt: skip
    assert {run.seed for run, _ in runs} == set(range(5))
    assert min(run.train.steps for run, _ in runs) >= 5_000


def test_some_runs_of_a_study_are_chosen_by_their_values():
    study = STUDIES["sg_effect"]
    chosen = study.queue(["shuffled", "oracle_step"])
    assert len(chosen) == 12
    assert all(
        {"shuffled", "oracle_step"} & sweep.values(flags) == {flags[5].split("=")[1]}
        for flags in chosen
    )
    with pytest.raises(
        ValueError, match=r"--only=oracle: no run .* there are .*zeroed"
    ):
        study.queue(["oracle"])


def called(monkeypatch, *given):
    """The commands of a sweep that runs nothing, and its exit status."""
    commands = []

    class Process:
        def __init__(self, command, **_):
            self.command = command
            commands.append(command)

        def wait(self, left=None):
            assert left is None
            return 3 * ("--config.seed=1" in self.command)

    monkeypatch.setattr(sweep.subprocess, "Popen", Process)
    monkeypatch.setattr(sweep.sys, "argv", ["sweep", "sg_effect", *given])
    with pytest.raises(SystemExit) as stop:
        sweep.main()
    return commands, stop.value.code


def test_a_result_that_is_there_is_left_alone_unless_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    study, results = STUDIES["sg_effect"], f"--results={tmp_path}"
    only = ("--only=shuffled", results)
    for flags in study.queue(["shuffled"]):
        place = sweep.place(study, flags, tmp_path)
        assert place.parent == tmp_path / "omniglot" / "sg_effect"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}")
    assert called(monkeypatch, *only) == ([], 0)
    commands, status = called(monkeypatch, *only, "--again", "--jobs=2")
    assert (len(commands), status) == (6, 1)
    assert commands[0][0] == "taskset"


def test_a_copy_lies_where_the_sweep_looks_for_it():
    """The work directory's name is that of the copy; see `results.write_result`."""
    study = STUDIES["rare"]
    flags = study.queue()[0]
    *_, workdir, results = sweep.command_of(study, flags, pathlib.Path("results"))
    name = workdir.removeprefix("--workdir=runs/rare/")
    assert sweep.place(study, flags, pathlib.Path("results")).stem == name
    assert results == "--results=results"


def test_bad_arguments_end_in_one_line(monkeypatch, capsys):
    assert "no run of sg_effect" in called(monkeypatch, "--only=all")[1]
    assert called(monkeypatch, "--jobs=0")[1] == 2
    assert "--jobs=0: must be at least 1" in capsys.readouterr().err
    assert called(monkeypatch, "--hours=0")[1] == 2
    assert "--hours=0: must be above 0" in capsys.readouterr().err


@pytest.mark.parametrize("listening", [True, False])
def test_when_hours_are_over_runs_save_and_stop_and_are_no_failures(
    listening, tmp_path, monkeypatch, capsys
):
    """The first run is done, the second is told to stop, the third is not started."""
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    script = (
        "import signal, sys, time\n"
        f"stop = lambda *_: sys.exit({sweep.EXIT_CODE})\n"
        f"signal.signal(signal.SIGTERM, stop if {listening} else signal.SIG_DFL)\n"
        "time.sleep(600 * ('--config.seed=1' in sys.argv))\n"
    )
    monkeypatch.setattr(
        sweep, "command_of", lambda study, flags, results: ["-c", script, *flags]
    )
    study = STUDIES["sg_effect"]
    queue = [(f"--config.seed={seed}",) for seed in (0, 1, 2)]
    until = sweep.time.monotonic() + 3
    statuses = sweep.run_all(study, queue, tmp_path, jobs=1, until=until)
    assert list(statuses.values()) == [0, sweep.EXIT_CODE, sweep.EXIT_CODE]
    assert sweep._told(study, 24, statuses) == 0
    assert "22 of 24 runs done, 2 are left" in capsys.readouterr().out
    logs = {log.name for log in (tmp_path / "runs" / "sg_effect").iterdir()}
    assert logs == {"seed-0.log", "seed-1.log"}


def test_precision_is_all_that_runs_of_its_study_differ_in():
    runs = [resolved(flags, "omniglot") for flags in STUDIES["precision"].queue()]
    assert len({(run.train, run.validate, run.eval) for run, _ in runs}) == 1
    pairs = {}
    for run, settings in runs:
        rest = dataclasses.replace(
            settings, model=dataclasses.replace(settings.model, precision="float32")
        )
        pairs.setdefault((run.data, run.seed, rest), []).append(
            settings.model.precision
        )
    assert len(pairs) == 2 * 3
    assert all(found == ["float32", "bfloat16"] for found in pairs.values())
