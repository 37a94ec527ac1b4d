"""What a run writes besides its metrics: config, result, and their names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax

from experiments import fewshot, loop
from experiments import settings as settings_lib
from nmn_jax.run import fingerprint, parallel
from nmn_jax.settings import presets

# How a run is tested and when it stops may change without making it another run.
FREE = ("run.eval.", "run.train.minutes")
# Flags that say where files go on the machine of the run.
PLACES = ("workdir", "results")
ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_name(run: settings_lib.Run) -> str:
    """A name that tells runs apart: data, ways, shots, preset, sg, control, seed."""
    parts = [
        run.data.source, f"{run.ways}way{run.shots}shot", run.method, run.preset,
        f"sg-{run.sg}", *([] if run.control == "none" else [run.control]),
        *([f"label-{run.model['label_input']}"] if run.model.get("label_input") else
        []), *([run.eval.kind] if run.eval.kind != "episodes" else []),
        f"seed{run.seed}",
    ]  # fmt: skip
    return "-".join(parts)


def announce(
    run: settings_lib.Run, workdir: pathlib.Path, split: str, parameters: int
) -> None:
    """One line on the terminal that says what is about to happen."""
    norm = settings_lib.resolve(run).model.norm
    if parallel.is_main_process():
        print(
            f"{run_name(run)}: split {split}, norm {norm}, {parameters:,} parameters, "
            f"{run.train.steps} steps of {run.train.episodes} episodes on "
            f"{jax.device_count()} {device_name()}; files in {workdir}",
            file=sys.stderr,
        )


def claim(workdir: pathlib.Path, run: Any, settings: presets.Settings) -> None:
    """Write config.json (the run and the settings it resolves to), or find it there.

    Raises:
      ValueError: if the folder belongs to a run that trains otherwise; names the
      fields.
    """
    content = {
        "run": dataclasses.asdict(run),
        "settings": dataclasses.asdict(settings),
    }
    path = workdir / "config.json"
    if path.exists():
        found = flat(json.loads(path.read_text()))
        asked = flat(json.loads(json.dumps(content)))
        differ = [
            f"{name.replace('run.', 'config.', 1)}: {found.get(name)!r} there, "
            f"{asked.get(name)!r} asked for"
            for name in sorted(found.keys() | asked.keys())
            if found.get(name) != asked.get(name) and not name.startswith(FREE)
        ]
        if differ:
            raise ValueError(
                f"{workdir} holds a run of another config ({'; '.join(differ[:5])}); "
                "choose another --workdir, or remove that folder"
            )
    if parallel.is_main_process():
        write_json(path, content)


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= flat(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves


def write_json(path: pathlib.Path, content: Any) -> None:
    """Write all or nothing: a file beside it, then a rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    os.replace(beside, path)


def make_result(
    run: settings_lib.Run,
    split: str,
    outcome: loop.Outcome,
    tested: dict[str, fewshot.Score],
) -> dict[str, Any]:
    """The result of a run; accuracies are fractions, intervals half widths."""
    settings = settings_lib.resolve(run)
    images = run.ways * (run.shots + run.train.queries) * run.train.episodes
    return {
        "experiment": "omniglot" if run.eval.kind == "episodes" else run.eval.kind,
        "method": run.method,
        "ways": run.ways,
        "shots": run.shots,
        "data": run.data.source,
        "split": split,
        "accuracy": tested["0"].accuracy,
        "ci95": tested["0"].ci95,
        "episodes": tested["0"].episodes,
        "adapted": {at: each._asdict() for at, each in tested.items()},
        "validation_accuracy": float(outcome.state.best.accuracy),
        "train_steps": outcome.step,
        "train_images": outcome.step * images,
        **provenance(run, settings, outcome),
    }


def provenance(
    run: Any, settings: presets.Settings, outcome: loop.Outcome
) -> dict[str, Any]:
    """What made a result: choices, seed, machine, time, code and command."""
    return {
        "preset": run.preset,
        "sg": run.sg,
        "control": run.control,
        "label_input": settings.model.label_input,
        "norm": settings.model.norm,
        "study": run.study,
        "seed": run.seed,
        "state_digest": state_digest(outcome.state),
        "wall_seconds": round(outcome.seconds, 1),
        "device": device_name(),
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "config": dataclasses.asdict(run),
        "settings": dataclasses.asdict(settings),
        "commit": commit(),
        "command": command(sys.argv),
    }


def state_digest(state: Any) -> str:
    """A digest of every bit of the state: equal for runs that ended the same."""
    leaves = fingerprint.describe(fingerprint.flatten(state))
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:16]


def write_result(result: dict[str, Any], workdir: pathlib.Path, copy_to: str) -> None:
    """result.json in the work directory, a copy under its name in `copy_to`."""
    write_json(workdir / "result.json", result)
    if copy_to:
        write_json(pathlib.Path(copy_to) / f"{workdir.name}.json", result)
    print(
        f"test accuracy {100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} % "
        f"({result['episodes']} {'images' if result['shots'] == 0 else 'episodes'}, "
        f"{result['train_steps']} steps, "
        f"{result['wall_seconds']:.0f} s)"
    )


def device_name() -> str:
    """Kind of device, with the number of cores where it is a CPU."""
    kind = jax.devices()[0].device_kind
    if kind != "cpu":
        return kind
    # Cores of this process: a study may pin each of its runs to one.
    own = getattr(os, "sched_getaffinity", None)
    return f"{kind} ({len(own(0)) if own else os.cpu_count()} cores)"


def commit() -> str:
    """The commit the code is at, marked where files differ from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def command(given: Sequence[str]) -> str:
    """The command line that makes a result, with no path of this machine."""
    module, *flags = given
    return " ".join(
        ["python -m", f"experiments.{pathlib.Path(module).stem}", *_placeless(flags)]
    )


def _placeless(flags: Iterable[str]) -> Iterator[str]:
    """Flags but those that say where files go, in both spellings of their value."""
    left = iter(flags)
    for flag in left:
        name, equals, _ = flag.partition("=")
        if name.lstrip("-") not in PLACES:
            yield flag
        elif not equals:
            next(left, None)
