"""Which tracks each of the two networks learns from and is asked about."""

from __future__ import annotations

import numpy as np

from experiments.common import tracks
from experiments.common.tracks import Loaded
from experiments.sharing import records
from experiments.sharing.protocol import Tracks
from nmn_jax.data import trajectories
from nmn_jax.data.trajectories import LABELS, Windows


def load(data: records.Data) -> Loaded:
    """All windows of both classes, and what was left out; raises as `tracks.load`."""
    return tracks.load(data.source, data.observed, data.horizon)


def draw(run: records.Run, windows: Windows) -> tuple[Tracks, Tracks]:
    """Tracks of the class that is streamed, and of the one that comes seldom.

    In a draw, which its number alone decides, no road user is held out and learned
    from. The scale is that of the cyclists who are learned from.

    Raises:
      ValueError: if there are too few road users.
    """
    numbers = range(run.seed, run.seed + run.draws)
    found = [_draw(run, windows, number) for number in numbers]
    by_label = {
        label: Tracks(*(tracks.stacked([each[label][part] for each in found])
                        for part in range(2)))
        for label in LABELS
    }  # fmt: skip
    first = by_label.pop(run.data.first)
    return first, by_label.popitem()[1]


def _draw(
    run: records.Run, windows: Windows, number: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    chosen = trajectories.draw(
        windows, number, train=run.data.train, support=run.data.train
    )
    scale = trajectories.fit(windows.take(chosen.train))
    scaled = trajectories.frame(scale, windows).scaled(windows.xy)
    random = np.random.default_rng(number)
    shuffled = [random.permutation(each) for each in chosen]
    train, validation, support, heldout = shuffled
    most = run.validate.tracks
    parts = ((train, validation[:most]), (support, heldout[:most]))
    return {
        label: (scaled[learned], scaled[asked])
        for label, (learned, asked) in zip(LABELS, parts, strict=True)
    }
