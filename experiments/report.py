"""Redraw every picture and table from files alone.

python -m experiments.report runs/mine              # pictures of a run
python -m experiments.report results --readme README.md
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import sys

import numpy as np

from experiments import plots, tables

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
    found = plots.rows(workdir)
    seen = dict(np.load(workdir / "evidence.npz"))
    plots.learning_curve(found, result, folder / "learning_curve.png")
    plots.episodes(seen, folder / "episodes.png")
    if "query_weights" in seen:
        plots.addressing(seen, folder / "addressing.png")
        plots.synthetic(found, result, folder / "synthetic.png")
    return sorted(folder.glob("*.png"))


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
        content = tables.all_tables(results)
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
