"""Rare classes: measures, tables and figures, with numbers made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import report
from experiments.common import provenance, results
from experiments.rare_classes import measures, study, tables
from experiments.rare_classes import report as rare_report


def test_peaks_by_hand():
    steps = np.arange(1, 21)
    values = np.where(steps % 5 == 0, 6.0, 2.0)
    values[0] = 100.0  # before half a period: left out
    found = measures.peaks(steps, values, 5)
    # Of the eighteen kept, four are 6 and fourteen 2: mean 52/18, variance 224/81.
    assert found["ratio"] == 3.0
    assert found["among_highest"] == 1.0
    assert found["variation"] == pytest.approx(1.66296 / 2.88889, rel=1e-5)
    silent = measures.peaks(steps, np.zeros(20), 5)
    assert all(np.isnan(each) for each in silent.values())


def test_a_peak_beside_the_rare_window_is_no_peak_of_it():
    steps = np.arange(1, 21)
    values = np.where(steps % 5 == 1, 6.0, 2.0) - 0.01 * steps
    assert measures.peaks(steps, values, 5)["among_highest"] == 0.0


def test_bins_by_hand():
    steps = np.arange(1, 121)
    values = np.where(steps <= 50, 1.0, 3.0)
    values[[39, 79, 119]] = 9.0
    assert measures.binned(steps, values, 40) == {
        "frequent_steps": [25, 75, 125], "frequent": [1.0, 3.0, 3.0],
        "rare_steps": [40, 80, 120], "rare": [9.0, 9.0, 9.0],
    }  # fmt: skip


def test_curves_by_hand():
    rare = {10: 0.0, 20: 0.6, 30: 0.2, 40: 0.8, 50: 0.4}
    rows = [
        {"step": step, "rare/accuracy": value, "frequent/accuracy": 1.0}
        for step, value in rare.items()
    ]
    found = measures.curves(rows, 20)
    assert found["rare_mean"] == pytest.approx(0.5)
    assert found["rare_after"] == pytest.approx(0.7)
    assert found["rare_before"] == pytest.approx(0.2)


def made(seed=0, *, mean=0.5, ratio=10.0, **aspects):
    """A result of one variant."""
    told = tables.Aspects(**aspects)
    norms = {"ratio": ratio, "variation": 1.0, "curve": CURVE}
    optim = {"lr": told.lr}
    replay = {"replay": "10 a window"} if "replay" in told.method else {}
    notes = [told.control] * (told.control != "none") + ["x 2"] * (told.factor == 2)
    note = f" ({', '.join(notes)})" if notes else ""
    return {
        "experiment": "rare_classes", "study": "rare", "method": told.method,
        "columns": {
            "method": told.preset, "synthetic gradients": told.use + note, **replay
        },
        "task": {
            "data": "mnist", "classes": 10, "frequent": [0, 1], "period": 5,
            "window": 10,
        },
        "seed": seed,
        "measures": {
            f"{kind} accuracy": {"mean": 0.5, "half": 0.1, "n": 9, "unit": "fraction"}
            for kind in ("rare", "frequent")
        },
        "variant": str(told), "evaluation": {"kind": "images"},
        "config": {"optim": optim},
        "settings": {
            "preset": told.preset, "sg": {"use": told.use, "control": told.control},
            "optim": {"controller_factor": told.factor},
        },
        "state_digest": "0", "train_steps": 12, "train_images": 120,
        "wall_seconds": 1.0, "first_step_seconds": None, "device": "cpu", "devices": 1,
        "jax": "0", "commit": "c", "command": "python",
        "extra": {
            "curves": {
                "steps": [5, 10, 12], "rare": [0.1, 0.2, 0.3],
                "frequent": [0.9, 0.9, 0.9], "rare_mean": mean, "rare_after": 0.4,
                "rare_before": None, "frequent_mean": 0.9,
            },
            "gradients": {
                name: dict.fromkeys(tables.KINDS, norms)
                for name in ("input", "output", "write")
            },
        },
    }  # fmt: skip


CURVE = {"frequent_steps": [1], "frequent": [1.0], "rare_steps": [5], "rare": [2.0]}


def test_variants_are_contrasted_seed_by_seed():
    groups = tables.grouped([
        made(0, mean=0.50, use="both"), made(1, mean=0.70, use="both"),
        made(2, mean=0.10, use="both"),
        made(0, mean=0.40), made(1, mean=0.40), made(3, mean=0.90),
    ])  # fmt: skip
    (row,) = tables.contrasts(groups)
    assert row[0] == "recommended, synthetic gradients both"
    assert row[1] == "recommended, synthetic gradients off"
    # By hand: 10 and 30 differ from their mean by 10; t of one degree is 12.706.
    assert row[2] == "20.00 ± 127.06"
    assert row[4] == "–"


def test_ratios_of_norms_are_averaged_as_factors():
    found = [
        made(seed, ratio=ratio) for seed, ratio in enumerate((10.0, 1000.0, 100.0))
    ]
    told = tables.peaks(tables.grouped(found))
    # By hand: logarithms to ten 1, 3, 2; half of the interval is 4.303 / √3 = 2.484.
    assert "| 100 [0.33, 30489] |" in told
    assert told.splitlines()[-1].endswith("| 0.00 ± 0.00 |")


def test_every_variant_of_a_study_stands_in_one_row_of_panels():
    groups = tables.grouped([
        made(), made(use="both", control="zeroed"), made(factor=2.0),
        made(method="nmn_replay"),
    ])  # fmt: skip
    parts = tables.parted(groups)
    assert {title: len(part) for title, part in parts.items()} == {
        "the stream alone": 1, "controls": 2, "with replay": 1,
    }  # fmt: skip


def test_a_study_is_drawn_and_told_from_results_alone(tmp_path):
    found = [made(), made(1), made(use="both"), made(1, use="both")]
    rare_report.draw_study(found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "rare_accuracy.png", "rare_gradients.png",
    }  # fmt: skip
    (section,) = rare_report.sections(found)
    assert section.title == "Rare classes: study rare"
    assert "12 windows of 10 images, classes 0, 1 frequent" in section.text
    assert "Differences in points" in section.text
    (lone,) = rare_report.sections([{**made(), "study": ""}])
    assert "Differences" not in lone.text and lone.title == "Rare classes"


def test_every_contrast_is_between_variants_of_the_study():
    def aspects(flags):
        given = dict(flag.removeprefix("--config.").split("=", 1) for flag in flags)
        return tables.Aspects(
            given.get("method", "nmn_stream"),
            given.get("preset", "recommended"),
            given.get("sg.use", "off"),
            given.get("sg.control", "none"),
            float(given.get("optim.controller_factor", 1)),
            float(given["optim.lr"]) if "optim.lr" in given else None,
        )

    known = {aspects(flags) for flags in study.rare()}
    assert {each for pair in tables.CONTRASTS for each in pair} <= known


def test_the_committed_study_is_told_with_all_its_variants():
    committed = results.load([provenance.ROOT / "results" / "rare_classes"])
    groups = tables.grouped(committed)
    assert {len(group.results) for group in groups.values()} == {5}
    told = report.whole(committed)
    assert all(f"| {name} |" in told for name in groups)
    assert len(tables.contrasts(groups)) >= 10
