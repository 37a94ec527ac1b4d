"""Accuracies of studies against their base, the same network in another way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from experiments.common import results as results_lib
from experiments.common import statistics, tables
from experiments.common.tables import Group, Result
from experiments.omniglot.cells import ACCURACY, order, setting

PAIRED = ["accuracy % per seed", "mean"]


def sg_effect(results: list[Result]) -> str:
    """What synthetic gradients do, against the same network without, seed by seed."""
    groups = _by_columns(results)
    columns = tables.column_names(groups)
    rows = [
        [*tables.cells(group, columns), *numbers]
        for group, numbers in zip(
            groups, _against(groups, _is_off, _without_sg), strict=True
        )
    ]
    return tables.table([*columns, *PAIRED, "against off"], rows)


def _by_columns(results: list[Result]) -> list[Group]:
    return sorted(
        tables.grouped(results), key=lambda group: tuple(group.columns.values())
    )


def by_setting(results: list[Result]) -> str:
    """As `sg_effect`, of one network for several settings: accuracy in each of them,
    and in brackets the difference to the same network without."""
    groups = _by_columns(results)
    columns = tables.column_names(groups)
    names = [name for name in groups[0].first["measures"] if name != ACCURACY]
    asked = [_against(groups, _is_off, _without_sg, name) for name in names]
    rows = [
        [*tables.cells(group, columns), tables.seeds(group),
         *(mean if gained == tables.NOTHING else f"{mean} ({gained})"
           for _, mean, gained in told)]
        for group, told in zip(groups, zip(*asked, strict=True), strict=True)
    ]  # fmt: skip
    header = [name.removeprefix(f"{ACCURACY} ") for name in names]
    return tables.table([*columns, "seeds", *header], rows)


def precision(results: list[Result]) -> str:
    """The encoder's products in half precision against single, seed by seed."""
    groups = sorted(tables.grouped(results), key=lambda group: order(group.first))
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
    name: str = ACCURACY,
) -> list[list[str]]:
    """Of every group its values of a measure, their mean, and the difference to its
    base: that of the groups which are alike, paired by seed."""
    bases = {alike(group.first): group for group in groups if is_base(group.first)}
    measure = tables.mean_of(name)

    def numbers(group: Group) -> list[str]:
        base = bases.get(alike(group.first))
        found = group.by_seed(measure)
        each = ", ".join(f"{100 * v:.2f}" for v in found.values() if v)
        against = tables.NOTHING
        if base is not None and base is not group:
            gained = statistics.paired(found, base.by_seed(measure))
            against = tables.percent(gained, sign="+")
        return [each, tables.over_seeds(group, name), against]

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
