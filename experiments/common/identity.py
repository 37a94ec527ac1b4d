"""Whose a folder is: one training, and any number of evaluations of what it ended with.

`config.json` holds the run that a folder was made for, and the settings it resolves to.
Everything in it is the run's identity, what is evaluated while training included, but
for two things: `eval.*`, what is evaluated *after* training, and `train.minutes`, when
training stops. The first evaluation that is finished is `result.json`; another one of
the same training is `result-<name>.json` beside it, named after the fields in which it
differs, e.g. `result-episodes-2000.json`.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from experiments.common import results
from nmn_jax.run import parallel, place

EVALUATION = "run.eval."
FREE = (EVALUATION, "run.train.minutes")
SHOWN = 5


def folders(name: str, workdir: pathlib.Path | None, results_dir: str) -> pathlib.Path:
    """Where everything of a run goes, `runs/<name>` unless another folder is given.

    Raises:
      ValueError: if that or `results_dir` (unless it is "") cannot be written into.
    """
    workdir = workdir or pathlib.Path("runs") / name
    place.claim_folder(workdir, "--workdir")
    if results_dir:
        place.claim_folder(results_dir, "--results")
    return workdir


def claim(workdir: pathlib.Path, run: Any, settings: Any) -> str:
    """Make the folder this run's, or find that it is.

    Args:
      workdir: the folder.
      run: the config record of the run.
      settings: what it resolves to.

    Returns the suffix of the evaluation's result, "" for the folder's first one; see
    `results.write_result`.

    Raises:
      ValueError: if the folder cannot be written into, belongs to a run that trains
        otherwise (names the fields and both values), or its config.json cannot be read.
    """
    place.claim_folder(workdir, "--workdir")
    content = {
        "run": dataclasses.asdict(run), "settings": dataclasses.asdict(settings)
    }  # fmt: skip
    path = workdir / "config.json"
    asked = flat(json.loads(json.dumps(content)))
    found = _read(path) if path.exists() else asked
    _check_same(workdir, found, asked)
    if (workdir / "result.json").exists():
        return evaluation_name(found, asked)
    if parallel.is_main_process():
        results.write_json(path, content)
    return ""


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return flat(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: cannot be read as a run's config ({error}); restore it, or give "
            "another --workdir"
        ) from error


def _check_same(
    workdir: pathlib.Path, found: Mapping[str, Any], asked: Mapping[str, Any]
) -> None:
    differ = [
        f"{name.replace('run.', 'config.', 1)}: {found.get(name)!r} there, "
        f"{asked.get(name)!r} asked for"
        for name in sorted(found.keys() | asked.keys())
        if found.get(name) != asked.get(name) and not name.startswith(FREE)
    ]
    if differ:
        more = len(differ) - SHOWN
        told = "; ".join(differ[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise ValueError(
            f"{workdir} holds a run of another config ({told}); choose another "
            "--workdir, or remove that folder. Only eval.* and train.minutes may differ"
        )


def evaluation_name(found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The fields of `eval` that differ and their values, as part of a file's name.

    Args:
      found: the first evaluation's config, flat.
      asked: this one's.
    """
    parts = []
    for name in sorted(asked):
        if name.startswith(EVALUATION) and found.get(name) != asked[name]:
            value = asked[name]
            told = "-".join(map(str, value)) if isinstance(value, list) else str(value)
            parts.append(f"{name.removeprefix(EVALUATION)}-{told}")
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots; an empty one is left out."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves
