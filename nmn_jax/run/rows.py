"""Which rows a metrics file holds: what a checkpoint remembers of them.

A resume goes on behind the rows that were written up to its checkpoint. A row that was
lost, doubled or altered since would leave curves silently short, so the step and the
CRC-32 of every row are stored with the checkpoint and compared.
"""

from __future__ import annotations

import json
import os
import pathlib
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from nmn_jax.run.fingerprint import DamagedError


class Rows:
    """Steps and checksums of the rows so far, in order."""

    def __init__(self, steps: Sequence[int] = (), checksums: Sequence[int] = ()):
        self.steps, self.checksums = list(steps), list(checksums)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Rows:
        """What `record` gave."""
        return cls(record["steps"], record["checksums"])

    def record(self) -> dict[str, list[int]]:
        """For the checkpoint; JSON can hold it."""
        return {"steps": list(self.steps), "checksums": list(self.checksums)}

    def add(self, step: int, line: str) -> None:
        """Note a row as it was written, line end included."""
        self.steps.append(step)
        self.checksums.append(_checksum(line))

    def restore(self, path: pathlib.Path) -> None:
        """Make the file hold exactly these rows.

        Later rows and a torn last line are dropped: their steps come again. Where rows
        are out of place but all there, the file is put in order with a warning.

        Raises:
          DamagedError: if a row is not there as it was written; nothing is touched.
        """
        lines = _lines(path)
        kept = lines[: len(self.steps)]
        if [_checksum(line) for line in kept] != self.checksums:
            kept = self._found(path, lines)
            warnings.warn(
                f"{path}: {_surplus(lines, kept)} put in order; all rows up to the "
                "checkpoint are there",
                stacklevel=3,
            )
        _replace(path, kept)

    def _found(self, path: pathlib.Path, lines: Sequence[str]) -> list[str]:
        by_checksum = {_checksum(line): line for line in lines}
        for place, (step, checksum) in enumerate(
            zip(self.steps, self.checksums, strict=True), start=1
        ):
            if checksum not in by_checksum:
                state = "is missing" if not lines else "was lost or altered"
                raise DamagedError(
                    f"{path}: row {place} of {len(self.steps)} (step {step}) {state} "
                    "since the checkpoint was saved, and curves would be short. Put "
                    "the file back as it was, or move the whole folder away to start "
                    "anew"
                )
        return [by_checksum[checksum] for checksum in self.checksums]


def _surplus(lines: Sequence[str], kept: Sequence[str]) -> str:
    """The first row that is out of place, for the warning."""
    for place, (line, wanted) in enumerate(zip(lines, kept, strict=False), start=1):
        if line != wanted:
            return f"row {place} (step {_step(line)}) is doubled or out of place;"
    return "rows are out of place;"


def _step(line: str) -> Any:
    try:
        return json.loads(line)["step"]
    except (KeyError, TypeError, ValueError):
        return "unreadable"


def _lines(path: pathlib.Path) -> list[str]:
    """The whole lines of the file, line ends included; none where there is no file."""
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [f"{line}\n" for line in text.split("\n")[:-1]]


def _replace(path: pathlib.Path, lines: Sequence[str]) -> None:
    """The new content, all of it or nothing."""
    beside = path.with_suffix(".tmp")
    beside.write_bytes("".join(lines).encode())
    os.replace(beside, path)


def _checksum(line: str) -> int:
    return zlib.crc32(line.encode())
