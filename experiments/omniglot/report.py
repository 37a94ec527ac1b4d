"""What few-shot results say: tables, and the pictures of a run."""

from __future__ import annotations

import pathlib
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.common import plots, statistics, tables
from experiments.common import results as results_lib
from experiments.common.tables import Group, Result, Section
from experiments.omniglot import compared, levers
from experiments.omniglot.cells import ACCURACY, by_kind, order, setting
from experiments.omniglot.published import NOTES, PUBLISHED, SETTINGS, Published

# Characters of a line of a picture's title.
WIDEST = 90


def sections(results: list[Result]) -> list[Section]:
    """Few-shot accuracy, what was published, and the study of synthetic gradients."""
    whole = tables.studies(results)
    found, studies = [], tables.studies(by_kind(results))
    apart = (*COMPARED, LEVERS)
    plain = [each for name in studies if name not in apart for each in studies[name]]
    if plain:
        found.append(Section("Few-shot classification", accuracies(plain)))
    found.append(Section("Few-shot classification as published", published()))
    for name, (title, told) in COMPARED.items():
        if name in whole:
            text = f"{_budget(studies[name])}\n\n{told(whole[name])}"
            found.append(Section(title, text))
    if LEVERS in whole:
        found.append(Section(levers.TITLE, levers.text(whole[LEVERS])))
    return found


def _budget(results: list[Result]) -> str:
    train = results[0]["config"]["train"]
    tasks = ", ".join(sorted({setting(each) for each in results}))
    return (
        f"{tasks}. All rows have one budget: {train['steps']} steps of "
        f"{train['episodes']} episodes. *Against* is the difference in points to the "
        "same network in the other way, paired by seed, with its own interval."
    )


def accuracies(results: list[Result]) -> str:
    """One row per setting and variant, with the mean over seeds."""
    groups = sorted(tables.grouped(results), key=lambda group: order(group.first))
    columns, remarks = tables.column_names(groups), tables.remarks(groups)
    rows = [
        [setting(group.first), *tables.cells(group, columns), remark or tables.NOTHING,
         *_numbers(group)]
        for group, remark in zip(groups, remarks, strict=True)
    ]  # fmt: skip
    tail = ["accuracy %", "seeds", "steps", "minutes", "device"]
    return tables.table(["setting", *columns, "otherwise", *tail], rows)


def _numbers(group: Group) -> list[str]:
    minutes = statistics.estimate(each["wall_seconds"] / 60 for each in group.results)
    told = [tables.over_seeds(group, _measure(group.first)), str(len(group.results))]
    first = group.first
    return [*told, str(first["train_steps"]), f"{minutes.mean:.0f}", first["device"]]


def _measure(result: Result) -> str:
    """The measure a row shows: accuracy, or whatever comes first."""
    measured = result["measures"]
    return ACCURACY if ACCURACY in measured else next(iter(measured))


def published() -> str:
    """Published Omniglot accuracies, as reported; protocols differ between papers."""
    rows = [
        [f"{name} ({', '.join(line.notes)})" if line.notes else name, *_told(line)]
        for name, line in PUBLISHED.items()
    ]
    notes = "; ".join(f"({letter}) {said}" for letter, said in NOTES.items())
    return f"{tables.table(['published', *_header()], rows)}\n\n{notes}."


def _header() -> list[str]:
    return [f"{ways}w{shots}s" for ways, shots in SETTINGS]


def _told(line: Published) -> list[str]:
    return [tables.NOTHING if v is None else str(v) for v in line.values]


def summary(results: list[Result]) -> str:
    """The four settings by method, beside what was published; "" without results.

    Of several budgets of one method in one setting the longest training is shown.
    """
    found = [each for each in by_kind(results) if _in_summary(each)]
    groups = tables.grouped(found)
    if not groups:
        return ""
    lines: dict[str, dict[tuple, Group]] = defaultdict(dict)
    named = zip(groups, tables.remarks(groups), strict=True)
    for group, remark in sorted(named, key=lambda pair: pair[0].first["train_steps"]):
        task = group.first["task"]
        name = ", ".join(filter(None, [tables.label(group.columns), remark]))
        lines[name][task["ways"], task["shots"]] = group
    rows = [
        [name, *(_cell(by_task.get(each)) for each in SETTINGS)]
        for name, by_task in sorted(lines.items())
    ]
    published = [
        [f"*{name}*", *_told(line)] for name, line in PUBLISHED.items() if line.brief
    ]
    return tables.table(["accuracy %", *_header()], [*rows, *published])


def _in_summary(result: Result) -> bool:
    kind = result["evaluation"].get("kind", "episodes")
    real = result["task"]["data"] == "omniglot"
    return real and kind == "episodes" and result["study"] not in NO_SUMMARY


def _cell(group: Group | None) -> str:
    if group is None:
        return tables.NOTHING
    return f"{tables.over_seeds(group, ACCURACY)} ({tables.seeds(group)})"


# Studies whose rows are compared with each other, at a budget of their own.
COMPARED = {
    "sg_effect": ("The effect of synthetic gradients", compared.sg_effect),
    "sg_full": (
        "The effect of synthetic gradients in four settings",
        compared.by_setting,
    ),
    "precision": ("The encoder in half precision", compared.precision),
}
LEVERS = "levers"
# Budgets far below a method's own say nothing of its strength; and `recast` is a change
# that did not pay.
NO_SUMMARY = (*COMPARED, LEVERS, "rivals", "one_network", "recast")


def draw_run(workdir: pathlib.Path, result: Result, folder: pathlib.Path) -> None:
    """Learning curve, answered episodes, addressing, and synthetic gradients."""
    found = plots.rows(workdir)
    plots.learning_curve(
        found, folder / "learning_curve.png",
        title=title(result), chance=1 / result["task"]["ways"],
    )  # fmt: skip
    if plots.has_synthetic(found):
        plots.synthetic(found, folder / "synthetic.png")
    seen = _evidence(workdir)
    if "predictions" in seen:
        plots.episodes(seen, folder / "episodes.png")
    if {"query_weights", "support_weights", "support_writes"} <= seen.keys():
        plots.addressing(seen, folder / "addressing.png")


def _evidence(workdir: pathlib.Path) -> Mapping[str, np.ndarray]:
    path = workdir / "evidence.npz"
    return dict(np.load(path)) if path.exists() else {}


def title(result: Mapping[str, Any]) -> str:
    """What was trained, as its method names itself, and how it did."""
    told = results_lib.tell(result["measures"][_measure(dict(result))])
    task = result["task"]
    asked = task.get("mixture") or f"{task['ways']}-way {task['shots']}-shot"
    name = f"{asked}, {tables.label(result['columns'])}"
    return f"{textwrap.fill(name, WIDEST)}:\ntest {told}"
