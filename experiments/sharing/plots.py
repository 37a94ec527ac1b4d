"""Figures 8 and 9, of one run or of a study; from results alone."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.common import plots, statistics
from experiments.common.tables import Group
from experiments.sharing import tables
from experiments.sharing.tables import Kind

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DPI = 80


def branch(
    parts: Mapping[str, Mapping[Kind, Group]], path: pathlib.Path, name: str
) -> None:
    """The error of one network over steps, a panel for each class that is streamed:
    `second` is Fig. 8, `first` is Fig. 9. Mean and 95 % interval over draws; a variant
    has one colour in all panels."""
    kinds = list(dict.fromkeys(kind for groups in parts.values() for kind in groups))
    figure, axes = plots.subplots(
        ncols=len(parts), squeeze=False, figsize=(6.5 * len(parts), 4.6)
    )
    for axis, (streamed, groups) in zip(axes[0], parts.items(), strict=True):
        for found, group in groups.items():
            colour = COLOURS[kinds.index(found) % len(COLOURS)]
            _curve(axis, (group, name), tables.told(found), colour)
        axis.set_yscale("log")
        axis.set_title(f"{_who(streamed, name)} network, {streamed}s are streamed",
                       fontsize=9)  # fmt: skip
        axis.set_xlabel("step of the streamed network")
    axes[0, 0].set_ylabel("squared error on held-out tracks, scaled units")
    plots.legend_below(figure, *axes[0])
    plots.save(figure, path, dpi=DPI)


def _who(streamed: str, name: str) -> str:
    other = {"cyclist": "pedestrian", "pedestrian": "cyclist"}[streamed]
    return streamed if name == "first" else other


def _curve(axis: Any, what: tuple[Group, str], label: str, colour: str) -> None:
    group, name = what
    steps = group.first["extra"]["curves"]["steps"]
    found = [
        statistics.estimate(tables.curve(group, name, at).values()) for at in steps
    ]
    mean = np.array([each.mean for each in found])
    half = np.array([each.half or 0.0 for each in found])
    axis.plot(steps, mean, color=colour, lw=1.4, label=label)
    low = np.maximum(mean - half, 0.3 * mean)
    axis.fill_between(steps, low, mean + half, color=colour, alpha=0.15, lw=0)
