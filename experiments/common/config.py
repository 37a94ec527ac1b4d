"""One file per benchmark: `get_config(variant)` gives every field its value."""

import dataclasses

import ml_collections
from ml_collections import config_dict


def placeholders(record: type) -> ml_collections.ConfigDict:
    """Typed fields without a value: an override has to be of the preset's type."""
    return ml_collections.ConfigDict(
        {
            field.name: config_dict.placeholder(type(field.default))
            for field in dataclasses.fields(record)
        }
    )
