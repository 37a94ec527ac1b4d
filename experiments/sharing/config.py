"""Two networks, one for each kind of road user, and what they share (section 5.2).

    python -m experiments.sharing --config=sdd --config.sharing=shared
    python -m experiments.sharing --config=sdd --config.sharing=separate
    python -m experiments.sharing --config=synthetic        # made up, no files

Every field can be overridden; `model`, `sg`, `optim`, `stream` and `forecast` start
empty and override the preset as `experiments/sharing/records.py` changes it. Some
minutes on one core for ten draws; results are in `results/README.md`.
"""

from __future__ import annotations

import ml_collections

from experiments.common.config import from_record
from experiments.sharing import records


def get_config(variant: str = "synthetic") -> ml_collections.ConfigDict:
    """The config of a variant, which is a source of tracks.

    Raises:
      ValueError: if there is no such source.
    """
    if variant not in records.SOURCES:
        raise ValueError(
            f"unknown variant {variant!r}; use {', '.join(records.SOURCES)}"
        )
    config = from_record(records.Run())
    config.data.source = variant
    return config
