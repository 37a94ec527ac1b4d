"""Results to Markdown; pure functions that know only what every result has.

Results of one variant and one evaluation are one row, and differ in their seeds alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.common import results as results_lib
from experiments.common import statistics

Result = dict[str, Any]
Measure = Callable[[Result], float | None]
NOTHING = "–"


class Group(NamedTuple):
    """One result a seed, of one variant measured in one way; ordered by seed."""

    results: list[Result]

    @property
    def first(self) -> Result:
        """That of the lowest seed: what is the same for all is read from it."""
        return self.results[0]

    @property
    def columns(self) -> dict[str, str]:
        """How the method names itself."""
        return self.first["columns"]

    def by_seed(self, measure: Measure) -> dict[int, float | None]:
        """One measure of every seed."""
        return {each["seed"]: measure(each) for each in self.results}


def mean_of(name: str) -> Measure:
    """The measure that reads one of a result's own by its name."""

    def measure(result: Result) -> float | None:
        found = result["measures"].get(name)
        return None if found is None else found["mean"]

    return measure


def studies(found: Iterable[Result]) -> dict[str, list[Result]]:
    """Results by study, in order of its name; "" are those of none."""
    parted: dict[str, list[Result]] = {}
    for each in found:
        parted.setdefault(each["study"], []).append(each)
    return dict(sorted(parted.items()))


def grouped(found: Iterable[Result]) -> list[Group]:
    """Variants in the order of first appearance, every seed once.

    A seed that comes twice is one seed: the run of more recent appearance counts, and
    a line says so.
    """
    groups: dict[tuple[str, str, str], dict[int, Result]] = {}
    for each in found:
        key = (each["study"], each["variant"], results_lib.digest(each["evaluation"]))
        seeds = groups.setdefault(key, {})
        if each["seed"] in seeds:
            print(
                f"warning: seed {each['seed']} of {label(each['columns'])} comes twice "
                f"in {each['experiment']}/{each['study'] or 'single'}; it counts once",
                file=sys.stderr,
            )
        seeds[each["seed"]] = each
    return [Group([seeds[at] for at in sorted(seeds)]) for seeds in groups.values()]


def label(columns: Mapping[str, str]) -> str:
    """What a method says of itself, in one line: its first entry, the others named."""
    told = [(name, value) for name, value in columns.items() if value]
    return ", ".join(
        value if place == 0 else f"{name} {value}"
        for place, (name, value) in enumerate(told)
    )


def overrides(result: Result) -> dict[str, Any]:
    """Settings that a run gave explicitly, as `{record.field: value}`."""
    records = {name: result["config"].get(name) for name in results_lib.RESOLVED}
    return {name: value for name, value in _flat(records).items() if value is not None}


def circumstances(result: Result) -> dict[str, Any]:
    """What else tells results of one method apart: task, budget and evaluation."""
    train = results_lib.budget(result["config"])
    return _flat(
        {"task": result["task"], "train": train, "evaluation": result["evaluation"]}
    )


def _flat(parts: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
    return {
        f"{part}.{name}": value
        for part, given in parts.items()
        for name, value in (given or {}).items()
    }


def remarks(
    groups: Sequence[Group], tell: Callable[[Result], dict[str, Any]] = overrides
) -> list[str]:
    """In what groups differ whose methods name themselves alike.

    Args:
      tell: what is compared of a result; explicit settings unless said otherwise.
    """
    told = [tell(group.first) for group in groups]
    alike = [tuple(group.columns.items()) for group in groups]

    def remark(place: int) -> str:
        others = [told[at] for at, each in enumerate(alike) if each == alike[place]]
        return ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in told[place].items()
            if any(name not in other or other[name] != value for other in others)
        )

    return [remark(place) for place in range(len(groups))]


def names(groups: Sequence[Group]) -> list[str]:
    """The shortest name of every group that tells it from the others.

    Columns are added from the first on as long as they part groups that had one name.
    What no column says is said by `remarks`, and in the end by the variant.
    """
    pairs = zip(remarks(groups), remarks(groups, circumstances), strict=True)
    notes = [", ".join(filter(None, pair)) for pair in pairs]
    kept: list[str] = []

    def told(columns: list[str]) -> list[tuple]:
        return [
            (*(group.columns.get(name, "") for name in columns), note)
            for group, note in zip(groups, notes, strict=True)
        ]

    for name in column_names(groups):
        if not kept or len(set(told([*kept, name]))) > len(set(told(kept))):
            kept.append(name)
    lines = [
        label({name: group.columns.get(name, "") for name in kept}) for group in groups
    ]
    found = [", ".join(filter(None, pair)) for pair in zip(lines, notes, strict=True)]
    return [
        name if found.count(name) == 1 else f"{name} [{group.first['variant']}]"
        for name, group in zip(found, groups, strict=True)
    ]


class Section(NamedTuple):
    """A part of the report: a heading and Markdown below it."""

    title: str
    text: str


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def column_names(groups: Iterable[Group]) -> list[str]:
    """All that any of the methods has a column for, in order of first appearance."""
    return list(dict.fromkeys(name for group in groups for name in group.columns))


def cells(group: Group, names: Iterable[str]) -> list[str]:
    """The method's entries in these columns."""
    return [group.columns.get(name) or NOTHING for name in names]


def over_seeds(group: Group, name: str) -> str:
    """A measure in per cent: mean ± interval over seeds; of one seed, over examples."""
    if len(group.results) == 1:
        measured = group.first["measures"][name]
        return percent(
            statistics.Estimate(*(measured[k] for k in ("mean", "half", "n")))
        )
    values = [each["measures"][name]["mean"] for each in group.results]
    return percent(statistics.estimate(values))


def percent(found: statistics.Estimate | None, *, sign: str = "") -> str:
    """A fraction as `mean ± half` in per cent (or points); `sign` may be `+`."""
    if found is None:
        return NOTHING
    scaled = (100 * found.mean, None if found.half is None else 100 * found.half)
    return plain(statistics.Estimate(*scaled, found.n), sign=sign)


def plain(found: statistics.Estimate | None, *, sign: str = "") -> str:
    """`mean ± half` with two digits, or only the mean where there is no interval."""
    if found is None:
        return NOTHING
    mean = f"{found.mean:{sign}.2f}"
    return mean if found.half is None else f"{mean} ± {found.half:.2f}"


def factor(found: statistics.Factor | None, *, digits: int = 2) -> str:
    """`middle [low, high]` of a ratio, in so many significant digits below ten."""
    if found is None:
        return NOTHING
    ends = [each for each in (found.low, found.high) if each is not None]
    middle, *told = (
        f"{each:.0f}" if each >= 10 else f"{each:.{digits}g}"
        for each in (found.middle, *ends)
    )
    return f"{middle} [{', '.join(told)}]" if told else middle


def average(values: Iterable[float | None]) -> statistics.Estimate | None:
    """Of what could be measured; None if nothing could."""
    measured = [each for each in values if each is not None]
    return statistics.estimate(measured) if measured else None


def seeds(group: Group) -> str:
    """How many, in words."""
    count = len(group.results)
    return f"{count} seed{'s' if count != 1 else ''}"
