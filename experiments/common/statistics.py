"""Means and what is known about them: 95 % intervals of Student's t, pairs, factors.

Everything here is a pure function of plain numbers. One value has no interval: its half
width is None, never NaN, which is no JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean of `n` values, and half the width of its 95 % interval (None for one)."""

    mean: float
    half: float | None
    n: int


class Factor(NamedTuple):
    """A geometric mean of `n` values, with the ends of its 95 % interval (or None)."""

    middle: float
    low: float | None
    high: float | None
    n: int


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and Student's 95 % interval, `t(n - 1) s / √n`.

    The values are independent draws: seeds, or whole episodes (queries of one episode
    depend on each other).

    Raises:
      ValueError: for no value at all, or one that is not finite.
    """
    found = _finite(values)
    count = len(found)
    mean = math.fsum(found) / count
    if count == 1:
        return Estimate(mean, None, 1)
    # Here, not above: 0.9 s, and only what reports needs it.
    from scipy import stats

    factor = float(stats.t.ppf((1 + LEVEL) / 2, count - 1))
    return Estimate(mean, factor * float(stats.sem(found)), count)


def paired(
    first: Mapping[int, float | None], second: Mapping[int, float | None]
) -> Estimate | None:
    """By how much the first exceeds the second, seed by seed; None without a pair.

    Args:
      first: a value by seed; None where it could not be measured.
      second: the same of what it is compared with.
    """
    pairs = differences(first, second)
    return estimate(pairs) if pairs else None


def differences(
    first: Mapping[int, float | None], second: Mapping[int, float | None]
) -> list[float]:
    """First less second for every seed that both have, in the order of seeds."""
    both = (
        (first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())
    )
    return [a - b for a, b in both if a is not None and b is not None]


def geometric(values: Iterable[float]) -> Factor | None:
    """Geometric mean and interval of positive factors; None if there is none.

    The interval is Student's over logarithms. A zero has no logarithm and is left out.

    Raises:
      ValueError: for a value below zero or not finite.
    """
    found = [each for each in _finite(values, least=0) if each > 0]
    if not found:
        return None
    logs = estimate(map(math.log, found))
    middle = math.exp(logs.mean)
    if logs.half is None:
        return Factor(middle, None, None, 1)
    low, high = (math.exp(logs.mean + sign * logs.half) for sign in (-1, 1))
    return Factor(middle, low, high, logs.n)


def _finite(values: Iterable[float], least: float | None = None) -> Sequence[float]:
    found = [float(each) for each in values]
    if not found and least is None:
        raise ValueError("no values to average; at least one is needed")
    for place, each in enumerate(found):
        if not math.isfinite(each) or (least is not None and each < least):
            bound = "" if least is None else f" of at least {least}"
            raise ValueError(
                f"value {place} is {each}: averages need finite numbers{bound}"
            )
    return found
