"""What a stream's metrics say: curves, peaks and steadiness; pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.common import plots
from nmn_jax.types import PerController

# What is measured at a controller's output, and the metric it is read from.
KINDS = {"synthetic": "norm", "true": "true_norm"}
BIN = 50


def norms(
    rows: list[dict], controller: str, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and norms of the SG's output, the true cotangent, or the gradient
    applied to the controller's parameters."""
    if kind == "applied":
        return plots.series(rows, f"applied/{controller}/norm")
    return plots.series(rows, f"sg/{controller}/{KINDS[kind]}")


def peaks(steps: np.ndarray, values: np.ndarray, period: int) -> dict[str, float]:
    """Do peaks coincide with rare windows, and how steady is it otherwise?

    ratio: median norm on rare iterations over that on frequent ones
    among_highest: share of the rare iterations among as many highest norms
    variation: standard deviation over mean, of all iterations

    The first half period is left out: everything is large while nothing is learned.
    NaN where nothing was measured or all is zero.
    """
    kept = steps > period // 2
    steps, values = steps[kept], values[kept]
    rare = steps % period == 0
    if not rare.any() or rare.all() or np.median(values[~rare]) == 0:
        return dict.fromkeys(("ratio", "among_highest", "variation"), float("nan"))
    highest = np.argsort(values)[-int(rare.sum()) :]
    return {
        "ratio": float(np.median(values[rare]) / np.median(values[~rare])),
        "among_highest": float(rare[highest].mean()),
        "variation": float(values.std() / values.mean()),
    }


def binned(steps: np.ndarray, values: np.ndarray, period: int) -> dict[str, list]:
    """Medians of frequent iterations in bins, and the value at every rare one."""
    rare = steps % period == 0
    bins = (steps[~rare] - 1) // BIN
    chosen = np.unique(bins)
    medians = [float(np.median(values[~rare][bins == each])) for each in chosen]
    return {
        "frequent_steps": [int(each) * BIN + BIN // 2 for each in chosen],
        "frequent": medians,
        "rare_steps": [int(each) for each in steps[rare]],
        "rare": [float(each) for each in values[rare]],
    }


def gradients(rows: list[dict], period: int, log_every: int = 1) -> dict[str, Any]:
    """`{controller: {kind: {peaks, curve}}}` of everything that was measured.

    Nothing where rows are not of single windows (`log_every` above 1): rare ones could
    not be told from the others.
    """
    found: dict[str, Any] = {}
    if log_every != 1:
        return found
    for controller in PerController._fields:
        for kind in (*KINDS, "applied"):
            steps, values = norms(rows, controller, kind)
            if not len(steps):
                continue
            found.setdefault(controller, {})[kind] = {
                **_plain(peaks(steps, values, period)),
                "curve": binned(steps, values, period),
            }
    return found


def _plain(measured: dict[str, float]) -> dict[str, float | None]:
    """NaN is no JSON."""
    return {k: None if np.isnan(v) else v for k, v in measured.items()}


def curves(rows: list[dict], period: int) -> dict[str, Any]:
    """Accuracy on rare and on frequent classes over iterations, and what it amounts to.

    rare_mean: mean over all evaluations from the first rare window on (the area under
      the curve of Fig. 7)
    rare_after, rare_before: mean just after the rare windows, and at the last
      evaluation before the next one
    """
    steps, rare = plots.series(rows, "rare/accuracy")
    _, frequent = plots.series(rows, "frequent/accuracy")
    since = steps >= period
    after = steps % period == 0
    before = np.array([_last_before_rare(steps, at, period) for at in steps], bool)

    def mean(chosen: np.ndarray, values: np.ndarray) -> float | None:
        return float(values[chosen].mean()) if chosen.any() else None

    return {
        "steps": [int(each) for each in steps],
        "rare": [float(each) for each in rare],
        "frequent": [float(each) for each in frequent],
        "rare_mean": mean(since, rare),
        "rare_after": mean(after, rare),
        "rare_before": mean(before, rare),
        "frequent_mean": mean(since, frequent),
    }


def _last_before_rare(steps: np.ndarray, at: int, period: int) -> bool:
    """Whether no evaluation lies between `at` and a rare window that is not the first
    and was reached."""
    window = (at // period + 1) * period
    within = (steps > at) & (steps < window)
    return bool(
        at > period and at % period and window <= steps[-1] and not within.any()
    )
