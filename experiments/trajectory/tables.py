"""What trajectory results say, in tables; pure functions of results.

Everything is paired by draw: two runs with one seed have the same tracks in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from experiments.common import statistics, tables
from experiments.common.tables import Group, Result

# Scaled units are small.
MICRO = 1e4


class Aspects(NamedTuple):
    """What variants differ in; the defaults are the memory without synthetic
    gradients."""

    method: str = "nmn_forecast"
    preset: str = "recommended"
    decode: str = "flat"
    frame: str = "velocity"
    use: str = "off"
    control: str = "none"
    factor: float = 1.0


YARDSTICK = "constant_velocity"
CONTROLS = ("zeroed", "shuffled", "oracle_step", "oracle_query")


def aspects(result: Result) -> Aspects:
    """Those of one result."""
    settings = result["settings"]
    return Aspects(
        result["method"],
        settings["preset"],
        settings["forecast"]["decode"],
        settings["forecast"]["frame"],
        settings["sg"]["use"],
        settings["sg"]["control"],
        settings["optim"]["controller_factor"],
    )


def grouped(results: Iterable[Result]) -> dict[str, Group]:
    """Every variant by the shortest name that tells it from the others."""
    groups = tables.grouped(results)
    named = zip(tables.names(groups), groups, strict=True)
    return dict(sorted(named, key=lambda pair: pair[0]))


def is_plain(result: Result) -> bool:
    """Whether it is no control, and of the settings that were found best."""
    found, default = aspects(result), Aspects()
    if found.method != default.method:
        return True
    return found == default._replace(use=found.use)


def is_drawn(result: Result) -> bool:
    """Of these, synthetic gradients in full use or none, so that lines are few."""
    return is_plain(result) and aspects(result).use in ("off", "both")


def draws(group: Group, kind: str, at: int, part: str = "heldout") -> dict[int, float]:
    """One measure after `at` steps by draw, over all results of a group."""
    found = {}
    for each in group.results:
        place = each["extra"]["steps"].index(at)
        for draw, value in enumerate(each["extra"][part][kind][place]):
            found[each["seed"] + draw] = value
    return found


def shown(result: Result) -> list[int]:
    """The steps that tables show: none, one, eight and the last."""
    steps = result["extra"]["steps"]
    return [at for at in steps if at in (0, 1, 8, steps[-1])]


def errors(groups: Mapping[str, Group]) -> str:
    """Squared error in scaled units, ADE and FDE in metres, over steps."""
    steps = shown(next(iter(groups.values())).first)
    last = steps[-1]
    header = [
        "variant", *(f"MSE × 10⁴ after {at}" for at in steps),
        f"on the support after {last}", f"ADE m after {last}",
        *(f"FDE m after {at}" for at in (steps[0], last)), "draws",
    ]  # fmt: skip
    return tables.table(
        header, [[name, *_row(group, steps)] for name, group in groups.items()]
    )


def _row(group: Group, steps: Sequence[int]) -> list[str]:
    last = steps[-1]
    support = draws(group, "squared_error", last, "support")
    cells = [
        *(_scaled(draws(group, "squared_error", at)) for at in steps),
        _scaled(support),
        *(
            tables.plain(tables.average(draws(group, kind, at).values()))
            for kind, at in (("ade", last), ("fde", steps[0]), ("fde", last))
        ),
    ]
    return [*cells, str(len(support))]


def _scaled(values: Mapping[int, float]) -> str:
    return tables.plain(tables.average(MICRO * each for each in values.values()))


def ratios(groups: Mapping[str, Group]) -> list[list[str]]:
    """Rows of held-out squared errors as factors, draw by draw, after some steps."""
    by_aspects = {aspects(group.first): name for name, group in groups.items()}
    rows = []
    for pair in _pairs(by_aspects):
        first, second = (by_aspects[each] for each in pair)
        one, other = groups[first], groups[second]
        told = [ratio(one, other, at=at) for at in shown(one.first)]
        rows.append([first, second, *map(_factor, told)])
    return rows


def ratio(one: Group, other: Group, *, at: int) -> statistics.Factor | None:
    """By what factor the first's held-out error is that of the second."""
    first, second = (draws(each, "squared_error", at) for each in (one, other))
    both = sorted(first.keys() & second.keys())
    return statistics.geometric(first[draw] / second[draw] for draw in both)


def _factor(found: statistics.Factor | None) -> str:
    return tables.factor(found, digits=3)


def _pairs(known: Mapping[Aspects, str]) -> list[tuple[Aspects, Aspects]]:
    """What is compared: with and without synthetic gradients, and with controls."""
    found: list[tuple[Aspects, Aspects]] = []
    for base in known:
        if (base.use, base.factor) != ("off", 1.0):
            continue
        both = base._replace(use="both")
        found += [
            (both._replace(use="decoupled"), base), (both._replace(use="fast"), base),
            (both, base), (base._replace(factor=2.0), base),
            *((both, both._replace(control=control)) for control in CONTROLS),
        ]  # fmt: skip
    return [pair for pair in found if set(pair) <= known.keys()]


def progress(groups: Mapping[str, Group]) -> list[list[str]]:
    """Rows of how the held-out error of a variant goes on: as factors, draw by draw."""
    rows = []
    for name, group in groups.items():
        first, *later = shown(group.first)
        rows.append([name])
        for before, after in zip([first, *later], later, strict=False):
            old, new = (draws(group, "squared_error", at) for at in (before, after))
            found = statistics.geometric(new[each] / old[each] for each in old)
            rows[-1].append(_factor(found))
    return rows


def against_velocity(groups: Mapping[str, Group]) -> list[list[str]]:
    """Rows of FDE in metres less that of constant velocity, draw by draw."""
    by_method = {aspects(group.first).method: group for group in groups.values()}
    yardstick = by_method.get(YARDSTICK)
    if yardstick is None:
        return []
    rows = []
    for name, group in groups.items():
        if group is yardstick:
            continue
        told = [
            statistics.paired(draws(group, "fde", at), draws(yardstick, "fde", at))
            for at in shown(group.first)
        ]
        rows.append([name, *(_metres(each) for each in told)])
    return rows


def _metres(found: statistics.Estimate | None) -> str:
    if found is None or found.half is None:
        return tables.plain(found, sign="+")
    return f"{found.mean:+.4f} ± {found.half:.4f}"
