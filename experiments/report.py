"""Redraw every picture and table from files alone.

python -m experiments.report runs/mine              # pictures of a run
python -m experiments.report results --readme README.md --figures results/figures
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import sys

import numpy as np

from experiments import plots, rare_plots, rare_tables, tables

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def draw_run(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Pictures of one run into `figures/` below it; their paths.

    Without matplotlib nothing is drawn, and a line says how to do it later.
    """
    if importlib.util.find_spec("matplotlib") is None:
        print(
            "no pictures: matplotlib is missing; `pip install matplotlib`, then "
            f"`python -m experiments.report {workdir}`",
            file=sys.stderr,
        )
        return []
    folder = workdir / "figures"
    result = json.loads((workdir / "result.json").read_text())
    DRAWERS.get(result["experiment"], _draw_episodes)(result, workdir, folder)
    return sorted(folder.glob("*.png"))


def _draw_stream(result: dict, workdir: pathlib.Path, folder: pathlib.Path) -> None:
    del workdir
    rare_plots.draw_run(result, folder)


def _draw_episodes(result: dict, workdir: pathlib.Path, folder: pathlib.Path) -> None:
    found = plots.rows(workdir)
    seen = dict(np.load(workdir / "evidence.npz"))
    plots.learning_curve(found, result, folder / "learning_curve.png")
    plots.episodes(seen, folder / "episodes.png")
    if "query_weights" in seen:
        plots.addressing(seen, folder / "addressing.png")
        plots.synthetic(found, result, folder / "synthetic.png")


DRAWERS = {"rare_classes": _draw_stream}


def all_tables(found: list[dict]) -> str:
    """Everything the README shows, from results alone."""
    rare = [each for each in found if each["experiment"] == "rare_classes"]
    episodes = [each for each in found if each not in rare]
    plain = [each for each in episodes if not each.get("study")]
    parts = [tables.accuracies(plain)] if plain else []
    parts.append(tables.published())
    if len(plain) < len(episodes):
        parts.append("**The effect of synthetic gradients** (same small budget)")
        parts.append(tables.sg_effect(episodes))
    if rare:
        parts.append(rare_tables.everything(rare))
    return "\n\n".join(parts) + "\n"


def draw_study(found: list[dict], folder: pathlib.Path) -> list[pathlib.Path]:
    """Figures 6 and 7 over all seeds of the rare-class results; their paths.

    Raises:
      ValueError: if there are no such results.
    """
    groups = rare_tables.grouped(
        [each for each in found if each["experiment"] == "rare_classes"]
    )
    if not groups:
        raise ValueError("no rare-class results to draw: run `experiments.sweep rare`")
    parts = rare_tables.parted(groups)
    plain = parts.get(rare_tables.VARIANTS, {})
    heard = {k: v for k, v in plain.items() if all(each["gradients"] for each in v)}
    if heard:
        rare_plots.magnitudes(heard, folder / "rare_gradients.png")
    rare_plots.accuracy(parts, folder / "rare_accuracy.png")
    return sorted(folder.glob("rare_*.png"))


def fill_readme(text: str, content: str) -> str:
    """The text with what stands between the markers replaced.

    Raises:
      ValueError: if a marker is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"no place for the tables: it needs {BEGIN} and {END}")
    before, rest = text.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n{content}{END}{after}"


def main() -> None:
    """Pictures for run folders, tables for everything else."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--readme", type=pathlib.Path, help="file to put tables into")
    parser.add_argument(
        "--figures", type=pathlib.Path, help="folder for the figures of studies"
    )
    given = parser.parse_args()
    try:
        runs = [path for path in given.paths if (path / "metrics.jsonl").exists()]
        for run in runs:
            for picture in draw_run(run):
                print(picture)
        others = [path for path in given.paths if path not in runs]
        results = tables.load(
            [*others, *(run / "result.json" for run in runs if not others)]
        )
        content = all_tables(results)
        if given.figures:
            for picture in draw_study(results, given.figures):
                print(picture)
        if given.readme:
            filled = fill_readme(given.readme.read_text(), content)
            beside = given.readme.with_suffix(".tmp")
            beside.write_text(filled)
            os.replace(beside, given.readme)
        else:
            print(content)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
