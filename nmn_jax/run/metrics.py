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
import jax.numpy as jnp
import numpy as np

FILE = "metrics.jsonl"


def host_scalars(measured: Mapping[str, Any]) -> dict[str, float]:
    """Numbers as Python floats; waits for the device once.

    A vector becomes one number per entry: `memory/write_share/0`, `.../1` and so on.

    Raises:
      ValueError: for an array of more than one axis.
    """
    scalars: dict[str, float] = {}
    for name, value in jax.device_get(dict(measured)).items():
        if np.ndim(value) > 1:
            raise ValueError(f"metric {name} has shape {np.shape(value)}; reduce it")
        if np.ndim(value) == 1:
            entries = {f"{name}/{i}": float(each) for i, each in enumerate(value)}
            scalars.update(entries)
        else:
            scalars[name] = float(value)
    return scalars


def check_finite(scalars: Mapping[str, float], *, step: int, state: Any = ()) -> None:
    """Stop at the first number that is not finite.

    Args:
      scalars: the metrics of `step`.
      state: a pytree whose leaves are looked through as well once a metric is bad; it
        may be of a later step, since metrics are fetched late.

    Raises:
      FloatingPointError: names every such metric and leaf, and the step.
    """
    bad = {name: value for name, value in scalars.items() if not math.isfinite(value)}
    if bad:
        listed = ", ".join(f"{name} = {value}" for name, value in bad.items())
        leaves = nonfinite_leaves(state)
        within = f"; leaves with such values: {', '.join(leaves)}" if leaves else ""
        raise FloatingPointError(
            f"not finite at step {step}: {listed}{within}. The last checkpoint is from "
            "before; lower optim.lr or feedback.rate, or set optim.clip."
        )


def check_finite_tree(tree: Any, *, step: int) -> None:
    """As `check_finite` for parameters: names the leaves that are not finite.

    Raises:
      FloatingPointError: names every such leaf and the step.
    """
    bad = nonfinite_leaves(tree)
    if bad:
        raise FloatingPointError(f"not finite at step {step}: {', '.join(bad)}")


def nonfinite_leaves(tree: Any) -> list[str]:
    """Names of the floating-point leaves that hold a NaN or an infinity."""
    return [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree.leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not jnp.isfinite(leaf).all()
    ]


class Writer:
    """`metrics.jsonl`, always, and TensorBoard events beside it; first process only.

    After a resume the rows of later steps and a torn last line are dropped, so the file
    reads as if the run had never been interrupted. Without a step to resume from, every
    row is of a run that is made again.
    """

    def __init__(self, workdir: str | pathlib.Path, *, resume_step: int | None = None):
        self._file: TextIO | None = None
        if jax.process_index() != 0:
            return
        from tensorboardX import SummaryWriter

        workdir = pathlib.Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        kept = -1 if resume_step is None else resume_step
        path = workdir / FILE
        _cut_back(path, kept)
        self._file = path.open("a", buffering=1, encoding="utf-8")
        self._events = SummaryWriter(str(workdir), purge_step=kept + 1)

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


def _cut_back(path: pathlib.Path, last: int) -> None:
    """Drop rows after step `last` and rows that are not whole; all of it or nothing."""
    if not path.exists():
        return
    rows = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    beside = path.with_suffix(".tmp")
    beside.write_text("".join(row for row in rows if _step(row) <= last), "utf-8")
    os.replace(beside, path)


def _step(row: str) -> float:
    """The step of a row, infinity where the row cannot be read."""
    try:
        return float(json.loads(row)["step"]) if row.endswith("\n") else math.inf
    except (KeyError, TypeError, ValueError):
        return math.inf


class Progress:
    """One line with rate and time left: rewritten on a terminal, else now and then."""

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        every: float = 10.0,
        out: Any = None,
    ):
        self._total, self._start = total, start
        self._out = out or sys.stderr
        self._tty = self._out.isatty()
        self._wait = 0.2 if self._tty else every
        self._begun, self._last = time.monotonic(), -math.inf
        self._silent = jax.process_index() != 0

    def update(self, step: int, **shown: float) -> None:
        """Show `step` and some numbers, at most every `every` seconds."""
        now = time.monotonic()
        if self._silent or (step < self._total and now - self._last < self._wait):
            return
        self._last = now
        rate = (step - self._start) / max(now - self._begun, 1e-9)
        left = _clock((self._total - step) / rate) if rate else "--:--:--"
        numbers = "".join(f" {name}={value:.4g}" for name, value in shown.items())
        text = f"step {step}/{self._total} {rate:.2f} it/s eta {left}{numbers}"
        end = "\n" if step >= self._total or not self._tty else ""
        self._out.write(("\r\x1b[K" if self._tty else "") + text + end)
        self._out.flush()


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
