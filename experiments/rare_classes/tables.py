"""What the rare-class study says, in tables; pure functions of results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from experiments.common import statistics, tables
from experiments.common.tables import Group, Measure, Result
from nmn_jax.types import PerController

PARTS = ("the stream alone", "controls", "with replay")
KINDS = ("synthetic", "true", "applied")


class Aspects(NamedTuple):
    """What variants of the study differ in; the defaults are its baseline, the memory
    without synthetic gradients or replay."""

    method: str = "nmn_stream"
    preset: str = "recommended"
    use: str = "off"
    control: str = "none"
    factor: float = 1.0
    lr: float | None = None


# What is compared, seed by seed.
BASE, BOTH = Aspects(), Aspects(use="both")
REPLAY = Aspects(method="nmn_replay")
CONTRASTS = (
    (Aspects(use="decoupled"), BASE),
    (Aspects(use="fast"), BASE),
    (BOTH, BASE),
    (Aspects(factor=2.0), BASE),
    *(
        (BOTH, BOTH._replace(control=control))
        for control in ("zeroed", "shuffled", "oracle_step", "oracle_query")
    ),
    (BOTH._replace(preset="paper_fast_lr"), BASE._replace(preset="paper_fast_lr")),
    (Aspects(lr=1e-7), BASE),
    (BASE, Aspects(method="cnn")),
    (REPLAY, BASE),
    (REPLAY._replace(use="both"), BASE),
    (REPLAY._replace(use="both"), REPLAY),
    (REPLAY, Aspects(method="cnn_replay")),
)


def _curve(name: str) -> Measure:
    return lambda each: each["extra"]["curves"][name]


# Accuracies on unseen images of the rare classes.
MEASURES: dict[str, Measure] = {
    "rare %, mean of the curve": _curve("rare_mean"),
    "just after rare windows": _curve("rare_after"),
    "just before the next": _curve("rare_before"),
    "at the end": tables.mean_of("rare accuracy"),
}
FREQUENT = tables.mean_of("frequent accuracy")


def aspects(result: Result) -> Aspects:
    """Those of one result."""
    settings = result["settings"]
    optim = settings["optim"]
    return Aspects(
        result["method"],
        settings["preset"],
        settings["sg"]["use"],
        settings["sg"]["control"],
        optim["controller_factor"],
        result["config"]["optim"].get("lr"),
    )


def grouped(results: Iterable[Result]) -> dict[str, Group]:
    """Seeds of every variant, by the shortest name that tells them apart."""
    groups = tables.grouped(results)
    named = zip(tables.names(groups), groups, strict=True)
    return dict(sorted(named, key=lambda pair: pair[0]))


def parted(groups: dict[str, Group]) -> dict[str, dict[str, Group]]:
    """Variants, controls, and what replays, as far as there are any."""
    parts: dict[str, dict[str, Group]] = {title: {} for title in PARTS}
    alone, controls, replay = parts.values()
    for name, group in groups.items():
        told = aspects(group.first)
        plain = (told.control, told.factor) == ("none", 1.0)
        kind = alone if plain else controls
        (replay if "replay" in group.columns else kind)[name] = group
    return {title: part for title, part in parts.items() if part}


def accuracies(groups: dict[str, Group]) -> str:
    """Accuracy on unseen images of the rare classes, among all ten."""
    rows = []
    for name, group in groups.items():
        told = [
            tables.percent(tables.average(group.by_seed(measure).values()))
            for measure in (*MEASURES.values(), FREQUENT)
        ]
        rows.append([name, *told, str(len(group.results))])
    header = ["variant", *MEASURES, "frequent %, at the end", "seeds"]
    return tables.table(header, rows)


def contrasts(groups: dict[str, Group]) -> list[list[str]]:
    """Rows of what was compared: by how many points the first exceeds the second, over
    the seeds of both."""
    by_aspects = {aspects(group.first): name for name, group in groups.items()}
    rows = []
    for pair in CONTRASTS:
        if not set(pair) <= by_aspects.keys():
            continue
        first, second = (by_aspects[each] for each in pair)
        told = [
            statistics.paired(groups[first].by_seed(each), groups[second].by_seed(each))
            for each in MEASURES.values()
        ]
        if told[0]:
            rows.append([first, second, *(tables.percent(each) for each in told)])
    return rows


def peaks(groups: dict[str, Group]) -> str:
    """Median norm on rare over that on frequent windows, and the variation."""
    rows = [
        [name, controller, *_peaks_row(found)]
        for name, group in groups.items()
        for controller in PerController._fields
        if all(found := _gradients(group, controller))
    ]
    header = [
        "variant", "controller", "ratio SG", "ratio true", "ratio applied",
        "variation SG", "variation true", "variation applied", "true less SG",
    ]  # fmt: skip
    return tables.table(header, rows)


def _gradients(group: Group, controller: str) -> list[dict]:
    return [each["extra"]["gradients"].get(controller) for each in group.results]


def _peaks_row(found: list[dict]) -> list[str]:
    ratios = [
        statistics.geometric(each[kind]["ratio"] or 0.0 for each in found)
        for kind in KINDS
    ]
    varied = [
        tables.average(each[kind]["variation"] for each in found) for kind in KINDS
    ]
    steadier = tables.average(map(_steadier, found))
    return [*map(tables.factor, ratios), *map(tables.plain, [*varied, steadier])]


def _steadier(found: dict) -> float | None:
    """By how much the true cotangent varies more than the predicted one."""
    predicted, true = (found[kind]["variation"] for kind in ("synthetic", "true"))
    return None if predicted is None or true is None else true - predicted
