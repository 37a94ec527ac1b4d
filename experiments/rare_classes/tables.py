"""What the rare-class study says, in tables; pure functions of result files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from experiments import tables
from nmn_jax.types import PerController

Results = list[dict[str, Any]]
VARIANTS = "the stream alone"
CONTROLS = "controls"
REPLAY = "with replay"
# What is compared, seed by seed; the baseline NMN hears no SG and replays nothing.
CONTRASTS = (
    ("nmn recommended, decoupled", "nmn recommended, off"),
    ("nmn recommended, fast", "nmn recommended, off"),
    ("nmn recommended, both", "nmn recommended, off"),
    ("nmn recommended, off (double_rate)", "nmn recommended, off"),
    ("nmn recommended, both", "nmn recommended, both (zeroed)"),
    ("nmn recommended, both", "nmn recommended, both (shuffled)"),
    ("nmn recommended, both", "nmn recommended, both (oracle)"),
    ("nmn paper_fast_lr, both", "nmn paper_fast_lr, off"),
    ("nmn recommended, off, rate 1e-07", "nmn recommended, off"),
    ("nmn recommended, off", "cnn"),
    ("nmn recommended, off + replay", "nmn recommended, off"),
    ("nmn recommended, both + replay", "nmn recommended, off"),
    ("nmn recommended, both + replay", "nmn recommended, off + replay"),
    ("nmn recommended, off + replay", "cnn + replay"),
)
# Accuracies on unseen images of the rare classes.
MEASURES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "rare %, mean of the curve": lambda each: each["curves"]["rare_mean"],
    "just after rare windows": lambda each: each["curves"]["rare_after"],
    "just before the next": lambda each: each["curves"]["rare_before"],
    "at the end": lambda each: each["accuracy"],
}


def name_of(result: dict[str, Any]) -> str:
    """What a run is called in tables and legends."""
    rate = result["config"]["optim"].get("lr")
    tail = "" if rate is None else f", rate {rate:g}"
    tail += " + replay" if result["config"]["stream"]["replayed"] else ""
    if result["method"] == "cnn":
        return f"cnn{tail}"
    control = "" if result["control"] == "none" else f" ({result['control']})"
    return f"nmn {result['preset']}, {result['sg']}{control}{tail}"


def grouped(results: Results) -> dict[str, Results]:
    """Seeds of every variant, in the order of first appearance by name."""
    groups: dict[str, Results] = {}
    for each in sorted(results, key=lambda each: each["seed"]):
        groups.setdefault(name_of(each), []).append(each)
    return dict(sorted(groups.items()))


def parted(groups: dict[str, Results]) -> dict[str, dict[str, Results]]:
    """Variants, controls, and what replays, as far as there are any."""
    parts: dict[str, dict[str, Results]] = {VARIANTS: {}, CONTROLS: {}, REPLAY: {}}
    for name, group in groups.items():
        replayed = group[0]["config"]["stream"]["replayed"]
        other = VARIANTS if group[0]["control"] == "none" else CONTROLS
        parts[REPLAY if replayed else other][name] = group
    return {title: part for title, part in parts.items() if part}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _plain(measured: Sequence[float | None]) -> str:
    """Mean ± half the 95 % interval over seeds (Student's t) that have the measure."""
    values = [each for each in measured if each is not None]
    if len(values) < 2:
        return f"{_mean(values):.2f}" if values else "–"
    return f"{_mean(values):.2f} ± {tables.interval(values, 0.0):.2f}"


def _percent(measured: Sequence[float | None]) -> str:
    return _plain([None if each is None else 100 * each for each in measured])


def _factor(measured: Sequence[float | None]) -> str:
    """Geometric mean and 95 % interval (Student's t of logarithms): ratios of norms
    differ between seeds by factors. A zero has no logarithm and is left out."""
    values = [math.log(each) for each in measured if each]
    if not values:
        return "–"
    half = tables.interval(values, 0.0)
    low, middle, high = (
        f"{each:.0f}" if each >= 10 else f"{each:.2g}"
        for each in (math.exp(_mean(values) + shift) for shift in (-half, 0.0, half))
    )
    return middle if len(values) < 2 else f"{middle} [{low}, {high}]"


def differences(
    results: Results, others: Results, measure: Callable[[dict], float | None]
) -> list[float]:
    """By how much results exceed others of the same seed, where both are measured."""
    by_seed = {each["seed"]: measure(each) for each in others}
    pairs = [(measure(each), by_seed.get(each["seed"])) for each in results]
    return [a - b for a, b in pairs if a is not None and b is not None]


def contrasts(results: Results) -> str:
    """By how many points the first exceeds the second, over the seeds of both."""
    groups = grouped(results)
    rows = []
    for first, second in CONTRASTS:
        told = [
            differences(groups.get(first, []), groups.get(second, []), measure)
            for measure in MEASURES.values()
        ]
        if told[0]:
            rows.append([first, second, *map(_percent, told)])
    return tables.table(["first", "second", *MEASURES], rows)


def accuracies(results: Results) -> str:
    """Accuracy on unseen images of the rare classes, among all ten."""
    rows = []
    for name, group in grouped(results).items():
        told = [
            _percent([measure(each) for each in group])
            for measure in (*MEASURES.values(), lambda each: each["frequent_accuracy"])
        ]
        rows.append([name, *told, str(len(group))])
    header = ["variant", *MEASURES, "frequent %, at the end", "seeds"]
    return tables.table(header, rows)


def peaks(results: Results) -> str:
    """Median norm on rare over that on frequent iterations, and the variation."""
    rows = []
    for name, group in grouped(results).items():
        for controller in PerController._fields:
            found = [each["gradients"].get(controller, {}) for each in group]
            if not all(found):
                continue
            told = [
                tell([each[kind][measure] for each in found])
                for measure, tell in (("ratio", _factor), ("variation", _plain))
                for kind in ("synthetic", "true", "applied")
            ]
            steadier = [_steadier(**each) for each in found]
            rows.append([name, controller, *told, _plain(steadier)])
    header = [
        "variant", "controller", "ratio SG", "ratio true", "ratio applied",
        "variation SG", "variation true", "variation applied", "true less SG",
    ]  # fmt: skip
    return tables.table(header, rows)


def _steadier(synthetic: dict, true: dict, **_: dict) -> float | None:
    """By how much the true cotangent varies more than the predicted one."""
    if synthetic["variation"] is None or true["variation"] is None:
        return None
    return true["variation"] - synthetic["variation"]


def everything(results: Results) -> str:
    """All tables with what they mean."""
    first = results[0]["config"]
    often = ", ".join(map(str, first["data"]["frequent"]))
    return "\n\n".join([
        f"**Rare classes** ({results[0]['data']}, {first['train']['steps']} iterations "
        f"of {first['train']['batch']} images, classes "
        f"{often} frequent, the others once in "
        f"{first['data']['period']} iterations; unseen images, ten-way; mean and 95 % "
        "interval over seeds)",
        accuracies(results),
        "Differences in points between runs of the same seed; an interval without zero "
        "is an effect beyond the accident of seeds:",
        contrasts(results),
        "Norms at the controllers' outputs, predicted (SG) and true, and of the "
        "gradient applied to the controller: ratio = median on rare over median on "
        "frequent iterations (geometric mean over seeds); variation = standard "
        "deviation over mean.",
        peaks(results),
    ])  # fmt: skip
