"""Nested mappings to frozen dataclasses, strictly: no key is ignored."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Record = TypeVar("Record")


def nearest(name: str, known: Iterable[str]) -> str:
    """"; did you mean …?" for the known name most like this one, else all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def from_mapping(
    cls: type[Record], given: Mapping[str, Any], where: str = "config"
) -> Record:
    """A record of class `cls` from a mapping such as a ConfigDict.

    Fields that are dataclasses take mappings, fields annotated `dict` and `tuple` are
    converted, integers are accepted for floats. Fields left out keep their defaults.

    Raises:
      ValueError: for an unknown key (names the nearest) or a value of another type.
    """
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values = {}
    for name in given:
        if name not in fields:
            raise ValueError(
                f"{where}.{name}: no such field in {cls.__name__}{nearest(name, fields)}"
            )
        values[name] = _convert(hints[name], given[name], f"{where}.{name}")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast(type, hint), value, where)
    kind = typing.get_origin(hint) or hint
    if kind is dict:
        return {name: value[name] for name in value}
    if kind is tuple:
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(
            f"{where}: {value!r} is a {type(value).__name__}, expected {kind.__name__}"
        )
    return value
