"""The online fast path: controllers that adapt inside an episode (Eq. 10).

At every support step, θ_c ← θ_c - α_c · (∂h_c/∂θ_c)ᵀ ĝ_c for the chosen controllers.
Fast weights are returned values: an episode starts from the slow weights, and whoever
wants to keep what was learned passes the returned ones on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import adapting
from nmn_jax.feedback.adapting import ORDERS, STEP_SIZES, Line
from nmn_jax.feedback.fast_weights import FastPath as FastPath
from nmn_jax.feedback.fast_weights import FastWeights as FastWeights
from nmn_jax.feedback.fast_weights import apply_delta as apply_delta
from nmn_jax.feedback.fast_weights import delta as delta
from nmn_jax.feedback.fast_weights import init_rates as init_rates
from nmn_jax.feedback.fast_weights import merge as merge
from nmn_jax.feedback.fast_weights import start as start
from nmn_jax.feedback.fast_weights import zero_delta as zero_delta
from nmn_jax.feedback.sources import CotangentSource, Cue, Seen
from nmn_jax.types import Inputs, NMNState, PerController, Trace


class Adaptation(NamedTuple):
    """A fast path at work: which cell adapts, at which rates, and who corrects it.

    rates: log α as `init_rates` makes them
    """

    path: FastPath
    cell: cell_lib.Cell
    rates: PerController
    source: CotangentSource


def make_fast_path(
    controllers: tuple[str, ...],
    *,
    tensors: tuple[str, ...] = (),
    step_size: str = "normalised",
    order: str = "second",
    writer: str = "fast",
    keep: float = 0.0,
) -> FastPath:
    """A fast path by names.

    Raises:
      ValueError: for an unknown controller, step size or order, no controller, or a
        share to keep outside [0, 1].
    """
    if not 0 <= keep <= 1:
        raise ValueError(f"fast path with keep={keep}: must lie in [0, 1]")
    unknown = [name for name in controllers if name not in PerController._fields]
    if unknown or not controllers:
        raise ValueError(
            f"fast path for controllers {controllers}; choose at least one of "
            f"{PerController._fields}"
        )
    for kind, given, table in (
        ("step_size", step_size, STEP_SIZES),
        ("order", order, ORDERS),
        ("writer", writer, WRITERS),
    ):
        if given not in table:
            raise ValueError(f"unknown {kind} {given!r}; choose one of {sorted(table)}")
    return FastPath(
        tuple(controllers),
        tuple(tensors),
        STEP_SIZES[step_size],
        ORDERS[order],
        WRITERS[writer],
        keep,
    )


def _lines(adaptation: Adaptation, controllers: PerController) -> PerController:
    """The controllers with their parameters of the moment, each as an `adapting.Line`;
    those that do not adapt have no rates."""
    path, each = adaptation.path, adaptation.source.each
    hears = each or PerController(None, None, None)
    return PerController(
        *(
            Line(controller, params, rates, path.step_size, path.order, hear)
            for controller, params, rates, hear in zip(
                adaptation.cell.controllers, controllers, adaptation.rates, hears,
                strict=True,
            )
        )
    )  # fmt: skip


def adapt(
    adaptation: Adaptation,
    weights: PerController,
    seen: Seen,
    cotangents: PerController,
) -> PerController:
    """One fast update of the chosen controllers for cotangents `[K]` at their outputs.

    Args:
      weights: the parameters that adapt; `seen.params` holds them beside the others.
      seen: the step that is corrected, with the state (and carries) it started from.
    """
    steps = zip(
        seen.params.controllers, seen.state.carries, seen.trace.inputs, cotangents,
        strict=True,
    )  # fmt: skip
    each = zip(_lines(adaptation, seen.params.controllers), weights, steps, strict=True)
    return PerController(
        *(
            None if tensors is None else adapting.moved(line, tensors, step)
            for line, tensors, step in each
        )
    )


class Given(NamedTuple):
    """A stream of steps `[T, ...]`, what the source is told of it, and probes."""

    inputs: Inputs
    cue: Cue
    probes: PerController


Begun = tuple[NMNState, FastWeights]
Ran = tuple[NMNState, FastWeights, Trace]
Writer = Callable[[Adaptation, cell_lib.CellParams, Begun, Given], Ran]


def fast_writes(
    adaptation: Adaptation, params: cell_lib.CellParams, begun: Begun, given: Given
) -> Ran:
    """The memory is written by the weights of the moment (Eqs. 5-7 with Eq. 10)."""
    return _together(adaptation, params, (begun, given), adaptation.cell.step)


def slow_writes(
    adaptation: Adaptation, params: cell_lib.CellParams, begun: Begun, given: Given
) -> Ran:
    """The memory is written by the slow weights: what is learned about labels changes
    how queries are answered, not the keys they are compared with.

    So all steps are written first, and the fast weights follow on what was read. Where
    they ask the memory something else, or what they are told depends on the whole step,
    both go together.
    """
    cell, (state, weights) = adaptation.cell, begun
    if adaptation.source.each is None or adaptation.rates.input is not None:

        def step(moment: cell_lib.CellParams, *given: Any) -> tuple[NMNState, Trace]:
            after, written = cell.step(params, *given)
            trace = cell.step(moment, *given)[1]
            # What answers is what is predicted from and learned from.
            return after, trace._replace(writes=written.writes)

        return _together(adaptation, params, (begun, given), step)
    final, trace = cell_lib.unroll(
        cell, params, state, given.inputs, probes=given.probes
    )
    adapted, trace = adapting.follow(
        _lines(adaptation, params.controllers), tuple(weights), given, trace,
        written=cell.written,
    )  # fmt: skip
    return final, FastWeights(*adapted), trace


WRITERS: dict[str, Writer] = {"slow": slow_writes, "fast": fast_writes}


def _together(
    adaptation: Adaptation,
    params: cell_lib.CellParams,
    stream: tuple[Begun, Given],
    step: Callable[..., tuple[NMNState, Trace]],
) -> Ran:
    """A step after the other, each with the weights of its moment."""
    source = adaptation.source

    def body(carried: Begun, given: Given) -> tuple[Begun, Trace]:
        state, weights = carried
        merged = merge(params.controllers, weights.controllers)
        moment = params._replace(controllers=merged)
        after, trace = step(moment, state, given.inputs, given.probes)
        seen = Seen(moment, state, given.inputs, trace, given.cue)
        carries, cotangents = source.step(weights.carries, seen)
        adapted = adapt(adaptation, weights.controllers, seen, cotangents)
        return (after, FastWeights(adapted, carries)), trace

    begun, given = stream
    (final, adapted), trace = jax.lax.scan(body, begun, given)
    return final, adapted, trace


def unroll(
    adaptation: Adaptation,
    params: cell_lib.CellParams,
    state: NMNState,
    inputs: Inputs,
    *,
    cue: Cue,
    weights: FastWeights | None = None,
    probes: PerController | None = None,
) -> tuple[NMNState, FastWeights, Trace]:
    """As `cell.unroll`, adapting after every step.

    Args:
      cue: what the source is told of every step, `[T, ...]`.
      weights: the fast weights to begin with; None begins with the slow ones.

    Returns the final state, the fast weights (pass them as `weights` to go on, or drop
    them to reset) and the trace of the fast weights; where slow weights write the
    memory, `trace.writes` and `trace.carries` are theirs.
    """
    path, cell, _, source = adaptation
    first = weights or start(path, params.controllers, source)
    if probes is None:
        steps, dtype = len(inputs.features), inputs.features.dtype
        probes = cell_lib.zero_probes(cell, steps, dtype)
    given = Given(inputs, cue, probes)
    return path.writer(adaptation, params, (state, first), given)


def resume(
    adaptation: Adaptation,
    params: cell_lib.CellParams,
    begun: tuple[NMNState, PerController],
    inputs: Inputs,
    *,
    cue: Cue,
    probes: PerController | None = None,
) -> tuple[NMNState, PerController, Trace]:
    """As `unroll`, from what was learned earlier to what is learned then.

    Args:
      begun: the state, and by how much fast weights differ from the slow ones, as
        `delta` says it.

    Returns the final state, the difference then, and the trace.
    """
    path, slow, (state, learned) = adaptation.path, params.controllers, begun
    weights = FastWeights(apply_delta(path, slow, learned), adaptation.source.init())
    final, adapted, trace = unroll(
        adaptation, params, state, inputs, cue=cue, weights=weights, probes=probes
    )
    return final, delta(path, slow, adapted), trace
