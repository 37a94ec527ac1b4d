"""Trajectories and sharing: tables and figures, with numbers made by hand."""

from __future__ import annotations

import numpy as np

from experiments.common import plots
from experiments.sharing import report as sharing_report
from experiments.sharing import tables as sharing_tables
from experiments.trajectory import report, tables

STEPS = [0, 1, 8]
COMMON = {
    "seed": 0, "state_digest": "0", "train_steps": 100, "train_images": 10,
    "wall_seconds": 1.0, "first_step_seconds": None, "device": "cpu", "devices": 1,
    "jax": "0", "commit": "c", "command": "python",
}  # fmt: skip


def made(errors, fde=(1.0, 1.0), **aspects):
    """A result of one variant with two draws.

    Args:
      errors: squared errors of both draws after each step.
      fde: of both draws after every step.
    """
    told = tables.Aspects(**aspects)
    heldout = {
        "squared_error": errors, "ade": [list(fde)] * 3, "fde": [list(fde)] * 3
    }  # fmt: skip
    paths = {kind: np.zeros((4, 3, 2)).tolist() for kind in ("seen", "true", "said")}
    return {
        **COMMON,
        "experiment": "trajectory", "study": "sdd", "method": told.method,
        "columns": {"method": told.method, "synthetic gradients": told.use},
        "task": {
            "data": "sdd", "observed": 50, "horizon": 50, "train": 150, "support": 10,
            "scale": "heading",
        },
        "measures": {"fde after 8": {"mean": 1.0, "half": 0.1, "n": 2, "unit": "m"}},
        "variant": str(told), "evaluation": {"kind": "tracks", "part": "test"},
        "config": {},
        "settings": {
            "preset": told.preset, "sg": {"use": told.use, "control": told.control},
            "optim": {"controller_factor": told.factor},
            "forecast": {"decode": told.decode, "frame": told.frame},
        },
        "extra": {
            "steps": STEPS, "heldout": heldout, "support": heldout, "examples": paths
        },
    }  # fmt: skip


CLEANING = [
    {"rule": "standing", "changed": 3,
     "left": {"cyclist": {"users": 5, "tracks": 6, "points": 700}}}
]  # fmt: skip
OFF = made([[4.0, 1.0], [4.0, 1.0], [2.0, 1.0]], (1.5, 2.5))
BOTH = made([[2.0, 1.0], [4.0, 1.0], [1.0, 0.5]], (1.0, 2.5), use="both")
VELOCITY = made([[1.0, 1.0]] * 3, (1.0, 2.0), method="constant_velocity")


def test_synthetic_gradients_are_judged_draw_by_draw():
    groups = tables.grouped([OFF, BOTH, VELOCITY])
    (row,) = tables.ratios(groups)
    assert row[0].endswith("both") and row[1].endswith("off")
    # By hand: factors of the two draws are 1/2 and 1; 1 and 1; 1/2 and 1/2.
    assert row[2].startswith("0.707 [") and row[3:] == ["1 [1, 1]", "0.5 [0.5, 0.5]"]


def test_progress_is_the_error_after_more_steps_over_that_after_fewer():
    (row,) = tables.progress(tables.grouped([OFF]))
    assert row[1] == "1 [1, 1]" and row[2].startswith("0.707 [")


def test_forecasts_are_held_against_constant_velocity_in_metres():
    rows = tables.against_velocity(tables.grouped([OFF, BOTH, VELOCITY]))
    told = {row[0]: row[1:] for row in rows}
    assert len(told) == 2
    off = next(cells for name, cells in told.items() if name.endswith("off"))
    assert off == ["+0.5000 ± 0.0000"] * 3
    both = next(cells for name, cells in told.items() if name.endswith("both"))
    assert both[0].startswith("+0.2500 ± 3.17")
    assert tables.against_velocity(tables.grouped([OFF])) == []


def test_the_section_tells_all_of_it_and_a_study_is_drawn(tmp_path):
    control = made([[1.0, 1.0]] * 3, use="both", control="zeroed")
    found = [OFF, BOTH, VELOCITY, control]
    (section,) = report.sections(found)
    assert (
        "sdd: 100 steps on 150 cyclists, then steps on 10 pedestrians" in section.text
    )
    assert section.text.count("\n| nmn_forecast") >= 8
    found[0]["extra"]["cleaning"] = CLEANING
    told, again = report.sections(found)
    assert told.title == "Trajectories: what was left out of sdd" and again == section
    assert "| standing | 3 | 5 / 6 / 700 |" in told.text
    assert "not for commercial use" in told.text
    report.draw_study(found, tmp_path)
    drawn = sorted(tmp_path.iterdir())
    assert [path.name for path in drawn] == ["sdd_adaptation.png", "sdd_forecasts.png"]
    assert all(path.stat().st_size < 200_000 for path in drawn)
    decoupled = made([[1.0, 1.0]] * 3, use="decoupled")
    aligned = made([[1.0, 1.0]] * 3, decode="aligned")
    everyone = [*found, decoupled, aligned]
    assert [each for each in everyone if tables.is_plain(each)] == [
        *found[:3], decoupled
    ]  # fmt: skip
    assert [each for each in everyone if tables.is_drawn(each)] == found[:3]


def branches(sharing, second, first=((1.0, 1.0),) * 3):
    return {
        **COMMON,
        "experiment": "sharing", "study": "sharing", "method": "nmn_forecast",
        "columns": {"sharing": sharing, "method": "nmn"},
        "task": {"data": "sdd", "first": "cyclist"},
        "measures": {"second": {"mean": 1.0, "half": 0.1, "n": 2, "unit": ""}},
        "variant": sharing, "evaluation": {"kind": "tracks"},
        "config": {
            "sharing": sharing, "train": {"lead": 100, "period": 100, "batch": 10}
        },
        "settings": {"sg": {"control": "none"}},
        "extra": {"curves": {"steps": [100, 200, 300], "first": first,
                             "second": second}},
    }  # fmt: skip


def test_a_second_network_is_judged_by_its_curve_from_its_first_turn_on():
    alone = branches("separate", [[9.0, 9.0], [4.0, 4.0], [1.0, 1.0]])
    shared = branches("shared", [[1.0, 1.0], [4.0, 4.0], [0.25, 0.25]])
    (groups,) = sharing_tables.parted([alone, shared]).values()
    # By hand: the geometric means of 4 and 1, and of 4 and 1/4.
    base, other = (groups[kind] for kind in sorted(groups))
    assert sharing_tables.mean(base, "second") == {0: 2.0, 1: 2.0}
    assert sharing_tables.mean(other, "second") == {0: 1.0, 1: 1.0}
    (row,) = sharing_tables.contrasts(groups)
    assert row[0] == "shared predictors"
    assert row[1:] == [
        "1 [1, 1]", "0.25 [0.25, 0.25]", "0.5 [0.5, 0.5]", "1 [1, 1]"
    ]  # fmt: skip


def test_a_variant_has_one_colour_and_one_name_in_all_panels(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path, **how: drawn.append(figure))
    found = [branches(each, [[4.0, 4.0]] * 3) for each in ("frozen", "separate")]
    other = branches("separate", [[2.0, 2.0]] * 3)
    other["task"] = {"data": "sdd", "first": "pedestrian"}
    last = branches("warm", [[3.0, 3.0]] * 3)
    last["task"] = other["task"]
    sharing_report.draw([*found, other, last], tmp_path, prefix="")
    for figure in drawn:
        colours = {}
        for axis in figure.axes:
            for line in axis.lines:
                known = colours.setdefault(line.get_label(), line.get_color())
                assert known == line.get_color()
        assert len(set(colours.values())) == len(colours) == 3
        (legend,) = figure.legends
        assert {each.get_text() for each in legend.get_texts()} == set(colours)


def test_networks_are_drawn_by_who_is_streamed(tmp_path):
    alone = branches("separate", [[4.0, 4.0]] * 3)
    other = branches("separate", [[4.0, 4.0]] * 3)
    other["task"] = {"data": "sdd", "first": "pedestrian"}
    other["variant"] = "b"
    sections = sharing_report.sections([alone, other])
    assert [each.title for each in sections] == [
        "Shared predictors, cyclists streamed",
        "Shared predictors, pedestrians streamed",
    ]
    sharing_report.draw_study([alone, other], tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["sharing_first.png", "sharing_second.png"]
