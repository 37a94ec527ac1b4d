"""Flags, and nothing else: everything below `run` can be imported into a notebook.

    python -m experiments.<benchmark> --config=<variant> --config.<field>=<value> …

`--config=5way1shot` is the variant of that name in the benchmark's `config.py`, and
`--config=file.py[:variant]` is a file of one's own. `--config.sg=fast` is short for
`--config.sg.use=fast`; of two values for one field the later counts.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from absl import app, flags, logging

from nmn_jax.run import fingerprint
from nmn_jax.settings import reader

EXPERIMENTS = pathlib.Path(__file__).resolve().parents[1]
# What the user can mend: said in one line, without a traceback.
EXPECTED = (ValueError, OSError, FloatingPointError, fingerprint.DamagedError)
SHORT = {"config.sg": "config.sg.use"}
# What Python says of a number, and what it means.
PLAIN = {
    r"invalid literal for int\(\).*": "must be a whole number",
    r"could not convert string to float.*": "must be a number",
}


def config_file(benchmark: str) -> pathlib.Path:
    """Where the variants of a benchmark are."""
    return EXPERIMENTS / benchmark / "config.py"


def expand(argv: list[str], default: str) -> list[str]:
    """Short forms written out: a variant's file, and the fields of `SHORT`."""
    file = config_file(default)

    def whole(given: str) -> str:
        match = re.fullmatch(r"--?config=([\w-]+)", given)
        if match:
            return f"--config={file}:{match[1]}"
        match = re.fullmatch(r"--?([\w.]+)=(.*)", given, re.DOTALL)
        return (
            f"--{SHORT[match[1]]}={match[2]}" if match and match[1] in SHORT else given
        )

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


def load(argv: list[str], default: str) -> Any:
    """The config that expanded flags name, before its fields are overridden.

    Raises:
      ValueError: for a file that is not there or gives no config, a variant that it
        refuses, or flags for fields that the config does not have.
    """
    named = [each.split("=", 1)[1] for each in argv if re.match("--?config=", each)]
    config = _load(named[-1] if named else str(config_file(default)), default)
    for each in argv:
        match = re.match(r"--?config\.([\w.]+)", each)
        if match:
            _walk(config, match[1].split("."))
    return config


def _load(named: str, default: str) -> Any:
    """What `get_config` of `file.py[:variant]` returns."""
    import ml_collections

    file, _, variant = named.partition(":")
    if not pathlib.Path(file).is_file():
        raise ValueError(
            f"--config={named}: there is no file {file}; give file.py[:variant] or a "
            f"variant of {default}"
        )
    try:
        config = _module(file).get_config(*([variant] if variant else []))
    except Exception as error:
        raise ValueError(f"--config={named}: {_cause(error, file)}") from error
    if not isinstance(config, dict | ml_collections.ConfigDict):
        raise ValueError(
            f"--config={named}: get_config returned a {type(config).__name__}; it has "
            "to return an ml_collections.ConfigDict"
        )
    return ml_collections.ConfigDict(config)


def _module(file: str) -> Any:
    loader = importlib.machinery.SourceFileLoader("experiments_config", file)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _cause(error: Exception, file: str) -> str:
    """What went wrong in a config file, and in which of its lines."""
    said = " ".join(str(error).split())
    if isinstance(error, ValueError):
        return said
    if isinstance(error, AttributeError) and "'get_config'" in said:
        return f"{file} has no function get_config"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [str(frame.lineno) for frame in frames if frame.filename == file]
    at = f" in line {lines[-1]}" if lines else ""
    return f"{file} is no config file{at}: {type(error).__name__}: {said}"


def _walk(config: Any, names: list[str]) -> None:
    at = "config"
    for name in names:
        if not hasattr(config, "keys"):
            raise ValueError(f"{at}.{name}: no such field, {at} is a value")
        if name not in config:
            hint = reader.nearest(name, config.keys())
            raise ValueError(f"{at}.{name}: no such field{hint}")
        config, at = config[name], f"{at}.{name}"
    if hasattr(config, "keys"):
        raise ValueError(
            f"{at} holds several fields; give one of them, such as --{at}."
            f"{next(iter(config.keys()))}=…"
        )


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
      default: the benchmark, a folder of `experiments/` with a `config.py`.

    Bad input ends the process with exit code 1 and one line that says what is wrong.
    """
    argv = expand(sys.argv, default)
    config = _guarded(lambda: load(argv, default))
    # The file is read; its fields are left to be parsed.
    argv = [each for each in argv if not re.match("--?config(=|$)", each)]
    given = _define(config, argv)

    def start(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)  # orbax reports every rename
        _guarded(lambda: _start(main, record, given))

    app.run(start, argv=argv, flags_parser=lambda argv: _guarded(lambda: _parse(argv)))


def _parse(argv: list[str]) -> list[str]:
    try:
        left = flags.FLAGS(argv)
    except (flags.Error, TypeError) as error:
        said = " ".join(str(error).split())
        for pattern, plain in PLAIN.items():
            said = re.sub(pattern, plain, said)
        raise ValueError(said) from error
    if len(left) > 1:
        raise ValueError(f"unexpected arguments: {' '.join(left[1:])}")
    return left


def _define(config: Any, argv: list[str]) -> dict[str, flags.FlagHolder]:
    from ml_collections import config_flags

    string, integer = flags.DEFINE_string, flags.DEFINE_integer
    modes = ["auto", "on", "off"]
    return {
        "config": config_flags.DEFINE_config_dict(
            "config",
            config,
            "A variant, or a file with get_config; --config.<field> overrides.",
            lock_config=True,
            sys_argv=argv,
        ),
        "workdir": string("workdir", None, "Where the files of the run go."),
        "results": string("results", "", "Folder for a copy of result.json."),
        "mode": flags.DEFINE_enum(
            "distributed", "auto", modes, "Whether to start jax.distributed."
        ),
        "coordinator": string("coordinator", None, "host:port of process 0."),
        "processes": integer("processes", None, "How many processes there are."),
        "process": integer("process", None, "The number of this process."),
        "timeout": flags.DEFINE_float(
            "coordinator_timeout", None, "Seconds for all processes to be there; 300."
        ),
        "traceback": flags.DEFINE_bool(
            "traceback", False, "Show where in the code an error was found."
        ),
    }


def _start(
    main: Callable[..., Any], record: type, given: dict[str, flags.FlagHolder]
) -> None:
    from nmn_jax.run import parallel

    config: Any = reader.from_mapping(record, given["config"].value)
    workdir = given["workdir"].value
    keep_programs()
    names = ("coordinator", "processes", "process", "timeout")
    peers = {name: given[name].value for name in names if given[name].present}
    parallel.initialize(given["mode"].value, **peers)
    main(config, pathlib.Path(workdir) if workdir else None, given["results"].value)


def _guarded(action: Callable[[], Any]) -> Any:
    """What the action returns; an expected error ends the process with one line."""
    try:
        return action()
    except EXPECTED as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"error: {' '.join(str(error).split())}")
