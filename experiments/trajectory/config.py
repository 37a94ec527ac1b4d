"""Cyclists to learn from, pedestrians to adapt to (section 4.2).

    python -m experiments.trajectory --config=sdd --config.sg=off
    python -m experiments.trajectory --config=synthetic     # made up, no files
    python -m experiments.trajectory --config=tafbw --config.method=attention

Every field can be overridden; `model`, `sg`, `optim`, `stream` and `forecast` start
empty and override the preset as `experiments/trajectory/records.py` changes it. About
a minute on one core for ten draws; results are in `results/README.md`.
"""

from __future__ import annotations

import ml_collections

from experiments.common.config import from_record
from experiments.trajectory import records

VARIANTS: dict[str, dict] = {
    "sdd": {"source": "sdd"},
    "ind": {"source": "ind"},
    # Few cyclists, at ten frames a second: brought to the pace of the others, and all
    # windows of those who are trained on.
    "tafbw": {
        "source": "tafbw",
        "fps": 30.0,
        "train": 9,
        "per_track": "all",
        "every": 20,
    },
    "synthetic": {"source": "synthetic"},
}


def get_config(variant: str = "synthetic") -> ml_collections.ConfigDict:
    """The config of a variant.

    Raises:
      ValueError: if the variant is none of `VARIANTS`.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; use {', '.join(VARIANTS)}")
    config = from_record(records.Run())
    config.data.update(VARIANTS[variant])
    return config
