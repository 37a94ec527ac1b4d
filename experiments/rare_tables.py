"""What the rare-class study says, in tables; pure functions of result files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from experiments import tables
from nmn_jax.types import PerController

Results = list[dict[str, Any]]
# Against what a variant is measured: the baseline NMN, which hears no SG.
BASELINE = "nmn recommended, off"


def name_of(result: dict[str, Any]) -> str:
    """What a run is called in tables and legends."""
    replayed = result["config"]["stream"]["replayed"]
    tail = " + replay" if replayed else ""
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


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _told(
    measured: Sequence[float | None], factor: float = 100, digits: int = 2
) -> str:
    """Mean ± half the 95 % interval over seeds (Student's t) that have the measure."""
    values = [each for each in measured if each is not None]
    if len(values) < 2:
        return f"{factor * _mean(values):.{digits}f}" if values else "–"
    half = tables.interval(values, 0.0)
    return f"{factor * _mean(values):.{digits}f} ± {factor * half:.{digits}f}"


def differences(
    results: Results, others: Results, measure: Callable[[dict], float]
) -> list[float]:
    """By how much results exceed others of the same seed."""
    by_seed = {each["seed"]: measure(each) for each in others}
    return [
        measure(each) - by_seed[each["seed"]]
        for each in results
        if each["seed"] in by_seed
    ]


def _rare_mean(result: dict) -> float:
    return result["curves"]["rare_mean"]


def accuracies(results: Results) -> str:
    """Accuracy on unseen images of the rare classes, among all ten."""
    groups = grouped(results)
    base = groups.get(BASELINE, [])
    rows = []
    for name, group in groups.items():
        curves = [each["curves"] for each in group]
        rows.append([
            name,
            _told([each["rare_mean"] for each in curves]),
            _told(differences(group, base, _rare_mean)),
            _told([each["rare_after"] for each in curves]),
            _told([each["rare_before"] for each in curves]),
            _told([each["accuracy"] for each in group]),
            _told([each["frequent_accuracy"] for each in group]),
            str(len(group)),
        ])  # fmt: skip
    header = [
        "variant", "rare %, mean of the curve", f"against {BASELINE}",
        "just after rare windows", "just before the next", "at the end",
        "frequent %, at the end", "seeds",
    ]  # fmt: skip
    return tables.table(header, rows)


def peaks(results: Results) -> str:
    """Median norm on rare over that on frequent iterations, and the variation."""
    rows = []
    for name, group in grouped(results).items():
        for controller in PerController._fields:
            found = [each["gradients"].get(controller, {}) for each in group]
            if not all(found):
                continue
            rows.append([name, controller, *(
                _told([each[kind][measure] for each in found], 1, 2)
                for measure in ("ratio", "variation")
                for kind in ("synthetic", "true", "applied")
            )])  # fmt: skip
    header = [
        "variant", "controller", "ratio SG", "ratio true", "ratio applied",
        "variation SG", "variation true", "variation applied",
    ]  # fmt: skip
    return tables.table(header, rows)


def everything(results: Results) -> str:
    """Both tables with what they mean."""
    first = results[0]["config"]
    often = ", ".join(map(str, first["data"]["frequent"]))
    return "\n\n".join([
        f"**Rare classes** ({results[0]['data']}, {first['train']['steps']} iterations "
        f"of {first['train']['batch']} images, classes "
        f"{often} frequent, the others once in "
        f"{first['data']['period']} iterations; unseen images, ten-way; mean and 95 % "
        "interval over seeds)",
        accuracies(results),
        "Norms at the controllers' outputs, predicted (SG) and true, and of the "
        "gradient applied to the controller: ratio = median on rare over median on "
        "frequent iterations; variation = standard deviation over mean.",
        peaks(results),
    ])  # fmt: skip
