"""How an error says which file, row and column is wrong, and how npz files are read."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nmn_jax.data import files

_KINDS = {"i": "int", "u": "unsigned int", "f": "float", "U": "text"}


def fault(
    path: pathlib.Path,
    problem: str,
    *,
    row: int | str | None = None,
    column: str | None = None,
) -> ValueError:
    """The error for one place of a file.

    Args:
        path: the file.
        problem: what was found there, and what belongs there.
        row: line number (the first line is 1), or in words the place in an array.
        column: name of the column or array.
    """
    place = [str(path)]
    if row is not None:
        place.append(f"row {row}" if isinstance(row, int) else row)
    if column is not None:
        place.append(f"column {column!r}")
    return ValueError(f"{', '.join(place)}: {problem}")


class Array(NamedTuple):
    """What one array of an npz file must be."""

    kinds: str  # of dtype: "i" and "u" whole numbers, "f" floating point, "U" text
    axes: tuple[str, ...] = ()  # axes of one name are equally long in all arrays
    needed: bool = True


def read_npz(path: pathlib.Path, forms: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Arrays of an npz file, checked for kind and shape.

    Args:
        path: the file.
        forms: the arrays to read; others in the file are left out.

    Raises:
        ValueError: the file cannot be read, an array is missing or of another form.
    """
    try:
        stored = files.read_npz(path)
    except Exception as error:  # a damaged file can raise anything while it is parsed
        cause = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise fault(path, f"not a readable npz file ({cause}); get it again") from error
    sizes: dict[str, tuple[str, int]] = {}
    for name, form in forms.items():
        if name not in stored:
            if form.needed:
                raise fault(path, "this array is missing", column=name)
            continue
        problem = _wrong_form(stored[name], form)
        if problem is None:
            problem = _wrong_size(name, stored[name], form.axes, sizes=sizes)
        if problem is not None:
            raise fault(path, problem, column=name)
    return {name: stored[name] for name in forms if name in stored}


def _wrong_form(array: np.ndarray, form: Array) -> str | None:
    if array.dtype.kind not in form.kinds:
        belongs = " or ".join(_KINDS[kind] for kind in form.kinds)
        return f"dtype {array.dtype} where {belongs} belongs"
    if array.ndim != len(form.axes):
        return f"shape {array.shape} where [{', '.join(form.axes)}] belongs"
    return None


def _wrong_size(
    name: str,
    array: np.ndarray,
    axes: tuple[str, ...],
    *,
    sizes: dict[str, tuple[str, int]],
) -> str | None:
    """Compare with the arrays so far, whose lengths are kept in ``sizes``."""
    for axis, size in zip(axes, array.shape, strict=True):
        first, known = sizes.setdefault(axis, (name, size))
        if known != size:
            return f"{size} {axis} where {first!r} has {known}"
    return None
