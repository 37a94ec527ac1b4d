"""What few-shot results say: tables, and the pictures of a run."""

from __future__ import annotations

import pathlib
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.common import plots, statistics, tables
from experiments.common import results as results_lib
from experiments.common.tables import Group, Result, Section
from experiments.omniglot import levers
from experiments.omniglot.published import NOTES, PUBLISHED, SETTINGS, Published

PAIRED = ["accuracy % per seed", "mean"]
ACCURACY = "accuracy"
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
        if name in studies:
            text = f"{_budget(studies[name])}\n\n{told(studies[name])}"
            found.append(Section(title, text))
    if LEVERS in whole:
        found.append(Section(levers.TITLE, levers.text(whole[LEVERS])))
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
    train = results[0]["config"]["train"]
    tasks = ", ".join(sorted({setting(each) for each in results}))
    return (
        f"{tasks}. All rows have one budget: {train['steps']} steps of "
        f"{train['episodes']} episodes. *Against* is the difference in points to the "
        "same network in the other way, paired by seed, with its own interval."
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
    columns = tables.column_names(groups)
    rows = [
        [*tables.cells(group, columns), *numbers]
        for group, numbers in zip(
            groups, _against(groups, _is_off, _without_sg), strict=True
        )
    ]
    return tables.table([*columns, *PAIRED, "against off"], rows)


def precision(results: list[Result]) -> str:
    """The encoder's products in half precision against single, seed by seed."""
    groups = sorted(tables.grouped(results), key=lambda group: _order(group.first))
    paired = _against(groups, _is_single, _without_precision)
    rows = [
        [setting(group.first), _precision(group.first), *numbers]
        for group, numbers in zip(groups, paired, strict=True)
    ]
    return tables.table(
        ["setting", "precision", *PAIRED, "against float32"], sorted(rows)
    )


def _against(
    groups: list[Group],
    is_base: Callable[[Result], bool],
    alike: Callable[[Result], str],
) -> list[list[str]]:
    """Of every group its accuracies, their mean, and the difference to its base: that
    of the groups which are alike, paired by seed."""
    bases = {alike(group.first): group for group in groups if is_base(group.first)}
    measure = tables.mean_of(ACCURACY)

    def numbers(group: Group) -> list[str]:
        base = bases.get(alike(group.first))
        found = group.by_seed(measure)
        each = ", ".join(f"{100 * v:.2f}" for v in found.values() if v)
        against = tables.NOTHING
        if base is not None and base is not group:
            gained = statistics.paired(found, base.by_seed(measure))
            against = tables.percent(gained, sign="+")
        return [each, tables.over_seeds(group, ACCURACY), against]

    return [numbers(group) for group in groups]


def _precision(result: Result) -> str:
    return str(result["settings"]["model"]["precision"])


def _is_single(result: Result) -> bool:
    return _precision(result) == "float32"


def _without_precision(result: Result) -> str:
    """A digest of everything that is the same in both precisions."""
    settings = dict(result["settings"])
    settings["model"] = {**settings["model"], "precision": None}
    return _digest(result, settings)


def _is_off(result: Result) -> bool:
    settings = result["settings"]
    factor = settings["optim"]["controller_factor"]
    return settings["sg"]["use"] == "off" and factor == 1


def _without_sg(result: Result) -> str:
    """A digest of everything that is the same with and without synthetic gradients."""
    settings = dict(result["settings"])
    settings["sg"] = None
    settings["optim"] = {**settings["optim"], "controller_factor": None}
    settings.pop("adapt", None)
    return _digest(result, settings)


def _digest(result: Result, settings: dict[str, Any]) -> str:
    train = results_lib.budget(result["config"])
    return results_lib.digest([settings, result["task"], result["evaluation"], train])


# Studies whose rows are compared with each other, at a budget of their own.
COMPARED = {
    "sg_effect": ("The effect of synthetic gradients", sg_effect),
    "precision": ("The encoder in half precision", precision),
}
# Budgets far below a method's own, which say nothing of its strength.
LEVERS = "levers"
SMALL_BUDGETS = (*COMPARED, LEVERS, "rivals", "one_network")


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
