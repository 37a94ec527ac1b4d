"""Tables and pictures from files made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from results_made import RESULT, made

from experiments import report
from experiments.common import plots, results, statistics, tables
from experiments.omniglot import report as omniglot


def test_names_are_the_shortest_that_tell_apart():
    groups = tables.grouped([made(), made(use="off"), made(use="off", lr=1e-5)])
    assert tables.names(groups) == [
        "nmn recommended, synthetic gradients fast",
        "nmn recommended, synthetic gradients off",
        "nmn recommended, synthetic gradients off, optim.lr 1e-05",
    ]
    assert tables.names(tables.grouped([made()])) == ["nmn recommended"]
    other = {**RESULT["config"], "train": {"steps": 900, "episodes": 8}}
    budgets = tables.grouped([made(), made(variant="b", config=other)])
    assert tables.names(budgets) == [
        "nmn recommended, train.steps 600", "nmn recommended, train.steps 900",
    ]  # fmt: skip
    unsaid = tables.grouped([made(), made(variant="b")])
    assert tables.names(unsaid) == [
        "nmn recommended [fastNone1.0]",
        "nmn recommended [b]",
    ]


def test_a_factor_is_told_with_its_ends():
    assert tables.factor(None) == "–"
    assert tables.factor(statistics.geometric([5.0])) == "5"
    assert tables.factor(statistics.geometric([10.0, 1000.0, 100.0])) == (
        "100 [0.33, 30489]"
    )


def test_the_page_is_written_from_the_folder_of_results(tmp_path):
    folder, readme = tmp_path / "results", tmp_path / "README.md"
    place = folder / results.place(RESULT, "mine")
    results.write_json(place, RESULT)
    picture = folder / "omniglot" / "figures" / "some_curve.png"
    picture.parent.mkdir()
    picture.write_bytes(b"")
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    written = report.publish(folder, readme)
    assert {path.name for path in written} == {"README.md"}
    page = (folder / "README.md").read_text()
    assert "## Few-shot classification\n" in page and "98.00 ± 0.20" in page
    assert "![some curve](omniglot/figures/some_curve.png)" in page
    said = readme.read_text()
    assert said.startswith(f"before\n{report.BEGIN}\n| accuracy %")
    assert said.endswith(f"{report.END}\nafter\n") and "old" not in said
    with pytest.raises(ValueError, match="no place"):
        report.fill_readme("no markers", "new")


def test_every_benchmark_has_a_part_of_the_report():
    found = report.benchmarks("report")
    assert {"omniglot", "rare_classes"} <= found.keys()
    for module in found.values():
        assert callable(module.sections) and callable(module.draw_run)


def test_a_torn_last_line_of_the_metrics_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 2.0}\n{"step": 2, "x": null}\n{"step": 3, "lo'
    )
    found = plots.rows(tmp_path)
    assert len(found) == 2
    np.testing.assert_array_equal(plots.series(found, "loss"), [[1], [2.0]])
    np.testing.assert_array_equal(plots.series(found, "x"), [[], []])


@pytest.mark.parametrize("norm", [0.0, 1.0])
def test_every_picture_of_a_run_is_drawn_from_files(norm, tmp_path):
    draw = np.random.default_rng(0)
    rows = [
        {
            "step": step, "loss": 1.0, "accuracy": 0.5,
            **{
                f"sg/{controller}/{measure}": norm
                for controller in plots.CONTROLLERS
                for measure in ("cosine", "r2", "norm", "true_norm")
            },
        }
        for step in (1, 2)
    ]  # fmt: skip
    rows.append({"step": 2, "validation/accuracy": 0.4, "validation/ci95": 0.01})
    text = "\n".join(map(json.dumps, rows)) + "\n"
    (tmp_path / "metrics.jsonl").write_text(text)
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
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


def test_a_title_is_how_the_method_names_itself():
    result = {**RESULT, "columns": {"method": "mine", "depth": "3"}}
    assert omniglot.title(result) == "5-way 1-shot, mine, depth 3:\ntest 98.00 ± 0.20 %"


def test_a_run_of_an_unknown_benchmark_is_named(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "experiment": "maze"}))
    with pytest.raises(ValueError, match="run of 'maze', which draws nothing"):
        report.draw_run(tmp_path)


def test_a_legend_below_is_whole_however_long_its_names():
    figure, axes = plots.subplots(ncols=2, figsize=(8, 4))
    for number in range(9):
        axes[0].plot([0, 1], [0, number], label=f"{number} " + "a long name " * 6)
    plots.legend_below(figure, axes[0])
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert len(legend.get_texts()) == 9
    assert box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0
    assert axes[0].get_window_extent().y0 > box.y1
