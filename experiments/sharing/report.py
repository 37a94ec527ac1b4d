"""What the study of two networks says: tables, and figures 8 and 9."""

from __future__ import annotations

import pathlib

from experiments.common import tables as common
from experiments.common.tables import Result, Section
from experiments.sharing import plots, tables


def sections(results: list[Result]) -> list[Section]:
    """Tables with what they mean, a section for every study and streamed class."""
    found = []
    for chosen in common.studies(results).values():
        for streamed, groups in tables.parted(chosen).items():
            title = f"Shared predictors, {streamed}s streamed"
            text = [_protocol(next(iter(groups.values())).first), tables.errors(groups)]
            rows = tables.contrasts(groups)
            if rows:
                steps = tables.shown(next(iter(groups.values())))
                text += [
                    "Errors as factors of those with predictors of their own, draw by "
                    "draw (geometric mean, 95 % interval); below 1 is better:",
                    common.table(
                        ["variant", *(f"second after {at}" for at in steps),
                         "second, mean of the curve", "first, mean of the curve"],
                        rows,
                    ),
                ]  # fmt: skip
            found.append(Section(title, "\n\n".join(text)))
    return found


def _protocol(first: Result) -> str:
    task, train = first["task"], first["config"]["train"]
    other = {"cyclist": "pedestrians", "pedestrian": "cyclists"}[task["first"]]
    return (
        f"{task['data']}: one network learns from {train['batch']} {task['first']}s a "
        f"step, {first['train_steps']} steps; after {train['lead']} of them a second "
        f"network sees {train['batch']} {other} at every {train['period']}th and "
        "nothing else. Errors on held-out tracks of its own class. Mean and 95 % "
        "interval over draws of tracks, parameters and batches."
    )


def draw_run(workdir: pathlib.Path, result: Result, folder: pathlib.Path) -> None:
    """Both figures of one run."""
    del workdir
    draw([result], folder, prefix="")


def draw_study(results: list[Result], folder: pathlib.Path) -> None:
    """Both figures of every study."""
    for study, chosen in common.studies(e for e in results if e["study"]).items():
        draw(chosen, folder, prefix=f"{study}_")


def draw(results: list[Result], folder: pathlib.Path, *, prefix: str) -> None:
    """`<prefix>second.png` and `<prefix>first.png`."""
    parts = tables.parted(results)
    for name in ("second", "first"):
        plots.branch(parts, folder / f"{prefix}{name}.png", name)
