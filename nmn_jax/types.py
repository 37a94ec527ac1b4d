"""Records shared by every room of the house. No logic lives here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

Params = Any
Key = jax.Array

CONTROLLERS = ("input", "output", "write")


class PerController(NamedTuple):
    """One thing per controller: parameters, outputs, probes, cotangents, predictors."""

    input: Any
    output: Any
    write: Any


class Network(NamedTuple):
    """A pair of pure functions: `init(key, ...) -> params`, `apply(params, ...)`."""

    init: Callable[..., Params]
    apply: Callable[..., Any]


class NMNState(NamedTuple):
    """What a neural memory network carries from one step to the next.

    memory: whatever the memory's `start` returns, e.g. `memory.SlotState`
    """

    memory: Any
    carries: PerController


class Inputs(NamedTuple):
    """What one step (or, with a leading axis, a stream of steps) is given.

    `label` is the current target, seen only by label inputs and synthetic gradients;
    `previous` is the target of the step before, as in MANN. Unknown targets are zeros.
    """

    features: Float[Array, "*steps features"]
    label: Float[Array, "*steps targets"]
    previous: Float[Array, "*steps targets"]


class Trace(NamedTuple):
    """What happened inside one step; `cell.unroll` and `cell.ask` stack it over steps.

    weights: where the memory was read, writes: where it was written; `[0]` each for a
      memory without slots
    carries: the recurrent state that each controller came with
    """

    inputs: PerController  # what each controller was given
    outputs: PerController  # query, output and update, each [K]
    weights: Float[Array, "*steps slots"]
    writes: Float[Array, "*steps slots"]
    carries: PerController


class Stages(NamedTuple):
    """One thing for the support steps of an episode and one for its queries."""

    support: Any
    query: Any


class TrainState(NamedTuple):
    """Parameters and their optimiser's state."""

    params: Params
    opt_state: Any
