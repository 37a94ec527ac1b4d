"""What can be known to be wrong with a few-shot run is said before its first step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from experiments.omniglot import __main__ as command
from experiments.omniglot import config, protocol, records, sources, study
from nmn_jax.data import lake, splits
from nmn_jax.data.types import Partition
from nmn_jax.run import parallel
from nmn_jax.settings import reader

RUN = records.Run(data=records.Data("glyphs"))
OFFICIAL = records.Data(split="official")
LAKE = records.Evaluate(kind="lake")


def run_of(variant: str, **changes) -> records.Run:
    found = reader.from_mapping(records.Run, config.get_config(variant))
    return dataclasses.replace(found, **changes)


def test_variants_become_runs():
    quick = run_of("quick")
    assert (quick.data.source, quick.train.steps, quick.validate.episodes) == (
        "glyphs", 300, 100
    )  # fmt: skip
    twenty = run_of("20way5shot")
    assert (twenty.ways, twenty.shots, twenty.data.split) == (20, 5, None)
    with pytest.raises(ValueError, match=r"'5ways'; use quick, all or <N>way<S>shot"):
        config.get_config("5ways")


def test_defaults_are_those_of_every_committed_result():
    """Validation had the seed after that of the test; the split was the paper's."""
    run = run_of("5way1shot")
    assert (run.eval.seed, run.validate.seed) == (2020, 2021)
    assert (run.eval.episodes, run.validate.episodes) == (1000, 200)
    assert records.split_name(run.data) == "paper"
    assert records.queries_asked(run.eval, 5) == 15
    assert records.queries_asked(run.validate, 20) == 5
    assert records.queries_asked(records.Evaluate(queries=7), 5) == 7
    settings = protocol.prepare(run, parallel.make_mesh()).settings
    assert (settings.preset, settings.sg.use) == ("recommended", "fast")


def test_one_network_for_all_settings_is_a_mixture_of_them():
    run = run_of("all")
    assert records.kinds(run) == [(5, 1), (5, 5), (20, 1), (20, 5)]
    assert command.images_per_step(run) == 16 * (5 * 4 + 5 * 8 + 20 * 4 + 20 * 8) // 4
    assert records.kinds(run_of("7way2shot")) == [(7, 2)]
    for changes, said in (
        ({"ways": 19}, "ways=19, shots=5: these are the most"),
        ({"mixture": ("5ways",)}, "config.mixture=.*<N>way<S>shot"),
        ({"eval": LAKE, "data": OFFICIAL}, "mixture=.*20-way 1-shot"),
    ):
        with pytest.raises(ValueError, match=said):
            dataclasses.replace(run, **changes)
    # Every kind has to find its drawings: 5 shots and 15 queries.
    sources.check(run, shapes(20, 20, 20))
    with pytest.raises(ValueError, match=r"shots=5 and validate\.queries=15 need 20"):
        sources.check(run, shapes(20, 20, 20, drawers=19))


def test_practice_is_of_a_mixture_and_finds_its_drawings():
    run = run_of("all", ways=30, practice=("30way1shot", "20way5shot"))
    assert records.practised(run) == [(30, 1), (20, 5)]
    assert records.practised(run_of("all")) == records.kinds(run)
    assert command.images_per_step(run) == 16 * (30 * 4 + 20 * 8) // 2
    sources.check(run, shapes(30, 20, 20))
    with pytest.raises(ValueError, match="ways=30: there are 29 training"):
        sources.check(run, shapes(29, 20, 20))
    for changes, said in (
        ({"practice": ("31way1shot",)}, r"practice=\('31way1shot',\) with ways=30"),
        ({"practice": ("5way6shot",)}, "the most a kind of it may have"),
        ({"mixture": ()}, "without mixture: also say which kinds are tested"),
    ):
        with pytest.raises(ValueError, match=said):
            dataclasses.replace(run, **changes)


def test_one_network_is_compared_at_equal_images():
    images = []
    for flags in study.one_network():
        given = dict(flag.removeprefix("--").split("=") for flag in flags)
        run = run_of(given["config"])
        sizes = {
            name: int(given[f"config.train.{name}"])
            for name in ("steps", "episodes", "queries")
        }
        run = dataclasses.replace(run, train=records.Train(**sizes))
        images.append(run.train.steps * command.images_per_step(run))
    np.testing.assert_allclose(images, images[0], rtol=5e-3)


def test_lakes_runs_are_for_models_of_the_official_split_and_their_shape():
    run = run_of("20way1shot", data=OFFICIAL, eval=LAKE)
    assert run.eval.kind == "lake"
    for changes, said in (
        ({"data": records.Data(split="paper")}, "446 in training.*split='official'"),
        ({"data": records.Data()}, "split=None.* 446 in training"),
        ({"data": records.Data("glyphs")}, "source='glyphs'.*source='omniglot'"),
        ({"shots": 5}, "ways=20, shots=5: Lake's runs are 20-way 1-shot"),
        ({"ways": 5}, "ways=5, shots=1: Lake's runs are 20-way 1-shot"),
    ):
        with pytest.raises(ValueError, match=said):
            dataclasses.replace(run, **changes)


def test_the_papers_split_has_446_of_lakes_evaluation_characters_in_training():
    """Why the other split is refused."""
    paper, official = splits.read("paper"), splits.read("official")
    assert len(set(paper["train"]) & set(official["test"])) == 446


def test_made_up_glyphs_have_no_split_to_choose():
    with pytest.raises(ValueError, match=r"data\.split='paper' with .*'glyphs'"):
        records.Data("glyphs", "paper")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "knn"}, r"unknown method 'knn'; choose one of .*'prototype'"),
        ({"method": "nmn_stream"}, "unknown method 'nmn_stream'"),
        ({"method": "prototype", "sg": {"use": "both"}}, "sg.use='both' has no effect"),
        ({"sg": {"use": "off", "control": "shuffled"}}, "nothing to control"),
        ({"model": {"slotz": 3}}, "did you mean slots"),
        ({"train": records.Train(episodes=12)}, "12 episodes .* 8 devices"),
        ({"train": records.Train(steps=10, steps_per_call=4)}, "train.steps=10 must"),
        (
            {"method": "prototype", "eval": records.Evaluate(adapt_steps=(0, 1))},
            r"eval\.adapt_steps=\(0, 1\) with method='prototype': it takes no gradient",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_data_are_read(changes, said):
    run = dataclasses.replace(RUN, **changes)
    with pytest.raises(ValueError, match=said):
        protocol.prepare(run, parallel.make_mesh())


def shapes(*classes: int, drawers: int = 20) -> Partition:
    """Parts of so many characters; only shapes matter."""
    return Partition(*(np.zeros((count, drawers, 1, 1), np.uint8) for count in classes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # 6 + 15 drawings of 20: fine while training, too many at the first validation.
        ({"shots": 6}, r"shots=6 and validate\.queries=15 need 21 .* at most 14"),
        (
            {"shots": 6, "validate": records.Validate(queries=5)},
            r"shots=6 and eval\.queries=15 need 21 drawings of a test",
        ),
        (
            {"shots": 18},
            r"shots=18 and train\.queries=3 need 21 drawings of a training",
        ),
        ({"shots": 20}, "has 20 drawings of a character, so at most 19 shots"),
        ({"ways": 31}, "ways=31: there are 30 test characters"),
        ({"ways": 41}, "ways=41: there are 40 validation characters"),
        ({"ways": 201}, "ways=201: there are 200 training characters"),
    ],
)
def test_every_part_of_the_data_has_to_suffice(changes, said):
    with pytest.raises(ValueError, match=said):
        sources.check(dataclasses.replace(RUN, **changes), shapes(200, 40, 30))


def test_what_suffices_is_not_refused():
    sources.check(RUN, shapes(200, 40, 30))
    edge = dataclasses.replace(RUN, shots=5, ways=5)
    sources.check(edge, shapes(5, 5, 5))


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"shots": 6}, ValueError, "validate.queries=15 need 21"),
        (
            {"ways": 20, "data": OFFICIAL, "eval": LAKE}, FileNotFoundError,
            lake.FILE.replace(".", r"\."),
        ),
    ],
)  # fmt: skip
def test_the_command_says_so_and_leaves_no_run_behind(
    monkeypatch, tmp_path, changes, kind, said
):
    monkeypatch.setenv("NMN_DATA_DIR", str(tmp_path / "nowhere"))
    run = dataclasses.replace(RUN, **changes)
    with pytest.raises(kind, match=said):
        command.main(run, tmp_path / "run", "")
    assert not (tmp_path / "run").exists()


def test_folders_that_cannot_be_written_into_are_told_before_training(
    monkeypatch, tmp_path
):
    def refuse(*_):
        raise AssertionError("training was begun")

    monkeypatch.setattr(command, "train", refuse)
    monkeypatch.setattr(sources, "load", lambda data: shapes(200, 40, 30))
    monkeypatch.setattr(sources, "expected", lambda data: None)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"--workdir=.*/file: this is a file"):
        command.main(RUN, tmp_path / "file", "")
    with pytest.raises(ValueError, match=r"--results=.*/file: this is a file"):
        command.main(RUN, tmp_path / "run", str(tmp_path / "file"))


def test_what_is_expected_before_reading_is_what_is_read(data_dir):
    for split in (None, "official"):
        data = records.Data(split=split)
        train = sources.load(data).train
        expected = sources.expected(data)
        assert (expected.shape, expected.dtype) == (train.shape, train.dtype)
    assert sources.expected(records.Data("glyphs")) is None


def test_missing_data_are_told_before_anything_is_compiled(monkeypatch, tmp_path):
    monkeypatch.setenv("NMN_DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="images_background.zip"):
        sources.expected(records.Data())
