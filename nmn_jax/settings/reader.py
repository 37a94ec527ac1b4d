"""Nested mappings to frozen dataclasses, strictly: no key is ignored."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

Record = TypeVar("Record")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error: the known name most like this one, or all that are known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def from_mapping(cls: type[Record], given: Any, where: str = "config") -> Record:
    """A record of class `cls` from a mapping, or what acts as one (a ConfigDict).

    Fields that are dataclasses take mappings, fields annotated `dict` and `tuple` are
    converted, integers are accepted for floats. Fields left out keep their defaults.

    Raises:
      ValueError: for an unknown key (names the nearest), a value of another type, or a
        field without a default that is left out.
    """
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, cls))}
    hints = typing.get_type_hints(cls)
    values = {}
    for name in given:
        if name not in fields:
            hint = nearest(name, fields)
            raise ValueError(f"{where}.{name}: no such field in {cls.__name__}{hint}")
        values[name] = _convert(hints[name], given[name], f"{where}.{name}")
    missing = [
        name for name in fields if name not in values and _required(fields[name])
    ]
    if missing:
        raise ValueError(f"{where}.{missing[0]}: has no default and has to be given")
    return cls(**values)


def _required(field: dataclasses.Field) -> bool:
    nothing = dataclasses.MISSING
    return field.default is nothing and field.default_factory is nothing


def _convert(hint: Any, value: Any, where: str) -> Any:
    """The value as the annotation has it; unions take the first member that fits."""
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        _check(hasattr(value, "keys"), value, hint, where)
        return from_mapping(typing.cast(type, hint), value, where)
    kind = typing.get_origin(hint) or hint
    if kind in (types.UnionType, typing.Union):
        return _convert_union(typing.get_args(hint), value, where)
    if kind is typing.Literal:
        choices = typing.get_args(hint)
        _check(value in choices, value, hint, where)
        return value
    if kind is dict:
        _check(hasattr(value, "keys"), value, hint, where)
        return {name: value[name] for name in value}
    if kind is tuple:
        _check(isinstance(value, list | tuple), value, hint, where)
        return _convert_tuple(typing.get_args(hint), value, where)
    if kind is float and type(value) is int:
        return float(value)
    _check(type(value) is kind, value, hint, where)
    return value


def _convert_tuple(hints: tuple, value: Sequence[Any], where: str) -> tuple:
    if not hints:
        return tuple(value)
    inner = hints[:1] * len(value) if hints[-1] is ... else hints
    _check(len(inner) == len(value), value, f"{len(inner)} entries", where)
    return tuple(
        _convert(hint, each, f"{where}[{i}]")
        for i, (hint, each) in enumerate(zip(inner, value, strict=True))
    )


def _convert_union(hints: tuple, value: Any, where: str) -> Any:
    for hint in hints:
        try:
            return _convert(hint, value, where)
        except ValueError:
            continue
    _check(False, value, " or ".join(map(_shown, hints)), where)


def _check(fits: bool, value: Any, expected: Any, where: str) -> None:
    if not fits:
        given = f"{value!r} is a {type(value).__name__}"
        raise ValueError(f"{where}: {given}, expected {_shown(expected)}")


def _shown(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    return hint.__name__ if isinstance(hint, type) else str(hint)
