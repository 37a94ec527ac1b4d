"""Flags, and nothing else: everything below `run` can be imported into a notebook."""

from __future__ import annotations

import os
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from nmn_jax import config as config_lib

CONFIGS = pathlib.Path(__file__).resolve().parent / "configs"


def expand(argv: list[str], default: str) -> list[str]:
    """Let `--config=5way1shot` stand for the default file's variant of that name."""
    file = CONFIGS / f"{default}.py"

    def whole(given: str) -> str:
        match = re.fullmatch(r"--config=([\w-]+)", given)
        return f"--config={file}:{match[1]}" if match else given

    return [whole(each) for each in argv]


def keep_programs() -> None:
    """Keep compiled programs between runs, unless the user chose a place already."""
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        home = os.environ.get("NMN_CACHE_DIR") or pathlib.Path.home() / ".cache/nmn_jax"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "xla"))


def run(main: Callable[..., Any], record: type, *, default: str) -> None:
    """Parse the flags, build the config record, start the devices, call `main`.

    Args:
      main: `(config, workdir, results) -> None`
      record: the frozen dataclass the config becomes.
      default: the config file under `experiments/configs/`.
    """
    from ml_collections import config_flags

    file = str(CONFIGS / f"{default}.py")
    config = config_flags.DEFINE_config_file(
        "config", file, "A file with get_config, or one of its variants.",
        lock_config=True,
    )  # fmt: skip
    workdir = flags.DEFINE_string("workdir", None, "Where the files of the run go.")
    copies = flags.DEFINE_string("results", "", "Folder for a copy of result.json.")
    mode = flags.DEFINE_enum(
        "distributed",
        "auto",
        ["auto", "on", "off"],
        "Whether to start jax.distributed.",
    )
    coordinator = flags.DEFINE_string("coordinator", None, "host:port of process 0.")
    processes = flags.DEFINE_integer("processes", None, "How many processes there are.")
    process = flags.DEFINE_integer("process", None, "The number of this process.")

    def start(argv: list[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
        from nmn_jax import parallel

        logging.set_verbosity(logging.WARNING)  # orbax reports every rename
        keep_programs()
        parallel.initialize(
            mode.value,
            coordinator=coordinator.value,
            processes=processes.value,
            process=process.value,
        )
        given = config_lib.from_mapping(record, config.value)
        main(
            given, pathlib.Path(workdir.value) if workdir.value else None, copies.value
        )

    _guarded(start, expand(sys.argv, default))


def _guarded(start: Callable[[list[str]], None], argv: list[str]) -> None:
    """Bad input ends in one line that says what is wrong, not in a traceback."""

    def checked(argv: list[str]) -> None:
        try:
            start(argv)
        except (ValueError, FileNotFoundError) as error:
            sys.exit(f"error: {error}")

    try:
        app.run(checked, argv=argv)
    except (AttributeError, KeyError) as error:
        # config_flags raises these for a field that the config does not have.
        sys.exit(f"error: {_unknown_field(error)}")


def _unknown_field(error: Exception) -> str:
    return f"no such config field: {str(error).strip()}"
