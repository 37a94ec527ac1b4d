"""Redraw every picture and table from files alone.

    python -m experiments.report runs/mine            # pictures of a run
    python -m experiments.report results              # tables on the terminal
    python -m experiments.report results --readme     # the pages: results/README.md,
                                                      # its figures, README's table

Every folder of a benchmark may have a `report.py` with

- `sections(results) -> list[tables.Section]`, its part of the report;
- `draw_run(workdir, result, folder)`, pictures of one run into `folder`;

and, if it likes,

- `summary(results) -> str`, its table for the README;
- `draw_study(results, folder)`, pictures of many runs.

They are found by name; no benchmark is known here.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import pathlib
import sys
from collections import defaultdict
from types import ModuleType

from experiments.common import results as results_lib

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
PREFACE = """# Results

Written by `python -m experiments.report results --readme`; every row is made of the
JSON files beside this page, each with its config, commit and command.
± is half of a 95 % interval: Student's over seeds where there are several, otherwise
over the examples of the one run.
"""


def benchmarks(part: str) -> dict[str, ModuleType]:
    """`experiments.<benchmark>.<part>` of every benchmark that has it, by its name."""
    names = sorted(path.parent.name for path in HERE.glob(f"*/{part}.py"))
    return {
        name: importlib.import_module(f"experiments.{name}.{part}") for name in names
    }


def draw_run(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Pictures of one run into `figures/` below it; their paths.

    Without matplotlib nothing is drawn, and a line says how to do it later.

    Raises:
      ValueError: if there is no result of a benchmark that can draw.
    """
    if importlib.util.find_spec("matplotlib") is None:
        print(
            "no pictures: matplotlib is missing; `pip install matplotlib`, then "
            f"`python -m experiments.report {workdir}`",
            file=sys.stderr,
        )
        return []
    result = results_lib.read(workdir / "result.json")
    known = benchmarks("report")
    if result["experiment"] not in known:
        raise ValueError(
            f"{workdir} is a run of {result['experiment']!r}, which draws nothing; "
            f"known are {', '.join(sorted(known))}"
        )
    folder = workdir / "figures"
    known[result["experiment"]].draw_run(workdir, result, folder)
    return sorted(folder.glob("*.png"))


def by_experiment(found: list[dict]) -> dict[str, list[dict]]:
    """Results by benchmark."""
    parted = defaultdict(list)
    for each in found:
        parted[each["experiment"]].append(each)
    return dict(sorted(parted.items()))


def whole(found: list[dict], folder: pathlib.Path | None = None) -> str:
    """All sections as Markdown, with the figures that lie below `folder`."""
    known = benchmarks("report")
    parts = [PREFACE]
    for name, results in by_experiment(found).items():
        if name not in known:
            continue
        for section in known[name].sections(results):
            parts.append(f"## {section.title}\n\n{section.text}\n")
        for picture in sorted(
            (folder / name / "figures").glob("*.png") if folder else ()
        ):
            title = picture.stem.replace("_", " ")
            parts.append(f"![{title}]({name}/figures/{picture.name})\n")
    return "\n".join(parts)


def summaries(found: list[dict]) -> str:
    """The small tables that benchmarks offer for the README."""
    known = benchmarks("report")
    told = [
        known[name].summary(results)
        for name, results in by_experiment(found).items()
        if hasattr(known.get(name), "summary")
    ]
    return "\n\n".join(filter(None, told)) + "\n"


def draw_studies(found: list[dict], folder: pathlib.Path) -> list[pathlib.Path]:
    """Pictures of studies into `<benchmark>/figures` below `folder`; their paths."""
    known, drawn = benchmarks("report"), []
    for name, results in by_experiment(found).items():
        if hasattr(known.get(name), "draw_study"):
            known[name].draw_study(results, folder / name / "figures")
            drawn += sorted((folder / name / "figures").glob("*.png"))
    return drawn


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


def publish(folder: pathlib.Path, readme: pathlib.Path) -> list[pathlib.Path]:
    """Draw the studies of a folder of results, write its page, fill the README's table.

    Returns what was written.

    Raises:
      ValueError: if the folder holds something else than results, or the README has no
        place for the table.
    """
    found = results_lib.load([folder])
    filled = fill_readme(readme.read_text(encoding="utf-8"), summaries(found))
    drawn = draw_studies(found, folder)
    _write(folder / "README.md", whole(found, folder))
    _write(readme, filled)
    return [*drawn, folder / "README.md", readme]


def _write(path: pathlib.Path, text: str) -> None:
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def main() -> None:
    """Pictures for folders of runs, tables for everything else."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "paths", nargs="+", type=pathlib.Path, help="runs, results or folders of them"
    )
    parser.add_argument(
        "--readme", nargs="?", type=pathlib.Path, const=ROOT / "README.md",
        help="write the pages of a folder of results; the file with the small table",
    )  # fmt: skip
    given = parser.parse_args()
    try:
        _report(given.paths, given.readme)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _report(paths: list[pathlib.Path], readme: pathlib.Path | None) -> None:
    runs = [path for path in paths if (path / "metrics.jsonl").exists()]
    others = [path for path in paths if path not in runs]
    for run in runs:
        for picture in draw_run(run):
            print(picture)
    if readme:
        if len(others) != 1 or not others[0].is_dir():
            raise ValueError("--readme needs one folder of results, e.g. `results`")
        for path in publish(others[0], readme):
            print(path)
    elif others:
        print(whole(results_lib.load(others)))


if __name__ == "__main__":
    main()
