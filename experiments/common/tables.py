"""Result files to Markdown tables; pure functions, no training code."""

from __future__ import annotations

import json
import math
import pathlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

REQUIRED = (
    "experiment", "method", "preset", "sg", "control", "ways", "shots", "data", "split",
    "norm", "accuracy", "ci95", "episodes", "seed", "train_steps", "train_images",
    "wall_seconds", "device", "config", "commit", "command",
)  # fmt: skip

# Accuracy in % as published: 5-way 1-shot, 5-way 5-shot, 20-way 1-shot, 20-way 5-shot.
SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))
PUBLISHED = {
    "NMN with synthetic gradients (2011.05438)": (99.0, 99.7, 97.9, 99.1),
    "NMN without (2011.05438)": (80.2, 89.1, 78.1, 83.5),
    "Prototypical networks": (98.8, 99.7, 96.0, 98.9),
    "MAML++": (99.47, 99.93, 97.6, 99.3),
    "SNAIL": (99.07, 99.78, 97.64, 99.36),
    "T-NAS++": (99.55, 99.95, None, None),
}

# 97.5 % points of Student's t by degrees of freedom.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
)  # fmt: skip


def load(paths: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """Results of files and of all JSON files below folders, sorted by path.

    Raises:
      ValueError: names the file that is no result, and the field it lacks.
    """
    files: set[pathlib.Path] = set()
    for path in paths:
        files |= set(path.rglob("*.json")) if path.is_dir() else {path}
    return [read(path) for path in sorted(files)]


def read(path: pathlib.Path) -> dict[str, Any]:
    """One result.

    Raises:
      ValueError: as `load`.
    """
    try:
        result = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    lacking = [name for name in REQUIRED if name not in result]
    if lacking:
        raise ValueError(f"{path}: not a result, it lacks {', '.join(lacking)}")
    return result


def interval(values: list[float], single: float) -> float:
    """Half width of the 95 % interval over seeds; of one seed, that over episodes."""
    count = len(values)
    if count < 2:
        return single
    mean = sum(values) / count
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (count - 1))
    factor = STUDENT[count - 2] if count - 2 < len(STUDENT) else 1.96
    return factor * deviation / math.sqrt(count)


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _grouped(results: list[dict], names: tuple[str, ...]) -> dict[tuple, list[dict]]:
    groups = defaultdict(list)
    for result in results:
        groups[tuple(result.get(name, "") for name in names)].append(result)
    return groups


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def accuracies(results: list[dict[str, Any]]) -> str:
    """One row per setting and configuration, the mean over seeds."""
    names = (
        "experiment", "data", "split", "ways", "shots", "method", "preset", "sg",
        "control", "label_input", "norm", "train_steps",
    )  # fmt: skip
    rows = []
    for key, group in sorted(_grouped(results, names).items(), key=str):
        told = dict(zip(names, key, strict=True))
        values = [each["accuracy"] for each in group]
        minutes = sum(each["wall_seconds"] for each in group) / len(group) / 60
        memory = told["method"] != "prototype"
        rows.append([
            f"{told['data']} ({told['split']}) {told['ways']}w{told['shots']}s"
            f"{' Lake' if told['experiment'] == 'lake' else ''}",
            f"{told['method']} {told['preset']}" if memory else "prototype",
            "+".join(each for each in (told["sg"], told["control"]) if each != "none")
            if memory else "–",
            told["label_input"] if memory else "–", told["norm"],
            f"{_percent(sum(values) / len(values))} ± "
            f"{_percent(interval(values, group[0]['ci95']))}",
            str(len(group)), str(told["train_steps"]), f"{minutes:.0f}",
            group[0]["device"],
        ])  # fmt: skip
    header = [
        "setting", "method", "synthetic gradients", "label input", "norm", "accuracy %",
        "seeds", "steps", "minutes", "device",
    ]  # fmt: skip
    return table(header, rows)


def published() -> str:
    """Published Omniglot accuracies, as reported; protocols differ between papers."""
    header = ["published", *(f"{ways}w{shots}s" for ways, shots in SETTINGS)]
    return table(
        header,
        ([name, *("–" if v is None else str(v) for v in values)]
         for name, values in PUBLISHED.items()),
    )  # fmt: skip


def sg_effect(results: list[dict[str, Any]]) -> str:
    """What synthetic gradients do at one budget, against `off` with the same seed."""
    chosen = [each for each in results if each.get("study") == "sg_effect"]
    same = ("preset", "label_input", "seed")
    base = {
        tuple(each[name] for name in same): each["accuracy"]
        for each in chosen
        if (each["sg"], each["control"]) == ("off", "none")
    }
    rows = []
    names = ("preset", "norm", "label_input", "sg", "control")
    for key, group in sorted(_grouped(chosen, names).items()):
        values = [each["accuracy"] for each in group]
        gained = [
            each["accuracy"] - base[tuple(each[name] for name in same)]
            for each in group
            if tuple(each[name] for name in same) in base
        ]
        spread = interval(values, group[0]["ci95"])
        difference = f"{100 * sum(gained) / len(gained):+.2f}" if gained else "–"
        each_seed = ", ".join(_percent(value) for value in values)
        mean = f"{_percent(sum(values) / len(values))} ± {_percent(spread)}"
        rows.append([*key, each_seed, mean, difference])
    header = [
        "preset", "norm", "label input", "sg", "control", "accuracy % per seed", "mean",
        "against off",
    ]  # fmt: skip
    return table(header, rows)
