"""Cyclists to learn from, pedestrians to adapt to (section 4.2).

    python -m experiments.trajectory --config=sdd --config.sg=off
    python -m experiments.trajectory --config=synthetic     # made up, no files
    python -m experiments.trajectory --config=tafbw --config.method=attention

Every field can be overridden; `model`, `sg`, `optim`, `stream`, `forecast`, `maml` and
`maml_plus` start empty and override the preset as `experiments/trajectory/records.py`
changes it. About a minute on one core for ten draws; results are in
`results/README.md`.
"""

from __future__ import annotations

import ml_collections

from experiments.common.config import from_record
from experiments.trajectory import records

# What validation cyclists of Stanford Drone were forecast best with: coordinates of
# where a road user is and heads, distances descended, all windows of a cyclist.
HEADING = {
    "data": {"scale": "heading", "per_track": "all", "every": 10},
    "train": {"loss": "distance", "steps": 200},
}
# Few cyclists, at ten frames a second: brought to the pace of the others, and all
# windows of those who are trained on.
TAFBW = {
    "source": "tafbw", "fps": 30.0, "train": 9, "per_track": "all", "every": 20,
    "scale": "per_track",
}  # fmt: skip
VARIANTS: dict[str, dict[str, dict]] = {
    "sdd": {"data": {"source": "sdd"}},
    "sdd_heading": {**HEADING, "data": {**HEADING["data"], "source": "sdd"}},
    "ind": {"data": {"source": "ind"}},
    "tafbw": {"data": TAFBW},
    "tafbw_heading": {**HEADING, "data": {**TAFBW, **HEADING["data"]}},
    "synthetic": {"data": {"source": "synthetic"}},
}


def get_config(variant: str = "synthetic") -> ml_collections.ConfigDict:
    """The config of a variant.

    Raises:
      ValueError: if the variant is none of `VARIANTS`.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; use {', '.join(VARIANTS)}")
    config = from_record(records.Run())
    config.update(VARIANTS[variant])
    return config
