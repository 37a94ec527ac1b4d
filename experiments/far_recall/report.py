"""What far recall says: accuracy by gap, shares of what back-propagation gains, and
whether the predicted cotangents are true."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from experiments.common import plots, statistics, tables
from experiments.common.tables import Group, Result, Section

# Gaps of the table, in windows.
GAPS = (1, 2, 5, 10, 20)
COLOURS = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "0.5",
)  # fmt: skip


def sections(results: list[Result]) -> list[Section]:
    """One section for every study."""
    found = []
    for study, chosen in tables.studies(results).items():
        title = f"Far recall{f': study {study}' if study else ''}"
        found.append(Section(title, _text(chosen)))
    return found


def grouped(results: list[Result]) -> dict[str, Group]:
    """Seeds of every arm, by its name."""
    return {arm(group.first): group for group in tables.grouped(results)}


def arm(result: Result) -> str:
    """How the writer of a result was taught."""
    stream, optim = result["settings"]["stream"], result["settings"]["optim"]
    if optim["frozen"]:
        return "frozen writer"
    if stream["control"] == "oracle":
        return f"the truth about {result['task']['ahead']} windows"
    names = {
        "window": "truncated back-propagation",
        "bootstrap_update": "bootstrap at the last update",
        "bootstrap": f"bootstrap at the state, λ = {stream['trace']:g}",
    }
    control = stream["control"]
    return names[stream["target"]] + ("" if control == "none" else f", {control}")


def at_gap(gap: int) -> tables.Measure:
    """Accuracy of one result on questions about so many windows before."""

    def measure(result: Result) -> float | None:
        told = result["extra"]["gaps"]
        if not 1 <= gap <= len(told["asked"]) or not told["asked"][gap - 1]:
            return None
        return told["right"][gap - 1] / told["asked"][gap - 1]

    return measure


def shares(groups: dict[str, Group], gap: int) -> dict[str, statistics.Estimate | None]:
    """What of the gain of the truth over the frozen writer every arm gets at a gap,
    seed by seed; of the truth that looks farthest, which is back-propagation through
    everything."""
    measure = at_gap(gap)
    truths = [name for name in groups if name.startswith("the truth")]
    if "frozen writer" not in groups or not truths:
        return {}
    best = max(truths, key=lambda name: groups[name].first["task"]["ahead"])
    low, high = (groups[name].by_seed(measure) for name in ("frozen writer", best))
    found = {}
    for name, group in groups.items():
        values = group.by_seed(measure)
        kept = values.keys() & low.keys() & high.keys()
        found[name] = tables.average(
            _share(values[seed], low[seed], high[seed]) for seed in sorted(kept)
        )
    return found


def _share(value: Any, low: Any, high: Any) -> float | None:
    if None in (value, low, high) or high == low:
        return None
    return (value - low) / (high - low)


def _text(results: list[Result]) -> str:
    groups = grouped(results)
    share = shares(groups, 5)
    rows = []
    for name, group in groups.items():
        told = [tables.average(group.by_seed(at_gap(gap)).values()) for gap in GAPS]
        rows.append([
            name, tables.percent(tables.average(group.by_seed(_accuracy).values())),
            *map(tables.percent, told), tables.percent(share.get(name)),
            str(len(group.results)),
        ])  # fmt: skip
    header = [
        "the writer is taught by", "accuracy %, all gaps",
        *(f"gap {gap}" for gap in GAPS), "share of the gain at gap 5, %", "seeds",
    ]  # fmt: skip
    return "\n\n".join([_protocol(results[0]), tables.table(header, rows)])


def _accuracy(result: Result) -> float:
    return float(result["measures"]["accuracy"]["mean"])


def _protocol(first: Result) -> str:
    task = first["task"]
    return (
        f"{task['streams']} streams of key-value pairs in windows of {task['window']}; "
        f"pairs are asked for {task['nearest']} to {task['farthest']} windows later, "
        "with a probability that falls as 1/gap; "
        f"{task['values']} values (chance {100 / task['values']:.0f} %); "
        f"{first['train_steps']} windows, the last {first['evaluation']['tested']} "
        "answered before they are learned from; mean and 95 % interval over seeds. The "
        "gain is that of the farthest-looking truth over the frozen writer. Cotangents "
        "are compared with those of the one future that came: no prediction can be "
        "like it."
    )


def draw_run(workdir: pathlib.Path, result: Result, folder: pathlib.Path) -> None:
    """The pictures of one run."""
    del workdir
    draw([result], folder, prefix="")


def draw_study(results: list[Result], folder: pathlib.Path) -> None:
    """The pictures over all seeds of every study."""
    for study, chosen in tables.studies(e for e in results if e["study"]).items():
        draw(chosen, folder, prefix=f"{study}_")


def draw(results: list[Result], folder: pathlib.Path, *, prefix: str) -> None:
    """`<prefix>gaps.png` and `<prefix>cotangents.png`."""
    groups = grouped(results)
    gaps(groups, folder / f"{prefix}gaps.png")
    cotangents(groups, folder / f"{prefix}cotangents.png")


def gaps(groups: dict[str, Group], path: pathlib.Path) -> None:
    """Accuracy by gap, and along training; means over seeds."""
    figure, (left, right) = plots.subplots(ncols=2, figsize=(13, 4.6))
    for place, (name, group) in enumerate(groups.items()):
        style = {
            "color": COLOURS[place % len(COLOURS)],
            "ls": ("-", "--")[place // len(COLOURS) % 2], "label": name,
        }  # fmt: skip
        told = [each["extra"]["gaps"] for each in group.results]
        asked, hit = (np.sum([t[part] for t in told], 0) for part in ("asked", "right"))
        number = np.arange(1, len(asked) + 1)
        kept = asked > 0
        left.plot(number[kept], 100 * hit[kept] / asked[kept], marker=".", **style)
        along = [each["extra"]["accuracy"] for each in group.results]
        values = 100 * np.mean([each["values"] for each in along], axis=0)
        right.plot(along[0]["steps"], values, lw=1, **style)
    left.set(xlabel="windows between a pair and its question", ylabel="accuracy (%)")
    right.set(xlabel="window", ylabel="accuracy, all gaps (%)")
    left.legend(fontsize=7)
    plots.save(figure, path, dpi=80)


def cosine(results: list[Result]) -> np.ndarray:
    """Of predicted with true cotangents, `[probes, distances]`, over all seeds; 0 where
    there are none."""
    inner, predicted, true = (
        np.sum([each["extra"]["probe"][part] for each in results], axis=0)
        for part in ("inner", "predicted", "true")
    )
    length = np.sqrt(predicted * true)
    return np.where(length > 0, inner / np.where(length > 0, length, 1), 0.0)


def cotangents(groups: dict[str, Group], path: pathlib.Path) -> None:
    """Cosine of predicted with true cotangents of slots, over training and by the
    windows until their use; and how large they are over the life of a slot."""
    chosen = {name: group for name, group in groups.items() if "bootstrap at the state"
              in name}  # fmt: skip
    if not chosen:
        return
    figure, axes = plots.subplots(ncols=3, figsize=(15, 4.2))
    for place, (name, group) in enumerate(chosen.items()):
        colour = COLOURS[place % len(COLOURS)]
        found = cosine(group.results)
        steps = group.first["extra"]["probe"]["steps"]
        used = found[:, 1:].mean(axis=1)
        axes[0].plot(steps, used, color=colour, marker=".", label=name)
        last = found[-1, 1:]
        axes[1].plot(np.arange(1, len(last) + 1), last, color=colour, marker=".")
        for part, style in (("predicted", "-"), ("true", ":")):
            axes[2].plot(_by_age(group, part), style, color=colour)
    axes[0].set(xlabel="window", ylabel="cosine, slots that will be used")
    axes[0].legend(fontsize=7)
    axes[1].set(xlabel="windows until the slot is used", ylabel="cosine at the end")
    axes[2].set(
        xlabel="windows since the slot was written", yscale="log",
        ylabel="norm of a slot's cotangent (dotted: true)",
    )  # fmt: skip
    plots.save(figure, path, dpi=80)


def _by_age(group: Group, part: str) -> np.ndarray:
    """Root mean square norm of a slot's cotangent at the end, by its age."""
    probes = [each["extra"]["probe"] for each in group.results]
    total = np.mean([probe[f"{part}_by_age"][-1] for probe in probes], axis=0)
    task = group.first["task"]
    return np.sqrt(total / (task["streams"] * task["window"]))
