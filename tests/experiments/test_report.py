"""Tables and pictures from files made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments import report
from experiments.common import plots, results, statistics, tables
from experiments.omniglot import compared, levers, published
from experiments.omniglot import report as omniglot

SETTINGS = {
    "preset": "recommended",
    "model": {"label_input": "write"},
    "sg": {"use": "fast", "control": "none"},
    "optim": {"lr": 1e-3, "controller_factor": 1.0},
    "adapt": {"lr": 0.01},
}
RESULT = {
    "experiment": "omniglot", "study": "", "method": "nmn", "seed": 0,
    "columns": {"method": "nmn recommended", "synthetic gradients": "fast"},
    "task": {"data": "omniglot", "split": "paper", "ways": 5, "shots": 1},
    "measures": {
        "accuracy": {"mean": 0.98, "half": 0.002, "n": 1000, "unit": "fraction"}
    },
    "variant": "a", "evaluation": {"kind": "episodes"},
    "config": {"optim": {"lr": None}, "train": {"steps": 600, "episodes": 8}},
    "settings": SETTINGS, "state_digest": "0", "train_steps": 5000,
    "train_images": 1, "wall_seconds": 600.0, "first_step_seconds": 3.0,
    "device": "cpu", "devices": 1, "jax": "0", "commit": "c", "command": "python",
    "extra": {},
}  # fmt: skip


def made(accuracy=0.98, use="fast", *, lr=None, factor=1.0, **changes):
    """A result of another variant where that is meant."""
    optim = {"lr": lr or 1e-3, "controller_factor": factor}
    settings = {**SETTINGS, "sg": {"use": use, "control": "none"}, "optim": optim}
    return {
        **RESULT,
        "settings": settings,
        "config": {**RESULT["config"], "optim": {"lr": lr}},
        "variant": f"{use}{lr}{factor}",
        "columns": {"method": "nmn recommended", "synthetic gradients": use},
        "measures": {
            "accuracy": {"mean": accuracy, "half": 0.002, "n": 1000, "unit": "fraction"}
        },
        **changes,
    }


def lines(text):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.split("\n")]


def test_seeds_are_averaged_in_one_row_with_students_interval():
    found = [made(), made(0.99, seed=1)]
    _, _, row = lines(omniglot.accuracies(found))
    assert row[:3] == ["omniglot (paper) 5w1s", "nmn recommended", "fast"]
    assert row[4:] == ["98.50 ± 6.35", "2", "5000", "10", "cpu"]


def test_twelve_seeds_have_students_factor_and_not_the_normal_one():
    values = [0.9 + 0.01 * (seed % 2) for seed in range(12)]
    found = [made(value, seed=seed) for seed, value in enumerate(values)]
    _, _, row = lines(omniglot.accuracies(found))
    # By hand: deviation 0.005 √(12 / 11), over √12, times 2.201.
    assert row[4] == f"90.50 ± {100 * 0.005 / np.sqrt(11) * 2.201:.2f}"


def test_one_seed_given_twice_is_one_seed_and_another_rate_another_row():
    found = [made(), made(), made(0.5, lr=1e-5)]
    _, _, first, second = lines(omniglot.accuracies(found))
    assert (first[4:6], first[3]) == (["98.00 ± 0.20", "1"], "–")
    assert (second[4:6], second[3]) == (["50.00 ± 0.20", "1"], "optim.lr 1e-05")


def test_the_effect_is_paired_by_seed_and_has_an_interval_of_its_own():
    found = [
        made(accuracy, use, seed=seed, study="sg_effect")
        for use, seed, accuracy in (
            ("off", 0, 0.2), ("off", 1, 0.3), ("fast", 0, 0.8), ("fast", 1, 0.7),
        )
    ]  # fmt: skip
    found.append(made(0.25, "off", factor=2.0, seed=0, study="sg_effect"))
    # The pace of the loop is no other budget: they are still of one network.
    config = found[2]["config"]
    found[2]["config"] = {**config, "train": {**config["train"], "steps_per_call": 7}}
    rows = {row[1] + row[2]: row for row in lines(compared.sg_effect(found))[2:]}
    assert rows["fast80.00, 70.00"][4] == "+50.00 ± 127.06"
    assert rows["off20.00, 30.00"][4] == "–"
    assert rows["off25.00"][4] == "+5.00"


def test_the_effect_in_every_setting_is_paired_there():
    def of(use, seed, few, many, label="write"):
        measures = {
            name: {"mean": mean, "half": 0.01, "n": 9, "unit": "fraction"}
            for name, mean in (
                ("accuracy", 0.1), ("accuracy 5w1s", few), ("accuracy 20w5s", many),
            )
        }  # fmt: skip
        result = made(use=use, seed=seed, study="sg_full", measures=measures)
        settings = {**result["settings"], "model": {"label_input": label}}
        task = {**RESULT["task"], "mixture": "5way1shot, 20way5shot"}
        columns = {**result["columns"], "label input": label}
        told = {"settings": settings, "task": task, "columns": columns}
        return {**result, **told, "variant": f"{use}{label}"}

    found = [
        of("off", 0, 0.9, 0.5), of("off", 1, 0.8, 0.5),
        of("fast", 0, 0.91, 0.3), of("fast", 1, 0.81, 0.2),
        of("fast", 0, 0.7, 0.6, "none"), of("off", 0, 0.2, 0.05, "none"),
    ]  # fmt: skip
    header, _, *rows = lines(compared.by_setting(found))
    assert header[3:] == ["seeds", "5w1s", "20w5s"]
    assert [row[1:] for row in rows] == [
        ["fast", "none", "1 seed", "70.00 ± 1.00 (+50.00)", "60.00 ± 1.00 (+55.00)"],
        ["fast", "write", "2 seeds", "86.00 ± 63.53 (+1.00 ± 0.00)",
         "25.00 ± 63.53 (-25.00 ± 63.53)"],
        ["off", "none", "1 seed", "20.00 ± 1.00", "5.00 ± 1.00"],
        ["off", "write", "2 seeds", "85.00 ± 63.53", "50.00 ± 0.00"],
    ]  # fmt: skip
    title = "The effect of synthetic gradients in four settings"
    text = {part.title: part.text for part in omniglot.sections(found)}[title]
    assert compared.by_setting(found) in text


def test_the_title_of_a_picture_is_as_wide_as_it():
    columns = {"method": "nmn", "trained on": ", ".join(["20w1s"] * 30)}
    found = omniglot.title(made(columns=columns)).split("\n")
    assert max(map(len, found)) <= omniglot.WIDEST + 1 and len(found) == 4
    mixed = made(task={**RESULT["task"], "mixture": "5way1shot, 20way1shot"})
    assert omniglot.title(mixed).startswith("5way1shot, 20way1shot, nmn recommended")
    assert (
        " ".join(found[:-1]).endswith("20w1s:") and found[-1] == "test 98.00 ± 0.20 %"
    )


def test_levers_are_judged_by_validation_and_named_by_what_they_change():
    def of(score, **changes):
        config = {"ways": 20, "practice": ["20way1shot"], "optim": {"lr": None}}
        config |= {"train": {"steps": 1, "queries": 3}, **changes}
        return made(
            study="levers", config=config, extra={"validation_accuracy": score},
            train_images=300_100,
        )  # fmt: skip

    found = [
        of(0.9), of(0.925, optim={"lr": 2e-3}),
        of(0.85, practice=[], train={"steps": 7, "queries": 3}),
        of(0.91, ways=60, practice=["60way1shot", "20way5shot"]),
    ]  # fmt: skip
    rows = lines(levers.table(found))[2:]
    assert [row[:3] for row in rows] == [
        ["optim.lr 0.002", "92.50", "+2.50"],
        ["ways 60, practice 60way1shot and 20way5shot", "91.00", "+1.00"],
        ["none", "90.00", "–"],
        ["practice as tested", "85.00", "-5.00"],
    ]
    sections = {part.title: part.text for part in omniglot.sections(found)}
    assert "300,000 images" in sections["Levers to accuracy"]
    assert omniglot.summary(found) == "" and "Few-shot classification" not in sections


def test_half_precision_is_paired_with_single_in_each_setting():
    def of(kind, seed, accuracy, ways=5):
        settings = {**SETTINGS, "model": {**SETTINGS["model"], "precision": kind}}
        return made(
            accuracy, seed=seed, study="precision", settings=settings,
            task={**RESULT["task"], "ways": ways}, variant=f"{kind}{ways}",
        )  # fmt: skip

    found = [
        of("bfloat16", 0, 0.7), of("float32", 0, 0.8), of("float32", 1, 0.6),
        of("bfloat16", 1, 0.74), of("bfloat16", 0, 0.3, 20), of("float32", 0, 0.5, 20),
    ]  # fmt: skip
    rows = lines(compared.precision(found))[2:]
    assert [row[:3] + row[4:] for row in rows] == [
        ["omniglot (paper) 20w1s", "bfloat16", "30.00", "-20.00"],
        ["omniglot (paper) 20w1s", "float32", "50.00", "–"],
        ["omniglot (paper) 5w1s", "bfloat16", "70.00, 74.00", "+2.00 ± 152.47"],
        ["omniglot (paper) 5w1s", "float32", "80.00, 60.00", "–"],
    ]
    sections = {part.title: part.text for part in omniglot.sections(found)}
    assert "bfloat16" in sections["The encoder in half precision"]
    assert omniglot.summary(found) == "" and "Few-shot classification" not in sections


def test_the_readme_has_one_small_table_beside_what_was_published():
    other = {**RESULT["task"], "ways": 20}
    found = [
        made(0.5, variant="short", train_steps=10),
        made(),
        made(0.9, task=other, variant="b"),
        made(0.1, study="sg_effect"),
        made(0.1, task={**other, "data": "glyphs"}),
    ]
    told = lines(omniglot.summary(found))
    assert told[0] == ["accuracy %", "5w1s", "5w5s", "20w1s", "20w5s"]
    assert told[2] == [
        "nmn recommended, synthetic gradients fast",
        "98.00 ± 0.20 (1 seed)", "–", "90.00 ± 0.20 (1 seed)", "–",
    ]  # fmt: skip
    assert told[3][0].startswith("*NMN with synthetic gradients")
    assert not any(row[0].startswith("*MANN") for row in told)
    for study in ("sg_effect", "rivals"):
        assert omniglot.summary([made(study=study)]) == ""


def test_published_rows_say_how_their_protocol_differs():
    told = omniglot.published()
    rows = {row[0]: row[1:] for row in lines(told.split("\n\n")[0])}
    assert rows["MAML (t, s)"] == ["98.7", "99.9", "95.8", "98.9"]
    assert rows["MetaNet"] == ["98.95", "–", "97.0", "–"]
    assert rows["MANN (p)"] == ["82.8", "94.9", "–", "–"]
    for line in published.PUBLISHED.values():
        assert len(line.values) == len(omniglot.SETTINGS)
        assert set(line.notes) <= set(published.NOTES)
    assert "(t) transductive" in told


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
