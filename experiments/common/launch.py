"""Flags, and nothing else: everything below `run` can be imported into a notebook."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from absl import app, flags, logging

from nmn_jax.settings import reader
from nmn_jax.run import fingerprint

CONFIGS = pathlib.Path(__file__).resolve().parent / "configs"
# What the user can mend: said in one line, without a traceback.
EXPECTED = (ValueError, FileNotFoundError, FloatingPointError, fingerprint.DamagedError)


def expand(argv: list[str], default: str) -> list[str]:
    """Let `--config=5way1shot` stand for the default file's variant of that name."""
    file = CONFIGS / f"{default}.py"

    def whole(given: str) -> str:
        match = re.fullmatch(r"--?config=([\w-]+)", given)
        return f"--config={file}:{match[1]}" if match else given

    return [whole(each) for each in _joined(argv)]


def _joined(argv: Iterable[str]) -> list[str]:
    """`--config x` as `--config=x`, also for fields of the config."""
    joined: list[str] = []
    for each in argv:
        waits = joined and re.fullmatch(r"--?config[\w.]*", joined[-1])
        if waits and not each.startswith("-"):
            joined[-1] += f"={each}"
        else:
            joined.append(each)
    return joined


def check(argv: list[str], default: str) -> None:
    """Look for what is wrong with the config flags, where the parser says it badly.

    Raises:
      ValueError: for a file that is not there, a variant that its file refuses, or a
        field that the config does not have, with the nearest one.
    """
    named = [each.split("=", 1)[1] for each in argv if each.startswith("--config=")]
    config = _load(named[-1] if named else str(CONFIGS / f"{default}.py"), default)
    for each in argv:
        match = re.match(r"--?config\.([\w.]+)", each)
        if match:
            _walk(config, match[1].split("."))


def _load(named: str, default: str) -> Any:
    """What `get_config` of `file.py[:variant]` returns."""
    file, _, variant = named.partition(":")
    if not pathlib.Path(file).is_file():
        raise ValueError(
            f"--config={named}: there is no file {file}; give file.py[:variant] or a "
            f"variant of {default}"
        )
    spec = importlib.util.spec_from_file_location("experiments_config", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*([variant] if variant else []))


def _walk(config: Any, names: list[str]) -> None:
    at = "config"
    for name in names:
        if not hasattr(config, "keys"):
            raise ValueError(f"{at}.{name}: no such field, {at} is a value")
        if name not in config:
            hint = config_lib.nearest(name, config.keys())
            raise ValueError(f"{at}.{name}: no such field{hint}")
        config, at = config[name], f"{at}.{name}"


def keep_programs() -> None:
    """Keep compiled programs between runs, unless the user chose a place already."""
    import jax

    if not jax.config.values.get("jax_compilation_cache_dir"):
        home = os.environ.get("NMN_CACHE_DIR") or pathlib.Path.home() / ".cache/nmn_jax"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "xla"))


def run(main: Callable[..., Any], record: type, *, default: str) -> None:
    """Parse the flags, build the config record, start the devices, call `main`.

    Args:
      main: `(config, workdir, results) -> None`
      record: the frozen dataclass the config becomes.
      default: the config file under `experiments/configs/`.

    Bad input ends the process with exit code 1 and one line that says what is wrong.
    """
    argv = expand(sys.argv, default)
    if not {"--help", "--helpfull", "--helpshort"} & set(argv):
        _guarded(lambda: check(argv, default))
    given = _define(default)

    def start(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        logging.set_verbosity(logging.WARNING)  # orbax reports every rename
        _guarded(lambda: _start(main, record, given))

    app.run(start, argv=argv)


def _define(default: str) -> dict[str, flags.FlagHolder]:
    from ml_collections import config_flags

    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    modes = ["auto", "on", "off"]
    return {
        "config": config_flags.DEFINE_config_file(
            "config",
            str(CONFIGS / f"{default}.py"),
            "A file with get_config, or one of its variants.",
            lock_config=True,
        ),
        "workdir": string("workdir", None, "Where the files of the run go."),
        "results": string("results", "", "Folder for a copy of result.json."),
        "mode": flags.DEFINE_enum(
            "distributed", "auto", modes, "Whether to start jax.distributed."
        ),
        "coordinator": string("coordinator", None, "host:port of process 0."),
        "processes": integer("processes", None, "How many processes there are."),
        "process": integer("process", None, "The number of this process."),
        "traceback": flags.DEFINE_bool(
            "traceback", False, "Show where in the code an error was found."
        ),
    }


def _start(
    main: Callable[..., Any], record: type, given: dict[str, flags.FlagHolder]
) -> None:
    from nmn_jax import parallel

    config: Any = config_lib.from_mapping(record, given["config"].value)
    workdir = given["workdir"].value
    keep_programs()
    names = ("mode", "coordinator", "processes", "process")
    mode, coordinator, processes, process = (given[name].value for name in names)
    parallel.initialize(
        mode, coordinator=coordinator, processes=processes, process=process
    )
    main(config, pathlib.Path(workdir) if workdir else None, given["results"].value)


def _guarded(action: Callable[[], None]) -> None:
    try:
        action()
    except EXPECTED as error:
        if flags.FLAGS.is_parsed() and flags.FLAGS.traceback:
            raise
        sys.exit(f"error: {error}")
