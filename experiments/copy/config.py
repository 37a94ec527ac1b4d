"""Copy and repeat copy beyond the window.

    python -m experiments.copy --config=copy --config.data.window=2
    python -m experiments.copy --config=copy --config.stream.target=bootstrap
    python -m experiments.copy --config=repeat_copy --config.method=nmn_stream

A run takes one to a few minutes on one core.
"""

from __future__ import annotations

import ml_collections

from experiments.common.config import from_record
from experiments.copy import records


def get_config(variant: str = "copy") -> ml_collections.ConfigDict:
    """The config of a variant.

    Raises:
      ValueError: if the variant is neither `copy` nor `repeat_copy`.
    """
    if variant not in records.TASKS:
        raise ValueError(f"unknown variant {variant!r}; use copy or repeat_copy")
    config = from_record(records.Run())
    config.data.task = variant
    return config
