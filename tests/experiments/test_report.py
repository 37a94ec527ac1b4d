"""Tables and pictures from files made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments import plots, report, results, tables

RESULT = {
    "experiment": "omniglot", "method": "nmn", "preset": "recommended", "sg": "fast",
    "control": "none", "label_input": "write", "ways": 5, "shots": 1,
    "data": "omniglot", "split": "paper", "norm": "running", "accuracy": 0.98,
    "ci95": 0.002, "episodes": 1000, "seed": 0, "train_steps": 5000,
    "train_images": 1, "wall_seconds": 600.0, "device": "cpu", "config": {},
    "commit": "c", "command": "python", "study": "",
}  # fmt: skip


def lines(text):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.split("\n")]


def test_interval_is_students_over_seeds_and_that_of_episodes_for_one():
    assert tables.interval([0.9], 0.01) == 0.01
    # Two values 0.02 apart: deviation 0.01 √2, t = 12.706, over √2.
    np.testing.assert_allclose(tables.interval([0.9, 0.92], 0.0), 0.12706, rtol=1e-6)


def test_seeds_are_averaged_in_one_row():
    found = [RESULT, {**RESULT, "seed": 1, "accuracy": 0.99}]
    _, _, row = lines(tables.accuracies(found))
    assert row[:4] == ["omniglot (paper) 5w1s", "nmn recommended", "fast", "write"]
    assert row[5:9] == ["98.50 ± 6.35", "2", "5000", "10"]


def test_the_effect_is_against_off_with_the_same_seed():
    base = {**RESULT, "study": "sg_effect"}
    found = [
        {**base, "sg": sg, "seed": seed, "accuracy": accuracy}
        for sg, seed, accuracy in (
            ("off", 0, 0.2), ("off", 1, 0.3), ("fast", 0, 0.8), ("fast", 1, 0.7),
        )
    ]  # fmt: skip
    _, _, fast, off = lines(tables.sg_effect(found))
    assert fast[5] == "80.00, 70.00" and fast[7] == "+50.00"
    assert off[7] == "+0.00"


def test_what_is_no_result_is_named_with_what_it_lacks(tmp_path):
    (tmp_path / "torn.json").write_text("{")
    with pytest.raises(ValueError, match=r"torn\.json: not a JSON file"):
        tables.load([tmp_path])
    lacking = {k: v for k, v in RESULT.items() if k != "commit"}
    (tmp_path / "torn.json").write_text(json.dumps(lacking))
    with pytest.raises(ValueError, match=r"torn\.json: not a result, it lacks commit"):
        tables.load([tmp_path])


def test_only_what_stands_between_the_markers_changes():
    text = f"a\n{report.BEGIN}\nold\n{report.END}\nb"
    filled = report.fill_readme(text, "new\n")
    assert filled == f"a\n{report.BEGIN}\nnew\n{report.END}\nb"
    assert report.fill_readme(filled, "new\n") == filled
    with pytest.raises(ValueError, match="results:begin"):
        report.fill_readme("nothing", "new")


@pytest.mark.parametrize("sg", ["fast", "off"])
def test_every_picture_is_drawn_from_files(tmp_path, sg):
    draw = np.random.default_rng(0)
    rows = [
        {"step": step, "time": 0.0, "loss": 1 / step, "accuracy": 0.5, **{
            f"sg/{name}/{measure}": 0.5
            for name in plots.COLOURS
            for measure in ("cosine", "r2", "norm", "true_norm")
        }}
        for step in (10, 20, 30)
    ]  # fmt: skip
    rows.append({"step": 30, "validation/accuracy": 0.6, "validation/ci95": 0.01})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 40, "lo')
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "sg": sg}))
    weights = draw.dirichlet(np.ones(5), (2, 15))
    np.savez(
        tmp_path / "evidence.npz",
        support_images=draw.integers(0, 255, (2, 5, 28, 28)),
        support_labels=np.tile(np.arange(5), (2, 1)),
        query_images=draw.integers(0, 255, (2, 15, 28, 28)),
        query_labels=np.tile(np.arange(5).repeat(3), (2, 1)),
        predictions=draw.integers(0, 5, (2, 15)),
        support_weights=weights[:, :10],
        support_writes=weights[:, :10],
        query_weights=weights,
    )
    names = [picture.name for picture in report.draw_run(tmp_path)]
    assert names == [
        "addressing.png", "episodes.png", "learning_curve.png", "synthetic.png",
    ]  # fmt: skip


@pytest.mark.parametrize("place", [["--workdir=/a/b"], ["--results", "/a/b"]])
def test_the_command_of_a_result_names_no_place_of_its_machine(place):
    given = ["/a/omniglot.py", "--config=5way1shot", *place, "--config.seed=1"]
    expected = "python -m experiments.omniglot --config=5way1shot --config.seed=1"
    assert results.command(given) == expected


def test_no_committed_result_names_a_place_of_its_machine():
    committed = tables.load([results.ROOT / "results"])
    assert committed and not [each for each in committed if "/" in each["command"]]
