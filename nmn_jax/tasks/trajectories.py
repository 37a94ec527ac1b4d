"""Tracks of road users: some frames are seen, the frames after them are asked for."""

from __future__ import annotations

import jax

from nmn_jax import losses
from nmn_jax.tasks.base import ForecastBatch, Loss, Spec, Task

AXES = 2


def forecast(
    *,
    observed: int = 50,
    horizon: int = 50,
    batch: int = 10,
    loss: Loss = losses.squared_error,
) -> Task:
    """Where a road user will be, from where it was (section 4.2 of the paper).

    Its source is one array `[tracks, observed + horizon, 2]` of positions in scaled
    units; a batch holds different tracks. `sample` raises ValueError if that has other
    frames, or fewer tracks than a batch.

    Args:
      observed: T, frames that are seen.
      horizon: H, frames that are asked for.
      batch: B, tracks of a batch.
      loss: of positions, see `losses.FORECAST`.
    """

    def sample(key: jax.Array, step: jax.Array, source: jax.Array) -> ForecastBatch:
        if source.shape[1:] != (observed + horizon, AXES) or len(source) < batch:
            raise ValueError(
                f"tracks of shape {source.shape}: expected [tracks, "
                f"{observed + horizon}, {AXES}] with at least {batch} tracks"
            )
        chosen = jax.random.choice(
            jax.random.fold_in(key, step), len(source), (batch,), replace=False
        )
        return parted(source[chosen], observed)

    spec = Spec("forecast", "regression", (observed, AXES), AXES, horizon=horizon)
    return Task(spec, sample, loss, losses.regression_scores)


def parted(tracks: jax.Array, observed: int) -> ForecastBatch:
    """Tracks `[B, T + H, 2]` as what is seen and what is asked for."""
    return ForecastBatch(tracks[:, :observed], tracks[:, observed:])
