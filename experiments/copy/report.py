"""What copying says: the longest sequence learned with every window."""

from __future__ import annotations

import pathlib
from collections import defaultdict

import numpy as np

from experiments.common import plots, statistics, tables
from experiments.common.tables import Group, Result, Section

WINDOWS = (2, 3, 4, 5)
# Of the DNI paper (1608.05343), T = 2 to 5, as remembered; its text was not read.
PUBLISHED = {
    "copy": {"truncated": (7, 8, 10, 8), "synthetic gradients": (16, 14, 18, 18)},
    "repeat_copy": {
        "truncated": (7, 5, 19, 23),
        "synthetic gradients": (39, 33, 39, 59),
    },
}
Rows = dict[str, dict[int, Group]]


def sections(results: list[Result]) -> list[Section]:
    """One section for every study."""
    found = []
    for study, chosen in tables.studies(results).items():
        title = f"Copying{f': study {study}' if study else ''}"
        found.append(Section(title, _text(chosen)))
    return found


def by_window(results: list[Result]) -> Rows:
    """Groups of seeds by arm and window."""
    found: Rows = defaultdict(dict)
    for group in tables.grouped(results):
        found[tables.label(group.columns)][group.first["task"]["window"]] = group
    return dict(found)


def _text(results: list[Result]) -> str:
    budget = max(each["train_steps"] for each in results)
    rows = [
        [name, *(_told(groups.get(window), budget) for window in (*WINDOWS, 0))]
        for name, groups in by_window(results).items()
    ]
    header = ["longest sequence solved", *(f"window {each}" for each in WINDOWS),
              "not cut"]  # fmt: skip
    published = [
        [f"*DNI paper, {name} (remembered, not verified)*", *map(str, lengths), "–"]
        for name, lengths in PUBLISHED[results[0]["task"]["task"]].items()
    ]
    text = [_protocol(results[0], budget), tables.table(header, [*rows, *published])]
    probed = [each for each in results if "gradient_solved_cosine" in each["measures"]]
    return "\n\n".join([*text, *(_broken(probed) if probed else ())])


def _broken(results: list[Result]) -> list[str]:
    """Where it breaks: what predictors add to the gradient, and what they could."""
    rows = [
        [name, *(_added(groups.get(window)) for window in WINDOWS)]
        for name, groups in by_window(results).items()
    ]
    header = ["cosine (relative length): learned; solved at rest",
              *(f"window {each}" for each in WINDOWS)]  # fmt: skip
    text = (
        "What cuts take away of the LSTM's gradient, at the end of training: the part "
        "that the run's predictor gives back, and the part that a linear one would, "
        "solved for with other sequences while the LSTM stands still (medians over "
        "seeds)."
    )
    return [text, tables.table(header, rows)]


def _added(group: Group | None) -> str:
    if group is None:
        return tables.NOTHING

    def told(who: str, what: str) -> float:
        name = f"gradient_{who}_{what}"
        return float(
            np.median([each["measures"][name]["mean"] for each in group.results])
        )

    return "; ".join(
        f"{told(who, 'cosine'):.2f} ({told(who, 'length'):.2f})"
        for who in ("learned", "solved")
    )


def _told(group: Group | None, budget: int) -> str:
    if group is None:
        return tables.NOTHING
    found = statistics.estimate(
        each["measures"]["length"]["mean"] for each in group.results
    )
    windows = group.first["train_steps"]
    fewer = f", {windows} windows" if windows < budget else ""
    return f"{tables.plain(found)} ({tables.seeds(group)}{fewer})"


def _protocol(first: Result, budget: int) -> str:
    task = first["task"]
    what = "Repeat copy, N times R" if task["task"] == "repeat_copy" else "Copy, N"
    return (
        f"{what} vectors of {task['bits']} bits; sequences grow when one was said with "
        f"fewer than {task['threshold']:g} bits a bit, up to {task['longest']} steps "
        f"in all; {task['streams']} side by side, {budget} windows unless a cell says "
        "otherwise. Mean and 95 % interval over seeds."
    )


def draw_run(workdir: pathlib.Path, result: Result, folder: pathlib.Path) -> None:
    """The curve of one run."""
    del workdir
    draw([result], folder / "lengths.png")


def draw_study(results: list[Result], folder: pathlib.Path) -> None:
    """The curves of every study."""
    for study, chosen in tables.studies(e for e in results if e["study"]).items():
        draw(chosen, folder / f"{study}_lengths.png")


def draw(results: list[Result], path: pathlib.Path) -> None:
    """Length solved along training, a panel for each window, a line for each seed."""
    rows = by_window(results)
    windows = sorted({window for groups in rows.values() for window in groups})
    figure, axes = plots.subplots(
        ncols=len(windows), squeeze=False, sharey=True, figsize=(4.4 * len(windows), 4)
    )
    for axis, window in zip(axes[0], windows, strict=True):
        for place, (name, groups) in enumerate(rows.items()):
            for result in groups[window].results if window in groups else ():
                curve = result["extra"]["curve"]
                first = result is groups[window].results[0]
                axis.step(
                    np.append(curve["steps"], result["train_steps"]),
                    np.append(curve["solved"], curve["solved"][-1]),
                    where="post", color=f"C{place}", lw=1,
                    label=name if first else None,
                )  # fmt: skip
        axis.set(title=f"window {window}" if window else "not cut", xlabel="window")
    axes[0, 0].set_ylabel("longest sequence solved")
    plots.legend_below(figure, *axes[0])
    plots.save(figure, path, dpi=80)
