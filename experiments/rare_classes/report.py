"""What rare-class results say: tables, and figures 6 and 7 of a run or of a study."""

from __future__ import annotations

import pathlib

from experiments.common import tables as common
from experiments.common.tables import Result, Section
from experiments.rare_classes import plots, tables


def sections(results: list[Result]) -> list[Section]:
    """All tables with what they mean, one section for every study."""
    found = []
    for study, chosen in common.studies(results).items():
        found.append(Section(_title(study), _text(chosen)))
    return found


def _title(study: str) -> str:
    return f"Rare classes{f': study {study}' if study else ''}"


def _text(results: list[Result]) -> str:
    groups = tables.grouped(results)
    parts = [_protocol(results[0]), tables.accuracies(groups)]
    contrasts = tables.contrasts(groups)
    if contrasts:
        parts += [
            "Differences in points between runs of the same seed; an interval without "
            "zero is an effect beyond the accident of seeds:",
            common.table(["first", "second", *tables.MEASURES], contrasts),
        ]
    if any(each["extra"]["gradients"] for each in results):
        parts += [
            "Norms at the controllers' outputs, predicted (SG) and true, and of the "
            "gradient applied to the controller: ratio = median on rare over median on "
            "frequent windows (geometric mean over seeds); variation = standard "
            "deviation over mean.",
            tables.peaks(groups),
        ]
    return "\n\n".join(parts)


def _protocol(first: Result) -> str:
    task, often = first["task"], ", ".join(map(str, first["task"]["frequent"]))
    return (
        f"{task['data']}, {first['train_steps']} windows of {task['window']} images, "
        f"classes {often} frequent, the others once in {task['period']} windows; "
        f"unseen images, {task['classes']}-way; mean and 95 % interval over seeds."
    )


def draw_run(workdir: pathlib.Path, result: Result, folder: pathlib.Path) -> None:
    """Both figures of one run; one without controllers has the second only."""
    del workdir
    draw([result], folder, prefix="")


def draw_study(results: list[Result], folder: pathlib.Path) -> None:
    """Both figures over all seeds of every study."""
    for study, chosen in common.studies(e for e in results if e["study"]).items():
        draw(chosen, folder, prefix=f"{study}_")


def draw(results: list[Result], folder: pathlib.Path, *, prefix: str) -> None:
    """`<prefix>gradients.png` and `<prefix>accuracy.png`."""
    parts = tables.parted(tables.grouped(results))
    measured = {
        name: group
        for name, group in next(iter(parts.values())).items()
        if all(each["extra"]["gradients"] for each in group.results)
    }
    if measured:
        plots.magnitudes(measured, folder / f"{prefix}gradients.png")
    plots.accuracy(parts, folder / f"{prefix}accuracy.png")
