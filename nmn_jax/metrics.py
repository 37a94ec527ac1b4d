"""Numbers on their way out: to the host, into `metrics.jsonl`, onto the terminal."""

from __future__ import annotations

import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

import jax
import numpy as np

FILE = "metrics.jsonl"


def host_scalars(measured: Mapping[str, Any]) -> dict[str, float]:
    """The scalars among `measured` as Python floats; waits for the device once."""
    fetched = jax.device_get(dict(measured))
    return {name: float(v) for name, v in fetched.items() if np.ndim(v) == 0}


def check_finite(scalars: Mapping[str, float], *, step: int) -> None:
    """Stop at the first number that is not finite.

    Raises:
      FloatingPointError: names every such metric and the step.
    """
    bad = {name: value for name, value in scalars.items() if not math.isfinite(value)}
    if bad:
        listed = ", ".join(f"{name} = {value}" for name, value in bad.items())
        raise FloatingPointError(
            f"not finite at step {step}: {listed}. The last checkpoint is from before; "
            "lower optim.lr or feedback.rate, or set optim.clip."
        )


def check_finite_tree(tree: Any, *, step: int) -> None:
    """As `check_finite` for parameters: names the leaves that are not finite.

    Raises:
      FloatingPointError: names every such leaf and the step.
    """
    bad = [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree.leaves_with_path(jax.device_get(tree))
        if np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all()
    ]
    if bad:
        raise FloatingPointError(f"not finite at step {step}: {', '.join(bad)}")


class Writer:
    """`metrics.jsonl`, always, and TensorBoard events beside it; first process only.

    After a resume the rows of later steps and a torn last line are dropped, so the file
    reads as if the run had never been interrupted.
    """

    def __init__(self, workdir: pathlib.Path, *, resume_step: int | None = None):
        self._file: TextIO | None = None
        if jax.process_index() != 0:
            return
        from tensorboardX import SummaryWriter

        workdir.mkdir(parents=True, exist_ok=True)
        path = workdir / FILE
        kept = _rows_until(path, resume_step) if resume_step is not None else []
        beside = path.with_suffix(".tmp")
        beside.write_text("".join(kept))
        os.replace(beside, path)
        self._file = path.open("a", buffering=1)
        purge = None if resume_step is None else resume_step + 1
        self._events = SummaryWriter(str(workdir), purge_step=purge)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """One row; numbers that are not finite are written as text."""
        if self._file is None:
            return
        values = {
            name: value if math.isfinite(value) else repr(value)
            for name, value in scalars.items()
        }
        row = {"step": step, "time": time.time(), **values}
        self._file.write(json.dumps(row) + "\n")
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and release the files."""
        if self._file is not None:
            self._file.close()
            self._events.close()
            self._file = None


def _rows_until(path: pathlib.Path, step: int) -> list[str]:
    if not path.exists():
        return []
    rows = path.read_text().splitlines(keepends=True)
    whole = [row for row in rows if row.endswith("\n")]
    return [row for row in whole if json.loads(row)["step"] <= step]


class Progress:
    """One line with rate and time left: rewritten on a terminal, else now and then."""

    def __init__(
        self, total: int, *, start: int = 0, every: float = 10.0, out: TextIO = sys.stderr
    ):
        self._total, self._start, self._every = total, start, every
        self._out, self._tty = out, out.isatty()
        self._begun, self._last = time.monotonic(), -math.inf
        self._silent = jax.process_index() != 0

    def update(self, step: int, **shown: float) -> None:
        """Show `step` and some numbers, at most every `every` seconds."""
        now = time.monotonic()
        wait = 0.2 if self._tty else self._every
        if self._silent or (step < self._total and now - self._last < wait):
            return
        self._last = now
        rate = (step - self._start) / max(now - self._begun, 1e-9)
        left = time.strftime("%H:%M:%S", time.gmtime((self._total - step) / max(rate, 1e-9)))
        numbers = " ".join(f"{name}={value:.4g}" for name, value in shown.items())
        text = f"step {step}/{self._total} {rate:.2f} it/s eta {left} {numbers}"
        end = "\n" if step >= self._total or not self._tty else ""
        self._out.write(("\r\x1b[K" if self._tty else "") + text + end)
        self._out.flush()
