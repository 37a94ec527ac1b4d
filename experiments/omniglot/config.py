"""Few-shot classification of handwritten characters, N ways and S shots.

    python -m experiments.omniglot --config=5way1shot
    python -m experiments.omniglot --config=20way5shot --config.sg=both
    python -m experiments.omniglot                     # quick: made-up glyphs, no files

Variants: `quick`, `<N>way<S>shot` for any N and S, and `all`, one network for the four
settings of the paper, with labels drawn from twenty names. Every field can be
overridden, e.g. `--config.optim.lr=5e-4`; `model`, `sg`, `optim`, `adapt` and those of
single methods (`maml`, `matching`, …) start empty and override the preset. Time and
published numbers: see the table in README.md.
"""

import re

import ml_collections

from experiments.common.config import from_record
from experiments.omniglot import records

ALL = ("5way1shot", "5way5shot", "20way1shot", "20way5shot")


def get_config(variant: str = "quick") -> ml_collections.ConfigDict:
    """The config of a variant.

    Raises:
      ValueError: if the variant is none of `quick`, `all` and `<N>way<S>shot`.
    """
    config = from_record(records.Run())
    if variant == "quick":
        return _quick(config)
    if variant == "all":
        config.ways, config.shots, config.mixture = 20, 5, ALL
        return config
    match = re.fullmatch(r"(\d+)way(\d+)shot", variant)
    if not match:
        raise ValueError(
            f"unknown variant {variant!r}; use quick, all or <N>way<S>shot, e.g. "
            "5way1shot"
        )
    config.ways, config.shots = map(int, match.groups())
    return config


def _quick(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """About two minutes on two cores, without any file.

    No label is an input here: it reaches the network only through the synthetic
    gradients, so `--config.sg=off` answers at chance.
    """
    config.data.source = "glyphs"
    config.model.label_input = "none"
    config.train.steps = 300
    config.train.validate_every = 100
    config.train.checkpoint_every = 100
    config.train.log_every = 20
    config.validate.queries = 5
    config.validate.episodes = 100
    config.eval.queries = 5
    return config
