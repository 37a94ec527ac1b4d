"""What few-shot results say: tables, and the pictures of a run."""

from __future__ import annotations

import pathlib
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.common import plots, statistics, tables
from experiments.common import results as results_lib
from experiments.common.tables import Group, Result, Section

# Accuracy in %: 5-way 1-shot, 5-way 5-shot, 20-way 1-shot, 20-way 5-shot.
SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))
NOTES = {
    "t": "transductive: queries are normalised by their own statistics",
    "e": "ensemble of the five checkpoints that were best in validation",
    "p": "second and fifth presentation, so with 1 and 4 labelled examples of a class; "
    "20x20 pixels, no convolutions",
    "s": "a split of characters of its own, or one that depends on the file system",
}


class Published(NamedTuple):
    """What a paper reports: values as in `SETTINGS`, letters of `NOTES`, and whether
    the README's small table shows it."""

    values: tuple[float | None, ...]
    notes: str = ""
    brief: bool = False


PUBLISHED = {
    "NMN with synthetic gradients (2011.05438)": Published(
        (99.0, 99.7, 97.9, 99.1), brief=True
    ),
    "NMN without (2011.05438)": Published((80.2, 89.1, 78.1, 83.5), brief=True),
    "Prototypical networks": Published((98.8, 99.7, 96.0, 98.9), brief=True),
    "Matching networks": Published((98.1, 98.9, 93.8, 98.5)),
    "MAML": Published((98.7, 99.9, 95.8, 98.9), "ts"),
    "MAML++": Published((99.47, 99.93, 97.6, 99.3), "te", brief=True),
    "Reptile": Published((95.39, 98.90, 88.14, 96.65)),
    "Reptile with transduction": Published((97.68, 99.48, 89.43, 97.12), "t"),
    "MANN": Published((82.8, 94.9, None, None), "p"),
    "MetaNet": Published((98.95, None, 97.0, None)),
    "SNAIL": Published((99.07, 99.78, 97.64, 99.36), brief=True),
    "T-NAS++": Published((99.55, 99.95, None, None), brief=True),
}
EFFECT = "sg_effect"
# Studies at a budget far below a method's own, which say nothing of its strength.
SMALL_BUDGETS = (EFFECT, "precision", "rivals", "one_network")
ACCURACY = "accuracy"


def sections(results: list[Result]) -> list[Section]:
    """Few-shot accuracy, what was published, and the study of synthetic gradients."""
    results = by_kind(results)
    effect = [each for each in results if each["study"] == EFFECT]
    plain = [each for each in results if each["study"] != EFFECT]
    found = [Section("Few-shot classification", accuracies(plain))] if plain else []
    found.append(Section("Few-shot classification as published", published()))
    if effect:
        text = f"{_budget(effect)}\n\n{sg_effect(effect)}"
        found.append(Section("The effect of synthetic gradients", text))
    return found


def by_kind(results: list[Result]) -> list[Result]:
    """Results of one network for several settings, as one result for each of them."""
    found = []
    for each in results:
        names = each["task"].get("mixture", "")
        for ways, shots in re.findall(r"(\d+)way(\d+)shot", names):
            task = {**each["task"], "ways": int(ways), "shots": int(shots)}
            own = each["measures"][f"{ACCURACY} {ways}w{shots}s"]
            found.append(
                {
                    **each, "task": task, "measures": {ACCURACY: own},
                    "variant": f"{each['variant']}-{ways}w{shots}s",
                }
            )  # fmt: skip
        if not names:
            found.append(each)
    return found


def _budget(results: list[Result]) -> str:
    task, train = results[0]["task"], results[0]["config"]["train"]
    return (
        f"All rows have one budget: {task['ways']}-way {task['shots']}-shot, "
        f"{train['steps']} steps of {train['episodes']} episodes. *Against off* is the "
        "difference in points to the same network without synthetic gradients, paired "
        "by seed, with its own interval."
    )


def setting(result: Result) -> str:
    """Data and task in one cell."""
    task = result["task"]
    kind = result["evaluation"].get("kind", "episodes")
    lake = " Lake" if kind == "lake" else ""
    return f"{task['data']} ({task['split']}) {task['ways']}w{task['shots']}s{lake}"


def accuracies(results: list[Result]) -> str:
    """One row per setting and variant, with the mean over seeds."""
    groups = sorted(tables.grouped(results), key=lambda group: _order(group.first))
    columns, remarks = tables.column_names(groups), tables.remarks(groups)
    rows = [
        [setting(group.first), *tables.cells(group, columns), remark or tables.NOTHING,
         *_numbers(group)]
        for group, remark in zip(groups, remarks, strict=True)
    ]  # fmt: skip
    tail = ["accuracy %", "seeds", "steps", "minutes", "device"]
    return tables.table(["setting", *columns, "otherwise", *tail], rows)


def _order(result: Result) -> tuple:
    task = result["task"]
    return (task["data"], task["ways"], task["shots"], tables.label(result["columns"]))


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
    return real and kind == "episodes" and result["study"] not in SMALL_BUDGETS


def _cell(group: Group | None) -> str:
    if group is None:
        return tables.NOTHING
    return f"{tables.over_seeds(group, ACCURACY)} ({tables.seeds(group)})"


def sg_effect(results: list[Result]) -> str:
    """What synthetic gradients do, against the same network without, seed by seed."""
    groups = sorted(
        tables.grouped(results), key=lambda group: tuple(group.columns.values())
    )
    without = {_without_sg(group.first): group for group in groups if _is_off(group)}
    columns = tables.column_names(groups)
    measure = tables.mean_of(ACCURACY)
    rows = []
    for group in groups:
        base = without.get(_without_sg(group.first))
        each = ", ".join(f"{100 * v:.2f}" for v in group.by_seed(measure).values() if v)
        against = tables.NOTHING
        if base is not None and base is not group:
            gained = statistics.paired(group.by_seed(measure), base.by_seed(measure))
            against = tables.percent(gained, sign="+")
        mean = tables.over_seeds(group, ACCURACY)
        rows.append([*tables.cells(group, columns), each, mean, against])
    return tables.table([*columns, "accuracy % per seed", "mean", "against off"], rows)


def _is_off(group: Group) -> bool:
    settings = group.first["settings"]
    factor = settings["optim"]["controller_factor"]
    return settings["sg"]["use"] == "off" and factor == 1


def _without_sg(result: Result) -> str:
    """A digest of everything that is the same with and without synthetic gradients."""
    settings = dict(result["settings"])
    settings["sg"] = None
    settings["optim"] = {**settings["optim"], "controller_factor": None}
    settings.pop("adapt", None)
    train = results_lib.budget(result["config"])
    return results_lib.digest([settings, result["task"], result["evaluation"], train])


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
    return (
        f"{task['ways']}-way {task['shots']}-shot, {tables.label(result['columns'])}:\n"
        f"test {told}"
    )
