"""Numbers on their way out: to the host, into `metrics.jsonl`, onto the terminal."""

from __future__ import annotations

import json
import math
import pathlib
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import jax
import jax.numpy as jnp
import numpy as np

from nmn_jax.run import fingerprint, parallel
from nmn_jax.run import rows as rows_lib

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
        raise FloatingPointError(f"not finite at step {step}: {listed}{within}")


def check_finite_tree(tree: Any, *, step: int) -> None:
    """As `check_finite` for a state: names the leaves that are not finite.

    Raises:
      FloatingPointError: names every such leaf and the step.
    """
    bad = nonfinite_leaves(tree)
    if bad:
        raise FloatingPointError(f"not finite at step {step}: {', '.join(bad)}")


def nonfinite_leaves(tree: Any) -> list[str]:
    """Names of the floating-point leaves that hold a NaN, or an array an infinity.

    A single number may be infinite: a best score before there is any. Looked through
    on the host, so that nothing is compiled for it.
    """
    return [
        jax.tree_util.keystr(path, simple=True, separator=".")
        for path, leaf in jax.tree.leaves_with_path(tree)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and _broken(leaf)
    ]


def _broken(leaf: Any) -> bool:
    parts = [leaf] if isinstance(leaf, np.ndarray) else _local_parts(leaf)
    return any(
        np.isnan(part).any() or (part.ndim and np.isinf(part).any())
        for part in map(np.asarray, parts)
    )


def _local_parts(leaf: jax.Array) -> list[Any]:
    """What this process holds of an array, once."""
    if leaf.is_fully_replicated:
        return [leaf.addressable_data(0)]
    return [shard.data for shard in leaf.addressable_shards]


class Writer:
    """`metrics.jsonl`, always, and TensorBoard events beside it; first process only.

    Args:
      workdir: where they go.
      resume: what `record` gave when the checkpoint was saved that the run goes on
        from; the file is cut back to those rows, so that it reads as if the run had
        never been interrupted. None begins an empty file.

    Raises:
      fingerprint.DamagedError: in every process, if a row is not there as it was.
    """

    def __init__(
        self, workdir: str | pathlib.Path, *, resume: Mapping[str, Any] | None = None
    ):
        self._file: TextIO | None = None
        self._rows = rows_lib.Rows.from_record(resume) if resume else rows_lib.Rows()
        workdir = pathlib.Path(workdir)
        fault = self._cut_back(workdir) if jax.process_index() == 0 else ""
        if not parallel.everywhere(not fault):
            raise fingerprint.DamagedError(
                fault or f"{workdir / FILE}: process 0 found it damaged"
            )
        if jax.process_index() == 0:
            self._open(workdir)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self) -> dict[str, list[int]]:
        """Steps and checksums of the rows so far; goes into the checkpoint."""
        return self._rows.record()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """One row; numbers that are not finite are written as text."""
        if self._file is None:
            return
        values = {
            name: value if math.isfinite(value) else repr(value)
            for name, value in scalars.items()
        }
        line = json.dumps({"step": step, "time": time.time(), **values}) + "\n"
        self._file.write(line)
        self._rows.add(step, line)
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and release the files."""
        if self._file is not None:
            self._file.close()
            self._events.close()
            self._file = None

    def _cut_back(self, workdir: pathlib.Path) -> str:
        """What is wrong with the rows, or ""."""
        workdir.mkdir(parents=True, exist_ok=True)
        try:
            self._rows.restore(workdir / FILE)
        except fingerprint.DamagedError as error:
            return str(error)
        return ""

    def _open(self, workdir: pathlib.Path) -> None:
        from tensorboardX import SummaryWriter

        self._file = (workdir / FILE).open("a", buffering=1, encoding="utf-8")
        after = self._rows.steps[-1] + 1 if self._rows.steps else 0
        self._events = SummaryWriter(str(workdir), purge_step=after)


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

    def update(self, step: int, /, **shown: float) -> None:
        """Show `step` and some numbers, at most every `every` seconds."""
        now = time.monotonic()
        if self._silent or (step < self._total and now - self._last < self._wait):
            return
        self._last = now
        rate = (step - self._start) / max(now - self._begun, 1e-9)
        left = _clock((self._total - step) / rate) if rate else "--:--:--"
        text = f"step {step}/{self._total} {rate:.2f} it/s eta {left}"
        text = self._fitted(text, [f" {k}={v:.4g}" for k, v in shown.items()])
        end = "\n" if step >= self._total or not self._tty else ""
        self._out.write(("\r\x1b[K" if self._tty else "") + text + end)
        self._out.flush()

    def _fitted(self, text: str, numbers: Sequence[str]) -> str:
        """As many whole numbers as fit; a line that wraps cannot be rewritten."""
        width = shutil.get_terminal_size().columns if self._tty else math.inf
        for number in numbers:
            if len(text) + len(number) < width:
                text += number
        return text


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"
