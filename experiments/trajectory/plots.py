"""Figures 4 and 5, of one run or of a study; from results alone."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.common import plots, statistics
from experiments.common.tables import Group
from experiments.trajectory import tables

# Okabe and Ito's colours, to be told apart by everyone; dashed when they come again.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#888888")
DPI = 80
FIRST = 8


def adaptation(groups: Mapping[str, Group], path: pathlib.Path) -> None:
    """Fig. 4: squared error over gradient steps, held out and on what is adapted to.

    The first steps alone and all of them; mean and 95 % interval over draws.
    """
    figure, axes = plots.subplots(ncols=3, figsize=(14, 5))
    panels = (("heldout", FIRST), ("heldout", None), ("support", None))
    for axis, (part, most) in zip(axes, panels, strict=True):
        for place, (name, group) in enumerate(groups.items()):
            _curve(axis, (group, part, most), name, place)
        axis.set_yscale("log")
        axis.set_xlabel("gradient steps on 10 pedestrians")
        told = "held-out pedestrians" if part == "heldout" else "those adapted to"
        axis.set_title(told, fontsize=9)
    axes[0].set_ylabel("squared error, scaled units")
    plots.legend_below(figure, axes[0])
    plots.save(figure, path, dpi=DPI)


def _curve(axis: Any, what: tuple[Group, str, int | None], name: str, at: int) -> None:
    group, part, most = what
    steps = [s for s in group.first["extra"]["steps"] if most is None or s <= most]
    found = [
        statistics.estimate(tables.draws(group, "squared_error", s, part).values())
        for s in steps
    ]
    again, which = divmod(at, len(COLOURS))
    mean = np.array([each.mean for each in found])
    half = np.array([each.half or 0.0 for each in found])
    style = {"color": COLOURS[which], "ls": ("-", "--", ":")[again % 3], "lw": 1.4}
    axis.plot(steps, mean, label=name, **style)
    low = np.maximum(mean - half, 0.3 * mean)
    axis.fill_between(steps, low, mean + half, color=COLOURS[which], alpha=0.12, lw=0)


def forecasts(groups: Mapping[str, Group], path: pathlib.Path) -> None:
    """Fig. 5: held-out tracks of one draw, seen, true, and as each method said."""
    first = next(iter(groups.values())).first["extra"]["examples"]
    count = len(first["seen"])
    rows = 2 if count > 3 else 1
    columns = -(-count // rows)
    figure, axes = plots.subplots(
        nrows=rows, ncols=columns, squeeze=False, figsize=(4.6 * columns, 3.8 * rows)
    )
    for place, axis in enumerate(axes.flat):
        if place >= count:
            axis.set_axis_off()
            continue
        _tracks(axis, groups, place)
    plots.legend_below(figure, axes[0, 0])
    plots.save(figure, path, dpi=DPI)


def _tracks(axis: Any, groups: Mapping[str, Group], place: int) -> None:
    first = next(iter(groups.values())).first["extra"]["examples"]
    for kind, colour in (("seen", "0.6"), ("true", "k")):
        axis.plot(*np.transpose(first[kind][place]), color=colour, lw=2.5, label=kind)
    for at, (name, group) in enumerate(groups.items()):
        said = np.transpose(group.first["extra"]["examples"]["said"][place])
        again, which = divmod(at, len(COLOURS))
        axis.plot(*said, color=COLOURS[which], ls=("-", "--", ":")[again % 3], lw=1.2,
                  label=name)  # fmt: skip
    axis.set_aspect("equal", adjustable="datalim")
    axis.tick_params(labelsize=7)
    axis.set_xlabel("x (m)", fontsize=8)
    axis.set_ylabel("y (m)", fontsize=8)
