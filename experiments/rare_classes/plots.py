"""Figures 6 and 7, of one run or of the seeds of a study; from results alone."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from experiments.common import plots
from experiments.common.tables import Group
from nmn_jax.types import PerController

KINDS = {
    "synthetic": ("#D55E00", "predicted (SG)"),
    "true": ("#0072B2", "true cotangent"),
    "applied": ("0.5", "gradient applied to the controller"),
}
# Okabe and Ito's colours, to be told apart by everyone; dashed when they come again.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7")
DPI = 80
Groups = dict[str, Group]


def magnitudes(groups: Groups, path: pathlib.Path) -> None:
    """Fig. 6: norms at the controllers' outputs, rare windows as dots.

    A row per group, the median over its seeds.
    """
    figure, axes = plots.subplots(
        nrows=len(groups), ncols=3, squeeze=False, sharex=True, sharey="row",
        figsize=(13, 2.6 * len(groups) + 0.6),
    )  # fmt: skip
    for row, (name, group) in zip(axes, groups.items(), strict=True):
        for axis, controller in zip(row, PerController._fields, strict=True):
            measured = (each["extra"]["gradients"] for each in group.results)
            _panel(axis, [each.get(controller, {}) for each in measured])
            axis.set_title(f"{name}:\n{controller} controller", fontsize=8)
            axis.set_yscale("log")
        row[0].set_ylabel("mean norm over a window")
    for axis in axes[-1]:
        axis.set_xlabel("window")
    axes[0, 0].legend(fontsize=7)
    plots.save(figure, path, dpi=DPI)


def _panel(axis: Any, found: list[dict]) -> None:
    for kind, (colour, label) in KINDS.items():
        each = [f[kind]["curve"] for f in found if kind in f]
        # A silent predictor has norm zero, which no logarithmic axis shows.
        if not each or not np.any([e["frequent"] for e in each]):
            continue
        often, seldom = (
            np.median([e[what] for e in each], axis=0) for what in ("frequent", "rare")
        )
        axis.plot(each[0]["frequent_steps"], often, color=colour, lw=1, label=label)
        axis.plot(each[0]["rare_steps"], seldom, "o", color=colour, ms=4)


def accuracy(rows: dict[str, Groups], path: pathlib.Path) -> None:
    """Fig. 7: accuracy on rare and on frequent classes, mean and extremes of seeds.

    A row of panels per title, each with its own scale.
    """
    figure, axes = plots.subplots(
        nrows=len(rows), ncols=2, squeeze=False, sharex=True,
        figsize=(13, 4.2 * len(rows) + 0.4),
    )  # fmt: skip
    for row, (title, groups) in zip(axes, rows.items(), strict=True):
        for axis, kind in zip(row, ("rare", "frequent"), strict=True):
            for place, (name, group) in enumerate(groups.items()):
                _curve(axis, (group, kind), name, place)
            _rare_windows(axis, next(iter(groups.values())))
            axis.set_title(f"{title}: unseen images of the {kind} classes")
        row[0].set_ylabel("accuracy among all classes (%)")
        row[1].legend(fontsize=7, loc="lower right")
    for axis in axes[-1]:
        axis.set_xlabel("window (a line at every rare one)")
    plots.save(figure, path, dpi=DPI)


def _rare_windows(axis: Any, group: Group) -> None:
    period = group.first["task"]["period"]
    for at in range(period, group.first["extra"]["curves"]["steps"][-1] + 1, period):
        axis.axvline(at, color="0.85", lw=0.8, zorder=0)


def _curve(axis: Any, what: tuple[Group, str], name: str, place: int) -> None:
    group, kind = what
    again, which = divmod(place, len(COLOURS))
    curves = [each["extra"]["curves"] for each in group.results]
    steps, values = curves[0]["steps"], 100 * np.array([each[kind] for each in curves])
    axis.plot(steps, values.mean(0), color=COLOURS[which], lw=1.2, label=name,
              linestyle=("-", "--")[again % 2])  # fmt: skip
    if len(values) > 1:
        axis.fill_between(
            steps, values.min(0), values.max(0), color=COLOURS[which], alpha=0.12, lw=0
        )
