"""Classes seen once in 500 windows of a stream (section 5.1).

    python -m experiments.rare_classes --config=mnist --config.sg=off
    python -m experiments.rare_classes --config=digits      # embedded, no files
    python -m experiments.rare_classes --config=mnist --config.method=cnn
    python -m experiments.rare_classes --config=mnist --config.method=nmn_replay

Every field can be overridden; `model`, `sg`, `optim`, `stream` and `replay` start empty
and override the preset as `experiments/rare_classes/records.py` changes it for a
stream. About a quarter of an hour on one core; results are in `results/README.md`.
"""

from __future__ import annotations

import dataclasses

import ml_collections

from experiments.common.config import placeholders
from experiments.rare_classes import records
from nmn_jax.settings import records as library

VARIANTS = {
    "mnist": {"source": "mnist"},
    "digits": {"source": "digits", "held_out": 300},
}
OVERRIDES = {
    "model": library.ModelSettings,
    "sg": library.SGSettings,
    "optim": library.OptimSettings,
    "stream": library.StreamSettings,
    "replay": library.ReplaySettings,
}


def get_config(variant: str = "digits") -> ml_collections.ConfigDict:
    """The config of a variant.

    Raises:
      ValueError: if the variant is neither `mnist` nor `digits`.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; use mnist or digits")
    config = ml_collections.ConfigDict(dataclasses.asdict(records.Run()))
    config.data.update(VARIANTS[variant])
    for name, record in OVERRIDES.items():
        config[name] = placeholders(record)
    return config
