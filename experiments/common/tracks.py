"""Tracks of road users by the name of their source, cleaned and cut into windows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nmn_jax.data import trajectories
from nmn_jax.data.trajectories import Tracks, Windows

LOADERS: dict[str, Callable[[], Tracks]] = {
    "sdd": trajectories.sdd.load,
    "ind": trajectories.ind.load,
    "tafbw": trajectories.tafbw.load,
    "synthetic": functools.partial(
        trajectories.synthetic.make, cyclists=300, pedestrians=300
    ),
}

# What differs from the few-shot preset `recommended` in networks that forecast tracks.
# Targets lie in the future, so no label is an input and there are no keys; the rest was
# chosen by validation cyclists.
NETWORK: dict[str, dict[str, Any]] = {
    "model": {
        "slots": 10,
        "width": 32,
        "key_width": 0,
        "compose": "query_mem",
        "label_input": "none",
        "write_rule": "convex",
        # A linear skip around every step lets a memory grow without bound: what is
        # recalled is written again, 50 times a track.
        "controller": "lstm",
    },
    "sg": {"predictor": "linear", "order": "first", "rate": 0.01, "tensors": ()},
    "optim": {"lr": 3e-3, "predictor_lr": 1e-2, "schedule": "constant"},
    "stream": {"carry": "episode"},
}


class Loaded(NamedTuple):
    """Windows of tracks, and what was taken out of the tracks before, rule by rule, as
    `trajectories.as_json` has it."""

    windows: Windows
    cleaning: list[dict[str, Any]]


def load(
    source: str, observed: int, horizon: int, *, fps: float = 0.0, every: int = 0
) -> Loaded:
    """All windows of both classes.

    Args:
      source: a name of `LOADERS`.
      observed, horizon: frames that are seen, and frames after them.
      fps: frames per second that tracks are brought to; 0 leaves them as they are.
      every: frames from the start of one window of a track to the next; 0 is a window.

    Raises:
      ValueError: for files that are not what they should be.
      FileNotFoundError: if they are not at hand; says what to do.
    """
    # What is too short for a window is known at the pace of the windows.
    rules = trajectories.standard(points=2)
    tracks, report = trajectories.clean(LOADERS[source](), rules)
    if fps:
        tracks = trajectories.resample(tracks, fps)
    tracks, last = trajectories.clean(tracks, [trajectories.short(observed + horizon)])
    return Loaded(
        trajectories.windows(tracks, observed, horizon, every=every or None),
        trajectories.as_json([*report, *last[1:]]),
    )


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Parts of several draws as one array, cut to the shortest."""
    shortest = min(map(len, parts))
    return np.stack([each[:shortest] for each in parts]).astype(np.float32)
