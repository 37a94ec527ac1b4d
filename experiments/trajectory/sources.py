"""Which tracks a run learns from, adapts to, and is asked about; draw by draw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from experiments.common import tracks
from experiments.common.tracks import Loaded
from experiments.trajectory import records
from nmn_jax.data import trajectories
from nmn_jax.data.trajectories import Draw, Windows


class Part(NamedTuple):
    """Tracks of every draw: positions `[draws, N, T + H, 2]` in scaled units, and
    centre and metres of a unit `[draws, N, 2]` with the axes `[draws, N, 2, 2]`."""

    xy: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    axes: np.ndarray

    def metres(self, draw: int, scaled: np.ndarray) -> np.ndarray:
        """Positions `[n, ..., 2]` of the first n tracks of a draw, in metres."""
        own = (each[draw, : len(scaled)].astype(float) for each in self[1:])
        return trajectories.Frame(*own).metres(scaled)


class Sources(NamedTuple):
    """Cyclists to train on and to choose settings by; pedestrians to adapt to and to be
    tested on. In a draw no road user is in two parts."""

    train: Part
    validation: Part
    support: Part
    heldout: Part


def load(data: records.Data) -> Loaded:
    """All windows of both classes, and what was left out; raises as `tracks.load`."""
    return tracks.load(
        data.source, data.observed, data.horizon, fps=data.fps, every=data.every
    )


def draw(run: records.Run, windows: Windows) -> Sources:
    """The parts of `run.draws` draws; each is decided by its own number alone.

    Scales are those of a draw's training tracks. Parts that differ in length between
    draws are cut to the shortest.

    Raises:
      ValueError: if there are too few road users.
    """
    numbers = range(run.seed, run.seed + run.draws)
    found = [_draw(run, windows, number) for number in numbers]
    return Sources(*map(_stacked, zip(*found, strict=True)))


def _draw(run: records.Run, windows: Windows, number: int) -> tuple[Part, ...]:
    data = run.data
    chosen = trajectories.draw(
        windows, number, train=data.train, support=data.support,
        per_track=data.per_track,  # type: ignore[arg-type]
    )  # fmt: skip
    scale = trajectories.fit(windows.take(chosen.train), data.scale)
    random = np.random.default_rng(number)
    kept = _limited(windows, chosen, run, random)
    return tuple(_part(scale, windows.take(each)) for each in kept)


def _limited(
    windows: Windows, chosen: Draw, run: records.Run, random: np.random.Generator
) -> list[np.ndarray]:
    """In an order of chance; of those not trained on one window each, and no more
    held-out tracks than asked for."""
    train, *others = (random.permutation(each) for each in chosen)
    validation, support, heldout = (_one_each(windows, each) for each in others)
    most = run.eval.tracks
    return [train, validation[: most + len(support)], support, heldout[:most]]


def _one_each(windows: Windows, shuffled: np.ndarray) -> np.ndarray:
    """The first window of every road user, in the order given."""
    firsts = np.unique(windows.users[shuffled], return_index=True)[1]
    return shuffled[np.sort(firsts)]


def _part(scale: trajectories.Scale, windows: Windows) -> Part:
    frame = trajectories.frame(scale, windows)
    return Part(frame.scaled(windows.xy), *frame)


def _stacked(parts: tuple[Part, ...]) -> Part:
    return Part(*(tracks.stacked(column) for column in zip(*parts, strict=True)))
