"""What trajectory results say: tables, and figures 4 and 5 of a run or of a study."""

from __future__ import annotations

import itertools
import pathlib

from experiments.common import tables as common
from experiments.common.tables import Result, Section
from experiments.trajectory import plots, tables


def sections(results: list[Result]) -> list[Section]:
    """All tables with what they mean, one section for every study and data set."""
    found = []
    for study, data in sorted({(e["study"], e["task"]["data"]) for e in results}):
        chosen = [
            each
            for each in results
            if (each["study"], each["task"]["data"]) == (study, data)
        ]
        title = f"Trajectories: {f'study {study}' if study else data}"
        found.append(Section(title, _text(chosen)))
    return found


def _text(results: list[Result]) -> str:
    groups = tables.grouped(results)
    parts = [_protocol(results[0]), tables.errors(groups)]
    steps = [f"after {at}" for at in tables.shown(results[0])]
    rows = tables.ratios(groups)
    if rows:
        parts += [
            "Held-out squared error of the first as a factor of that of the second, "
            "draw by draw (geometric mean, 95 % interval); below 1 the first is "
            "better:",
            common.table(["first", "second", *steps], rows),
        ]
    headers = [f"{new} / {old}" for old, new in itertools.pairwise(steps)]
    parts += [
        "Held-out squared error after more steps as a factor of that after fewer:",
        common.table(["variant", *headers], tables.progress(groups)),
    ]
    rows = tables.against_velocity(groups)
    if rows:
        parts += [
            "Error at the last frame (FDE, metres) less that of constant velocity on "
            "the same tracks; below 0 the variant is better:",
            common.table(["variant", *steps], rows),
        ]
    return "\n\n".join(parts)


def _protocol(first: Result) -> str:
    task, asked = first["task"], first["evaluation"]
    who = "pedestrians" if asked["part"] == "test" else "cyclists not trained on"
    return (
        f"{task['data']}: {first['train_steps']} steps on {task['train']} cyclists, "
        f"then steps on {task['support']} {who}; errors on others of these, "
        f"{task['observed']} frames seen and {task['horizon']} asked for. Mean and "
        "95 % interval over draws of tracks, parameters and batches."
    )


def draw_run(workdir: pathlib.Path, result: Result, folder: pathlib.Path) -> None:
    """Both figures of one run."""
    del workdir
    draw([result], folder, prefix="")


def draw_study(results: list[Result], folder: pathlib.Path) -> None:
    """Both figures of every study, without its controls."""
    for study, chosen in common.studies(e for e in results if e["study"]).items():
        draw(chosen, folder, prefix=f"{study}_")


def draw(results: list[Result], folder: pathlib.Path, *, prefix: str) -> None:
    """`<prefix>adaptation.png` and `<prefix>forecasts.png`."""
    groups = tables.plain(tables.grouped(results))
    if groups:
        plots.adaptation(groups, folder / f"{prefix}adaptation.png")
        plots.forecasts(groups, folder / f"{prefix}forecasts.png")
