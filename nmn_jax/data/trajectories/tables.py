"""Text tables read strictly: every fault is named by file, row and column.

Rows are numbered as the lines of the file, from 1. A byte order mark, line ends of any
system, quoted fields, another order of the columns and empty lines at the end are read;
nothing else is guessed.
"""

import csv
import dataclasses
import gzip
import io
import itertools
import math
import pathlib
import re
import zlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from nmn_jax.data.trajectories.faults import fault

_BLOCK = 50_000  # rows converted at a time, so that text needs little memory
_LINE_END = re.compile("[\r\n]")
_LARGEST = 2.0**53  # whole numbers are exact up to here


class Column(NamedTuple):
    """What one column holds."""

    name: str
    kind: Literal["whole", "number", "text"]
    least: float = -math.inf
    most: float = math.inf


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A checked table: int64, float64 or text columns."""

    path: pathlib.Path
    first: int  # row of the first values
    columns: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def fault(self, entry: int, name: str, problem: str) -> ValueError:
        """The error for one value."""
        return fault(self.path, problem, row=self.first + entry, column=name)

    def refuse(self, name: str, wrong: np.ndarray, problem: str) -> None:
        """Raise for the first value for which ``wrong`` is true.

        ``{}`` in the problem becomes the value.
        """
        entries = np.flatnonzero(wrong)
        if len(entries):
            given = self.columns[name][entries[0]].item()
            raise self.fault(int(entries[0]), name, problem.format(given))


def read(
    path: pathlib.Path,
    columns: Sequence[Column],
    *,
    delimiter: str = ",",
    header: Literal["names", "none"] = "names",
) -> Table:
    """Read a table, packed by gzip if its name ends in ``.gz``.

    Args:
        path: the file, UTF-8.
        columns: all columns, in the order of the file if it has no header.
        delimiter: between two fields.
        header: whether the first row names the columns.

    Raises:
        ValueError: the file has no rows, other columns, or values that do not belong.
    """
    text = _text(path).rstrip("\r\n")
    if not text:
        raise fault(path, "the file is empty", row=1)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = [column.name for column in columns]
    if header == "names":
        names = _header(path, next(_blocks(path, lines, 1))[0], columns)
    first = 2 if header == "names" else 1
    by_name = {column.name: column for column in columns}
    converted: dict[str, list[np.ndarray]] = {name: [] for name in names}
    row = first
    for block in _blocks(path, lines, _BLOCK):
        _check_widths(path, block, row, width=len(names))
        for name, values in zip(names, zip(*block, strict=True), strict=True):
            converted[name].append(_convert(path, row, by_name[name], values))
        row += len(block)
    if row == first:
        raise fault(path, "no rows after the header", row=first)
    return Table(path, first, {n: np.concatenate(v) for n, v in converted.items()})


def _text(path: pathlib.Path) -> str:
    content = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        problem = f"byte 0x{content[error.start]:02x} is not UTF-8; save it as UTF-8"
        raise fault(path, problem, row=row) from error


def _unpacked(path: pathlib.Path) -> bytes:
    read = []
    try:
        with gzip.open(path) as file:
            while part := file.read(1 << 16):
                read.append(part)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        row = b"".join(read).count(b"\n") + 1
        problem = f"the gzip file is damaged or cut off here ({error}); get it again"
        raise fault(path, problem, row=row) from error
    return b"".join(read)


def _blocks(path: pathlib.Path, lines, size: int):
    """Lists of rows; an error of the csv reader becomes ours."""
    while True:
        begun = lines.line_num
        try:
            block = list(itertools.islice(lines, size))
        except csv.Error as error:
            problem = f"no row of a table ({error}); are all quotes closed?"
            raise fault(path, problem, row=lines.line_num) from error
        if lines.line_num - begun != len(block):
            long = next(
                k for k, row in enumerate(block) if _LINE_END.search("".join(row))
            )
            problem = "a quoted field runs over the end of the line"
            raise fault(path, problem, row=begun + long + 1)
        if not block:
            return
        yield block


def _header(
    path: pathlib.Path, found: list[str], columns: Sequence[Column]
) -> list[str]:
    wanted = [column.name for column in columns]
    if len(found) == 1 and len(wanted) > 1:
        problem = f"one column {found[0][:60]!r}; columns are separated by commas"
        raise fault(path, problem, row=1)
    for name in wanted:
        if found.count(name) > 1:
            raise fault(path, "two columns have this name", row=1, column=name)
    for name in wanted:
        if name not in found:
            problem = f"this column is missing; the header has {', '.join(found)}"
            raise fault(path, problem, row=1, column=name)
    for name in found:
        if name not in wanted:
            problem = f"no column of this format; it has {', '.join(wanted)}"
            raise fault(path, problem, row=1, column=name)
    return found


def _check_widths(
    path: pathlib.Path, block: list[list[str]], row: int, *, width: int
) -> None:
    if set(map(len, block)) == {width}:
        return
    wrong = next(k for k, fields in enumerate(block) if len(fields) != width)
    found = len(block[wrong])
    problem = f"{found} fields where {width} belong" if found else "an empty line"
    raise fault(path, problem, row=row + wrong)


def _convert(
    path: pathlib.Path, row: int, column: Column, texts: Sequence[str]
) -> np.ndarray:
    """One column of a block whose first row is ``row``."""
    if column.kind == "text":
        if "" in texts:
            raise fault(path, "empty", row=row + texts.index(""), column=column.name)
        return np.array(texts, np.str_)
    values = _numbers(texts, column)
    if values is None:
        wrong = next(
            k for k, text in enumerate(texts) if _numbers([text], column) is None
        )
        problem = f"{texts[wrong]!r} where {_expected(column)} belongs"
        raise fault(path, problem, row=row + wrong, column=column.name)
    return values.astype(np.int64) if column.kind == "whole" else values


def _numbers(texts: Sequence[str], column: Column) -> np.ndarray | None:
    """Their values; None if one of them does not belong into the column."""
    if "_" in "".join(texts):  # Python reads 1_0 as ten
        return None
    try:
        values = np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        return None
    fits = np.isfinite(values) & (values >= column.least) & (values <= column.most)
    if column.kind == "whole":
        fits &= (values == np.floor(values)) & (np.abs(values) < _LARGEST)
    return values if fits.all() else None


def _expected(column: Column) -> str:
    words = "a whole number" if column.kind == "whole" else "a finite number"
    if column.least > -math.inf:
        words += f" of at least {column.least:g}"
    if column.most < math.inf:
        words += f" of at most {column.most:g}"
    return words


def offsets_of_tracks(table: Table, keys: Sequence[str], *, frame: str) -> np.ndarray:
    """Where tracks begin and end in a table that has them one after the other.

    Args:
        table: rows of a track stand together and its frames rise.
        keys: columns that together name a track; the last is its number.
        frame: column of the frame.

    Returns:
        offsets ``[tracks + 1]``.

    Raises:
        ValueError: a track goes on elsewhere in the file, or its frames do not rise.
    """
    columns = np.stack([_codes(table[key]) for key in keys], -1)
    changes = np.any(columns[1:] != columns[:-1], axis=1)
    firsts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    again = np.ones(len(firsts), bool)
    again[np.unique(columns[firsts], axis=0, return_index=True)[1]] = False
    wrong = np.zeros(len(columns), bool)
    wrong[firsts[again]] = True
    table.refuse(keys[-1], wrong, "track {} goes on after another one began")
    falls = np.diff(table[frame], prepend=0) <= 0
    falls[firsts] = False
    table.refuse(frame, falls, "{} does not rise; frames of a track must")
    return np.append(firsts, len(columns))


def _codes(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]
