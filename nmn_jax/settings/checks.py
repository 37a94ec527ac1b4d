"""What a field of a record may be, as functions; a record checks itself when made.

A record is a frozen dataclass that inherits `Checked`:

    @dataclasses.dataclass(frozen=True)
    class Run(Checked):
        where = "config"
        steps: int = checked(5_000, positive)
        train: Train = dataclasses.field(default_factory=Train)

Fields made by a record class or by `dict` have to be of that type.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, ClassVar, NamedTuple

from nmn_jax.settings import reader

# No array has more rows, and no run more steps: the step counter has 32 bits.
MOST = 1_000_000_000
# Far within single precision, and beyond every rate that makes sense.
LARGEST = 1e6


class Check(NamedTuple):
    """What a field may be.

    allowed: the same in words, as the end of "must be …"
    accepts: `(value) -> bool`, for any value whatever
    convert: `(value) -> value` of an accepted one, e.g. a whole number to a float
    """

    allowed: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


def apply(check: Check, value: Any, name: str) -> Any:
    """The value, converted.

    Raises:
      ValueError: if the check does not accept it: `name=value: must be …`.
    """
    if not check.accepts(value):
        raise ValueError(f"{name}={value!r:.80}: must be {check.allowed}")
    return check.convert(value)


def whole(low: int = 0, high: int = MOST) -> Check:
    """A whole number, both ends included; True is none."""

    def accepts(value: Any) -> bool:
        number = isinstance(value, int) and not isinstance(value, bool)
        return number and low <= value <= high

    return Check(f"a whole number from {low} to {high}", accepts, int)


def real(
    low: int | float = 0, high: int | float = LARGEST, *, above: bool = False
) -> Check:
    """A finite number, both ends included; with `above` without the lower end."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return (low < value if above else low <= value) and value <= high

    ends = f"above {low:g} and at most" if above else f"from {low:g} to"
    return Check(f"a number {ends} {high:g}", accepts, float)


def choice(table: Collection[str]) -> Check:
    """One of the names of a table."""
    known = ", ".join(map(repr, table))
    return Check(
        f"one of {known}", lambda value: isinstance(value, str) and value in table
    )


def each(check: Check, *, least: int = 1) -> Check:
    """A tuple of different values, at least so many; lists are converted."""

    def accepts(value: Any) -> bool:
        if not isinstance(value, tuple | list) or len(value) < least:
            return False
        if not all(map(check.accepts, value)):
            return False
        return len(set(value)) == len(value)

    return Check(
        f"a tuple of at least {least} different values, each {check.allowed}",
        accepts,
        lambda value: tuple(map(check.convert, value)),
    )


def optional(check: Check) -> Check:
    """None, or what the check accepts."""
    return Check(
        f"None or {check.allowed}",
        lambda value: value is None or check.accepts(value),
        lambda value: None if value is None else check.convert(value),
    )


def text(*, least: int = 0, most: int = 200) -> Check:
    """One line of text of `least` to `most` characters."""

    def accepts(value: Any) -> bool:
        return (
            isinstance(value, str)
            and least <= len(value) <= most
            and value.isprintable()
        )

    return Check(f"one line of text of {least} to {most} characters", accepts)


def instance(cls: type) -> Check:
    """A record of this class."""
    return Check(f"a {cls.__name__}", lambda value: isinstance(value, cls))


def _mapping_accepts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


positive = whole(1)
# JAX makes a key of the lowest 32 bits: larger seeds would be smaller ones again.
seed = whole(0, 2**32 - 1)
minutes = real(0, LARGEST)
share = real(0, 1)


def checked(default: Any, check: Check) -> Any:
    """A field of a record with its default and what it may be."""
    return dataclasses.field(default=default, metadata={"check": check})


def check_of(field: dataclasses.Field) -> Check | None:
    """What a field of a record may be: declared, or as its default factory makes it."""
    made = field.default_factory
    if made is dict:
        return Check("a dictionary with names as keys", _mapping_accepts, dict)
    if isinstance(made, type):
        return instance(made)
    return field.metadata.get("check")


class Checked:
    """Base of records that check their fields when they are made.

    where: what stands before a field's name in errors

    A record with rules between fields extends `__post_init__` after calling this one.
    """

    where: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Raises ValueError for a value that its field's check does not accept."""
        prefix = f"{self.where}." if self.where else ""
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            check = check_of(field)
            if check is not None:
                value = apply(check, getattr(self, field.name), prefix + field.name)
                object.__setattr__(self, field.name, value)


def replaced(record: Any, changes: dict[str, Any]) -> Any:
    """A copy of a record with fields replaced all at once; None leaves a field.

    Raises:
      ValueError: for a field that there is not (names the nearest), or a value that it
        may not have.
    """
    known = {field.name for field in dataclasses.fields(record)}
    for name in changes:
        if name not in known:
            raise ValueError(
                f"{record.where}.{name}: no such field{reader.nearest(name, known)}"
            )
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(record, **given)
