"""What the study of two networks says, in tables; pure functions of results.

Everything is paired by draw: runs with one seed have the same tracks and first
parameters in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from experiments.common import statistics, tables
from experiments.common.tables import Group, Result

SCALED = 1e4


class Kind(NamedTuple):
    """What variants of the study differ in."""

    sharing: str
    control: str = "none"


SEPARATE = Kind("separate")
SHARED = Kind("shared")


def kind(result: Result) -> Kind:
    """That of one result."""
    return Kind(result["config"]["sharing"], result["settings"]["sg"]["control"])


def told(found: Kind) -> str:
    """In words."""
    words = {
        "separate": "predictors of their own",
        "shared": "shared predictors",
        "frozen": "shared, frozen at random",
        "warm": "second network starts as the first, predictors of its own",
    }
    zeroed = "" if found.control == "none" else f", {found.control}"
    return words[found.sharing] + zeroed


def parted(results: Iterable[Result]) -> dict[str, dict[Kind, Group]]:
    """Groups by the class that is streamed, then by kind."""
    parts: dict[str, dict[Kind, Group]] = {}
    for group in tables.grouped(results):
        first = group.first["task"]["first"]
        parts.setdefault(first, {})[kind(group.first)] = group
    return parts


def curve(group: Group, branch: str, at: int) -> dict[int, float]:
    """Error of one network after `at` steps, by draw."""
    found = {}
    for each in group.results:
        curves = each["extra"]["curves"]
        place = curves["steps"].index(at)
        for draw, value in enumerate(curves[branch][place]):
            found[each["seed"] + draw] = value
    return found


def mean(group: Group, branch: str) -> dict[int, float]:
    """Geometric mean of an error over all evaluations after the second network's first
    turn, by draw: what is lower was learned faster."""
    train = group.first["config"]["train"]
    steps = [at for at in group.first["extra"]["curves"]["steps"] if at > train["lead"]]
    found = [curve(group, branch, at) for at in steps]
    factors = {
        draw: statistics.geometric(each[draw] for each in found) for draw in found[0]
    }
    return {draw: each.middle for draw, each in factors.items() if each is not None}


def errors(groups: Mapping[Kind, Group]) -> str:
    """Squared errors of both networks at a few steps, and the mean of the curve."""
    steps = shown(next(iter(groups.values())))
    header = [
        "variant",
        *(f"second network, MSE × 10⁴ after {at}" for at in steps),
        "mean of its curve", f"first network after {steps[-1]}", "draws",
    ]  # fmt: skip
    rows = []
    for found, group in groups.items():
        second = [_scaled(curve(group, "second", at)) for at in steps]
        whole = mean(group, "second")
        first = _scaled(curve(group, "first", steps[-1]))
        rows.append([told(found), *second, _scaled(whole), first, str(len(whole))])
    return tables.table(header, rows)


def shown(group: Group) -> list[int]:
    """After the first turn of the second network, half way, and at the end."""
    train = group.first["config"]["train"]
    steps = [s for s in group.first["extra"]["curves"]["steps"] if s > train["lead"]]
    return sorted({steps[0], steps[len(steps) // 4], steps[len(steps) // 2], steps[-1]})


def _scaled(values: Mapping[int, float]) -> str:
    return tables.plain(tables.average(SCALED * each for each in values.values()))


def contrasts(groups: Mapping[Kind, Group]) -> list[list[str]]:
    """Rows of errors as factors of those with predictors of their own, by draw."""
    base = groups.get(SEPARATE)
    if base is None:
        return []
    rows = []
    for found, group in groups.items():
        if group is base:
            continue
        second = [
            _factor(curve(group, "second", at), curve(base, "second", at))
            for at in shown(base)
        ]
        whole = _factor(mean(group, "second"), mean(base, "second"))
        first = _factor(mean(group, "first"), mean(base, "first"))
        rows.append([told(found), *second, whole, first])
    return rows


def _factor(one: Mapping[int, float], other: Mapping[int, float]) -> str:
    both = sorted(one.keys() & other.keys())
    found = statistics.geometric(one[at] / other[at] for at in both)
    return tables.factor(found, digits=3)
