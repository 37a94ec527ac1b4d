"""What trajectory results say: tables, and figures 4 and 5 of a run or of a study."""

from __future__ import annotations

import itertools
import pathlib

from experiments.common import tables as common
from experiments.common.tables import Result, Section
from experiments.trajectory import plots, tables
from nmn_jax.data import trajectories

# What scaled units are of, by scale.
UNITS = {
    "location": "the extent of a location's training tracks",
    "global": "the extent of all training tracks",
    "per_track": "the extent of what was seen of a track",
    "heading": "how far the velocity of the last half second leads in the time asked "
    "for, the first axis that of this velocity",
}


PACE = "The last rule counts points at the pace of the windows."
# Under what result files and pictures hold tracks of people, by data.
LICENCES = {
    "sdd": "Stanford Drone Dataset (Robicquet et al., 2016): CC BY-NC-SA 3.0, not for "
    "commercial use; so are the tracks in result files and pictures.",
    "tafbw": "TAF-BW (Zipfl et al., 2020): CC BY-NC-SA 4.0, for non-commercial "
    "scientific use; so are the tracks in result files and pictures.",
}


def sections(results: list[Result]) -> list[Section]:
    """All tables with what they mean, one section for every study and data set."""
    found = _left_out(results)
    for study, data in sorted({(e["study"], e["task"]["data"]) for e in results}):
        chosen = [
            each
            for each in results
            if (each["study"], each["task"]["data"]) == (study, data)
        ]
        title = f"Trajectories: {f'study {study}' if study else data}"
        found.append(Section(title, _text(chosen)))
    return found


def _left_out(results: list[Result]) -> list[Section]:
    """What rules took out of each data set, told once."""
    told = {}
    for each in results:
        cleaning = each["extra"].get("cleaning")
        if cleaning:
            told[each["task"]["data"]] = trajectories.from_json(cleaning)
    return [
        Section(
            f"Trajectories: what was left out of {data}",
            "\n\n".join(
                filter(None, (LICENCES.get(data), PACE, trajectories.describe(report)))
            ),
        )
        for data, report in sorted(told.items())
    ]


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
        f"{task['observed']} frames seen and {task['horizon']} asked for. A unit is "
        f"{UNITS[task['scale']]}. Mean and 95 % interval over draws of tracks, "
        "parameters and batches."
    )


def draw_run(workdir: pathlib.Path, result: Result, folder: pathlib.Path) -> None:
    """Both figures of one run."""
    del workdir
    draw([result], folder, prefix="")


def draw_study(results: list[Result], folder: pathlib.Path) -> None:
    """Both figures of every study, of what its tables have most to say about."""
    for study, chosen in common.studies(e for e in results if e["study"]).items():
        draw(chosen, folder, prefix=f"{study}_")


def draw(results: list[Result], folder: pathlib.Path, *, prefix: str) -> None:
    """`<prefix>adaptation.png` and `<prefix>forecasts.png`."""
    pictures = (
        ("adaptation", plots.adaptation, tables.is_plain),
        ("forecasts", plots.forecasts, tables.is_drawn),
    )
    for name, picture, chosen in pictures:
        # Of one run, what there is.
        kept = [each for each in results if chosen(each)] or results
        picture(tables.grouped(kept), folder / f"{prefix}{name}.png")
