"""Classes seen once in 500 windows of a stream (section 5.1).

    python -m experiments.rare_classes --config=mnist --config.sg=off
    python -m experiments.rare_classes --config=digits      # embedded, no files
    python -m experiments.rare_classes --config=mnist --config.method=cnn
    python -m experiments.rare_classes --config=mnist --config.stream.replayed=10

Every field can be overridden; `model`, `feedback` and `optim` start empty and override
the preset as `experiments/rare_settings.py` changes it for a stream.
"""

import dataclasses

import ml_collections

from experiments import rare_settings
from experiments.configs import placeholders
from nmn_jax import settings as library

VARIANTS = {
    "mnist": {"source": "mnist"},
    "digits": {"source": "digits", "held_out": 300},
}


def get_config(variant: str = "digits") -> ml_collections.ConfigDict:
    """The config of a variant.

    Raises:
      ValueError: if the variant is neither `mnist` nor `digits`.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; use mnist or digits")
    config = ml_collections.ConfigDict(dataclasses.asdict(rare_settings.Run()))
    config.data.update(VARIANTS[variant])
    config.model = placeholders(library.ModelSettings)
    config.feedback = placeholders(library.SyntheticSettings)
    config.optim = placeholders(library.OptimSettings)
    return config
