"""What raises accuracy, one change at a time, as validation characters judge it."""

from __future__ import annotations

import collections
from typing import Any

from experiments.common import identity, tables
from experiments.common.tables import Result

# What follows from another batch where the images in all are the same.
FOLLOWS = ("seed", "train.steps", "train.validate_every")
TITLE = "Levers to accuracy"


def text(results: list[Result]) -> str:
    """The table, and what its rows have in common."""
    shown = {round(each["train_images"], -4) for each in results}
    return (
        "One network for the four settings, one change at a time, about "
        f"{max(shown):,} images each, judged by the same episodes of validation "
        f"characters; test characters decide nothing here.\n\n{table(results)}"
    )


def table(results: list[Result]) -> str:
    """A row for every run: what it does as no other, its validation accuracy, and the
    difference to the run that does nothing so."""
    changed = changes(results)
    scores = [100 * each["extra"]["validation_accuracy"] for each in results]
    plain = [score for score, own in zip(scores, changed, strict=True) if not own]
    base = sum(plain) / len(plain) if plain else None
    rows = [
        [_told(own), f"{score:.2f}", f"{score - base:+.2f}" if own and base else "–",
         f"{each['wall_seconds'] / 60:.0f}"]
        for score, own, each in sorted(
            zip(scores, changed, results, strict=True), key=lambda row: -row[0]
        )
    ]  # fmt: skip
    header = ["changed", "validation accuracy %", "against none", "minutes"]
    return tables.table(header, rows)


def changes(results: list[Result]) -> list[dict[str, Any]]:
    """Of every run the fields of its config that most of the others have otherwise."""
    flat = [identity.flat(each["config"]) for each in results]
    names = {name: None for each in flat for name in each if name not in FOLLOWS}
    usual = {
        name: collections.Counter(str(each.get(name)) for each in flat).most_common(1)[
            0
        ][0]
        for name in names
    }
    return [
        {name: each.get(name) for name in names if str(each.get(name)) != usual[name]}
        for each in flat
    ]


def _told(own: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in own.items()) or "none"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " and ".join(map(str, value)) or "as tested"
    return str(value)
