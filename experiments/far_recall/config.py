"""Far recall: the writer's only teacher lies beyond the cut.

    python -m experiments.far_recall --config=state
    python -m experiments.far_recall --config=state --config.stream.control=shuffled
    python -m experiments.far_recall --config=trace --config.stream.trace=0.9

A variant is one way to teach the write controller; every field can be overridden. A run
takes about half a minute on one core, an oracle five.
"""

from __future__ import annotations

from typing import Any

import ml_collections

from experiments.common.config import from_record
from experiments.far_recall import records

# What of the run's records each way of teaching sets.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    # The reservoir: what the rest can do with a writer that stays random.
    "frozen": {"optim": {"frozen": ("write",)}},
    "truncated": {},
    # A cotangent for the last update of a window alone.
    "update": {
        "stream": {"target": "bootstrap_update"},
        "sg": {"use": "decoupled", "rule": "backprop"},
    },
    "state": {"stream": {"target": "bootstrap", "weight": 0.95}},
    "trace": {
        "stream": {"target": "bootstrap", "weight": 0.95, "trace": 0.5, "horizon": 3}
    },
    # Back-propagation through the window and the five after it.
    "reach": {
        "stream": {"target": "bootstrap", "control": "oracle"}, "data": {"ahead": 5}
    },
    "oracle": {
        "stream": {"target": "bootstrap", "control": "oracle"}, "data": {"ahead": 20}
    },
}  # fmt: skip


def get_config(variant: str = "state") -> ml_collections.ConfigDict:
    """The config of a variant.

    Raises:
      ValueError: for an unknown variant; names those there are.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; use one of {list(VARIANTS)}")
    config = from_record(records.Run())
    for record, fields in VARIANTS[variant].items():
        config[record].update(fields)
    return config
