"""The second feedback path: what synthetic gradients are made of and where they act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import controls, fast, plumbing, predictors, sources, targets
from nmn_jax.types import PerController

TRAIN = ("regress", "meta", "both")


class SGParams(NamedTuple):
    """What the second feedback path learns."""

    predictors: PerController
    rates: Any  # log α of the fast path, PerController, or None


class SG(NamedTuple):
    """The second feedback path.

    predictor: see `predictors.PREDICTORS`
    rule, weight: how synthetic and true controller gradients are combined
    scale: see `targets.SCALES`
    train: how predictors learn: `regress` (Eq. 11), `meta` (the query loss through the
      fast path) or `both`
    fast: the online fast path, or None
    fast_rate: α at the start
    warmup: steps before synthetic gradients are injected into the slow update
    control: see `controls.CONTROLS`
    """

    predictor: predictors.Predictor
    rule: str = "backprop"
    weight: float = 1.0
    scale: Callable[[targets.Scale], PerController] = targets.rms_scale
    train: str = "both"
    fast: fast.FastPath | None = None
    fast_rate: float = 0.1
    warmup: int = 0
    control: controls.Control = controls.CONTROLS["none"]


def check(sg: SG) -> None:
    """Raises ValueError for an unknown `train` or `rule`."""
    if sg.train not in TRAIN:
        raise ValueError(f"sg.train={sg.train!r}; choose one of {TRAIN}")
    plumbing.combine(0.0, 0.0, rule=sg.rule)


def init(
    sg: SG, key: jax.Array, controllers: PerController, *, width: int, targets: int
) -> SGParams:
    """Predictors for controllers of K = `width` and targets of C = `targets`, and the
    rates of the fast path."""
    learned = predictors.init(sg.predictor, key, width=width, classes=targets)
    if sg.fast is None:
        return SGParams(learned, None)
    rates = fast.init_rates(sg.fast, controllers, rate=sg.fast_rate)
    return SGParams(learned, rates)


class StepOracle(NamedTuple):
    """What the oracle of a step's own loss needs.

    loss: `(output [K], target [C]) -> []`
    units: what predictions are divided by
    """

    loss: Callable[[jax.Array, jax.Array], jax.Array]
    units: PerController


def make_adaptation(
    sg: SG,
    cell: cell_lib.Cell,
    params: SGParams,
    *,
    control: controls.Control,
    oracle: StepOracle,
) -> fast.Adaptation:
    """The fast path at work, hearing what the control lets through.

    Raises:
      ValueError: if there is no fast path.
    """
    if sg.fast is None:
        raise ValueError("synthetic gradients without a fast path adapt nothing")
    learns = plumbing.stop if sg.train == "regress" else plumbing.through
    predicted = sources.predicted_source(
        sg.predictor, learns(params.predictors), width=cell.width, order=sg.fast.order
    )

    def step_oracle() -> sources.CotangentSource:
        return sources.step_oracle_source(cell, oracle.loss, oracle.units)

    source = control.source(predicted, step_oracle)
    return fast.Adaptation(sg.fast, cell, params.rates, source)
