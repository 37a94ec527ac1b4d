"""From records to what the command line overrides: a field each, with its type."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import ml_collections
from ml_collections import config_dict

from nmn_jax.settings import records


def placeholders(record: type) -> ml_collections.ConfigDict:
    """Typed fields without a value: an override has to be of the preset's type."""
    return ml_collections.ConfigDict(
        {
            field.name: config_dict.placeholder(type(field.default))
            for field in dataclasses.fields(record)
        }
    )


def from_record(run: Any) -> ml_collections.ConfigDict:
    """The config of a run: every field of its record, records within it as well.

    Dictionaries named like a record of `nmn_jax.settings` become its placeholders: they
    override the preset where they are given. Fields that are None take a value of
    their annotated type.
    """
    hints = typing.get_type_hints(type(run))
    return ml_collections.ConfigDict(
        {
            field.name: _value(field.name, getattr(run, field.name), hints[field.name])
            for field in dataclasses.fields(run)
        }
    )


def _value(name: str, value: Any, hint: Any) -> Any:
    if name in records.RECORDS:
        return placeholders(type(getattr(records.Settings(), name)))
    if dataclasses.is_dataclass(value):
        return from_record(value)
    if value is None:
        kinds = [each for each in typing.get_args(hint) if each is not type(None)]
        return config_dict.placeholder(typing.get_origin(kinds[0]) or kinds[0])
    return value
