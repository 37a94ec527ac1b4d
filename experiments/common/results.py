"""The result of a run: one JSON file that says what was measured, of what, and how.

A result holds

- what was run: `experiment`, `study`, `method`, `columns` (how tables name it), `task`
  (a record of strings and numbers), `seed`, `config`, `settings`, `command`, `commit`;
- `variant`, equal for runs that differ only in seed, study and evaluation;
- what was measured: `measures`, `{name: {mean, half, n, unit}}` with `half` of a 95 %
  interval over `n` examples or null, and `evaluation`, the record it was measured by;
- what it cost: `train_steps`, `train_images`, `wall_seconds`, `first_step_seconds`,
  `device`, `devices`, `jax`;
- `state_digest`, equal for runs that ended the same to the bit;
- `extra`, what one benchmark alone reports (curves, gradients, …).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from experiments.common import provenance, statistics
from nmn_jax.settings import records

# Fields of a result and their types; `null` is allowed where None is.
SCHEMA: dict[str, tuple[type, ...]] = {
    "experiment": (str,), "study": (str,), "method": (str,), "columns": (dict,),
    "task": (dict,), "seed": (int,), "measures": (dict,), "variant": (str,),
    "evaluation": (dict,), "config": (dict,), "settings": (dict,),
    "state_digest": (str,), "train_steps": (int,), "train_images": (int,),
    "wall_seconds": (int, float), "first_step_seconds": (int, float, type(None)),
    "device": (str,), "devices": (int,), "jax": (str,), "commit": (str,),
    "command": (str,), "extra": (dict,),
}  # fmt: skip
MEASURE: dict[str, tuple[type, ...]] = {
    "mean": (int, float), "half": (int, float, type(None)), "n": (int,), "unit": (str,),
}  # fmt: skip
# Fields of a config that leave what is learned alone, or that `task` and `settings`
# say too.
NOT_LEARNED = (
    "seed", "study", "eval", "validate", "preset", "data", "ways", "shots", "mixture",
    "practice",
)  # fmt: skip
RESOLVED = records.RECORDS
PACE = ("steps_per_call", "log_every", "checkpoint_every", "validate_every")


def measure(values: Iterable[float], unit: str = "fraction") -> dict[str, Any]:
    """A measure over independent examples: mean, half of its 95 % interval, count.

    Args:
      values: one number an example (an episode, or an unseen image).
      unit: of the mean; an accuracy is a `fraction`.

    Raises:
      ValueError: for no value, or one that is not finite.
    """
    return {**statistics.estimate(values)._asdict(), "unit": unit}


def make_result(
    run: Any,
    settings: Any,
    outcome: Any,
    *,
    experiment: str,
    columns: Mapping[str, str],
    task: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    measures: Mapping[str, Mapping[str, Any]],
    images_per_step: int,
    first_step_seconds: float | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The result of a run, ready to be written.

    Args:
      run: the benchmark's config record, with `method`, `study` and `seed`.
      settings: what it resolves to (`nmn_jax.settings`).
      outcome: of the training loop, with `state`, `step` and `seconds`.
      experiment: the benchmark's folder, e.g. `omniglot`.
      columns: the method's own (`Method.columns`).
      task: what was asked and of which data: split, ways, shots, …; all that the config
        says of it, since `variant` takes it from here.
      evaluation: how it was measured; tables keep different evaluations apart.
      measures: by name, as `measure` makes them; the first is the one tables sort by.
      images_per_step: images that one training step is shown.
      first_step_seconds: until the first step was done, compilation included.
      extra: what this benchmark alone reports.

    Raises:
      ValueError: if a measure or anything else is not what the schema says.
    """
    config = dataclasses.asdict(run)
    result = {
        "experiment": experiment,
        "study": run.study,
        "method": run.method,
        "columns": dict(columns),
        "task": dict(task),
        "seed": run.seed,
        "measures": {name: dict(each) for name, each in measures.items()},
        "variant": variant(experiment, config, task, settings),
        "evaluation": dict(evaluation),
        "config": config,
        "settings": dataclasses.asdict(settings),
        "train_steps": int(outcome.step),
        "train_images": int(outcome.step) * images_per_step,
        "wall_seconds": round(outcome.seconds, 1),
        "first_step_seconds": first_step_seconds,
        "extra": dict(extra or {}),
        **provenance.of(outcome.state),
    }
    # Through JSON, so that what is returned is what a reader of the file gets.
    result = json.loads(json.dumps(result, allow_nan=False))
    check(result)
    return result


def variant(
    experiment: str, config: Mapping[str, Any], task: Mapping[str, Any], settings: Any
) -> str:
    """A digest of all that decides what is learned but the seed.

    Left out are seed, study and everything of evaluation, and the pace of logging and
    saving. Settings enter resolved, without those at the default of their record: a
    setting that is added later does not part old runs from new ones.
    """
    left_out = (*NOT_LEARNED, *RESOLVED)
    kept = {name: value for name, value in config.items() if name not in left_out}
    if isinstance(kept.get("train"), Mapping):
        kept["train"] = budget(config)
    default = dataclasses.asdict(type(settings)())
    chosen = _differing(dataclasses.asdict(settings), default)
    chosen.pop("adapt", None)
    return digest([experiment, kept, dict(task), chosen])


def budget(config: Mapping[str, Any]) -> dict[str, Any]:
    """How long and on what was trained: `train` without the pace of its loop."""
    train = config.get("train") or {}
    return {name: value for name, value in train.items() if name not in PACE}


def _differing(given: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """What is not at its default, record by record."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if isinstance(value, Mapping):
            found[name] = _differing(value, default.get(name, {}))
        elif name not in default or value != default[name]:
            found[name] = value
    return {name: value for name, value in found.items() if value != {}}


def digest(content: Any) -> str:
    """Twelve hexadecimal digits of anything that JSON can say."""
    told = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def check(result: Any, name: str = "result") -> None:
    """Raises ValueError, led by `name`, unless this is a result as said above."""
    if not isinstance(result, dict):
        raise ValueError(f"{name}: not a result, it is no JSON object")
    _check_fields(result, SCHEMA, f"{name}: not a result,")
    for what, each in result["measures"].items():
        if not isinstance(each, dict):
            raise ValueError(f"{name}: not a result, measure {what!r} is no object")
        _check_fields(each, MEASURE, f"{name}: not a result, measure {what!r}")
        numbers = [each["mean"], *([] if each["half"] is None else [each["half"]])]
        if not all(map(math.isfinite, numbers)) or each["n"] < 1:
            raise ValueError(
                f"{name}: not a result, measure {what!r} is {each}; it needs finite "
                "numbers and n of at least 1 (half is null for one example)"
            )
    if not result["measures"]:
        raise ValueError(f"{name}: not a result, it has no measures")


def _check_fields(
    found: dict[str, Any], schema: dict[str, tuple[type, ...]], lead: str
) -> None:
    lacking = [field for field in schema if field not in found]
    if lacking:
        raise ValueError(f"{lead} it lacks {', '.join(lacking)}")
    for field, kinds in schema.items():
        value = found[field]
        if not isinstance(value, kinds) or isinstance(value, bool):
            allowed = " or ".join(kind.__name__ for kind in kinds)
            raise ValueError(
                f"{lead} {field} is {value!r}; it must be of type {allowed}"
            )


def read(path: pathlib.Path) -> dict[str, Any]:
    """One result from its file.

    Raises:
      ValueError: names the file that is no result, and what is wrong with it.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    check(result, str(path))
    return result


def load(paths: Iterable[pathlib.Path]) -> list[dict[str, Any]]:
    """Results of files and of all JSON files below folders, sorted by path.

    Raises:
      ValueError: as `read`, or for a path that is not there.
    """
    files: set[pathlib.Path] = set()
    for path in paths:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder; give results or runs")
        files |= set(path.rglob("*.json")) if path.is_dir() else {path}
    return [read(path) for path in sorted(files)]


def write_json(path: pathlib.Path, content: Any) -> None:
    """Write all or nothing: a file beside it, then a rename.

    Keys stay in their order, which is that of a table's columns.

    Raises:
      ValueError: for a number that is not finite, which is no JSON.
    """
    told = json.dumps(content, indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    beside.write_text(told, encoding="utf-8")
    os.replace(beside, path)


def place(result: Mapping[str, Any], name: str) -> pathlib.Path:
    """Where a result lies below the folder of results."""
    study = result["study"] or "single"
    return pathlib.Path(result["experiment"]) / study / f"{name}.json"


def write_result(
    result: dict[str, Any], workdir: pathlib.Path, copy_to: str, *, suffix: str = ""
) -> pathlib.Path:
    """Write `result.json` into the work directory, and a copy among the results.

    Args:
      result: as `make_result` makes it.
      workdir: of the run; its name becomes that of the copy.
      copy_to: the folder of results, "" for no copy; the copy lies in
        `<experiment>/<study or single>/`.
      suffix: of another evaluation of the same run: `result-<suffix>.json`, and
        `<name>-<suffix>.json` for the copy.

    Returns:
      The path of the file in the work directory.

    Raises:
      ValueError: if it is no result.
    """
    check(result)
    tail = f"-{suffix}" if suffix else ""
    path = workdir / f"result{tail}.json"
    write_json(path, result)
    if copy_to:
        name = f"{workdir.resolve().name}{tail}"
        write_json(pathlib.Path(copy_to) / place(result, name), result)
    print(summary(result))
    return path


def summary(result: Mapping[str, Any]) -> str:
    """One line for the terminal: every measure, steps and seconds."""
    told = [f"{name} {tell(each)}" for name, each in result["measures"].items()]
    steps, seconds = result["train_steps"], result["wall_seconds"]
    return f"{', '.join(told)} ({steps} steps, {seconds:.0f} s)"


def tell(measured: Mapping[str, Any]) -> str:
    """A measure in words, fractions in per cent; three digits of what is small."""
    scale, unit = (100, " %") if measured["unit"] == "fraction" else (1, "")
    mean, half = scale * measured["mean"], measured["half"]
    digits = 2 if mean == 0 else max(2, 2 - math.floor(math.log10(abs(mean))))
    form = f".{digits}f" if digits < 5 else ".2e"
    spread = "" if half is None else f" ± {scale * half:{form}}"
    unit = unit or (f" {measured['unit']}" if measured["unit"] else "")
    return f"{mean:{form}}{spread}{unit}"
