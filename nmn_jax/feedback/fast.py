"""The online fast path: controllers that adapt inside an episode (Eq. 10).

At every support step, θ_c ← θ_c - α_c · (∂h_c/∂θ_c)ᵀ ĝ_c for the chosen controllers.
Fast weights are returned values: an episode starts from the slow weights, and whoever
wants to keep what was learned passes the returned ones on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import plumbing
from nmn_jax.feedback.sources import CotangentSource, Cue, Seen
from nmn_jax.types import Inputs, NMNState, PerController, Trace

StepSize = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
Order = Callable[[Any], Any]


def plain(cotangent: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """ĝ as it is: the update of Eq. 10. Twenty sequential updates may diverge."""
    del inputs
    return cotangent, jnp.ones((), cotangent.dtype)


def normalised(cotangent: jax.Array, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Normalised least mean squares (Widrow & Hoff): cannot diverge.

    ĝ is bounded to a root mean square of at most one and the pull-back divided by
    1 + ‖controller input‖², so for a linear map a step moves the output of the same
    input by less than α ĝ, whatever the scale of the features.
    """
    bounded = cotangent * jax.lax.rsqrt(1 + jnp.mean(cotangent**2))
    return bounded, 1 / (1 + jnp.sum(inputs**2))


STEP_SIZES: dict[str, StepSize] = {"plain": plain, "normalised": normalised}
ORDERS: dict[str, Order] = {"first": plumbing.stop, "second": plumbing.through}


def slow_writes(slow: PerController, fast: PerController) -> PerController:
    """The memory is written by the slow weights: what is learned about labels changes
    how queries are answered, not the keys they are compared with."""
    del fast
    return slow


def fast_writes(slow: PerController, fast: PerController) -> PerController:
    """The memory is written by the weights of the moment (Eqs. 5-7 with Eq. 10)."""
    del slow
    return fast


WRITERS: dict[str, Callable[[PerController, PerController], PerController]] = {
    "slow": slow_writes,
    "fast": fast_writes,
}


class FastPath(NamedTuple):
    """Which controllers adapt, and how.

    controllers: names out of `types.CONTROLLERS`
    tensors: names out of the controllers' parameter dictionaries, empty for all; a skip
      alone is a fast-weight outer product, and costs a fraction of a whole LSTM
    step_size: see `STEP_SIZES`
    order: see `ORDERS`; `first` treats the Jacobian and the SG's view of the controller
      as constants, so only ĝ and α carry the gradient of the query loss
    writer: whose weights write the memory, see `WRITERS`
    keep: on a stream, the share of what was learned fast that outlives a window
    """

    controllers: tuple[str, ...]
    tensors: tuple[str, ...] = ()
    step_size: StepSize = normalised
    order: Order = plumbing.through
    writer: Callable[[PerController, PerController], PerController] = fast_writes
    keep: float = 0.0


class FastWeights(NamedTuple):
    """Adapted parameters (None for controllers that do not adapt) and SG carries."""

    controllers: PerController
    carries: Any


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


def init_rates(
    path: FastPath, controllers: PerController, *, rate: float
) -> PerController:
    """log α, one scalar per parameter tensor of each adapting controller.

    Raises:
      ValueError: if `rate` is not positive.
    """
    if rate <= 0:
        raise ValueError(f"the fast rate must be positive, got {rate}")
    # One array each: a donated state must not hold the same buffer twice.
    return jax.tree.map(
        lambda _: jnp.log(jnp.asarray(rate)), _chosen(path, controllers)
    )


def _chosen(path: FastPath, each: PerController) -> PerController:
    """The parameters that adapt, None for controllers that do not.

    Raises:
      ValueError: if an adapting controller has none of the tensors the path names.
    """
    return PerController(
        *(
            _tensors(path, name, params) if name in path.controllers else None
            for name, params in each._asdict().items()
        )
    )


def _tensors(path: FastPath, name: str, params: dict[str, Any]) -> dict[str, Any]:
    missing = set(path.tensors) - set(params)
    if missing:
        raise ValueError(
            f"fast path for tensors {path.tensors}, but the {name} controller has only "
            f"{sorted(params)}; name some of these, or none for all"
        )
    return {key: params[key] for key in path.tensors or params}


def merge(slow: PerController, fast: PerController) -> PerController:
    """Fast weights where there are any, slow ones elsewhere."""
    return PerController(
        *(s if f is None else {**s, **f} for s, f in zip(slow, fast, strict=True))
    )


def zero_delta(path: FastPath, controllers: PerController) -> PerController:
    """Zeros like the parameters that adapt, None for controllers that do not."""
    return jax.tree.map(jnp.zeros_like, _chosen(path, controllers))


def delta(
    path: FastPath, controllers: PerController, weights: FastWeights
) -> PerController:
    """By how much fast weights differ from the slow ones they began as."""
    slow = _chosen(path, controllers)
    return jax.tree.map(jnp.subtract, weights.controllers, slow)


def apply_delta(
    path: FastPath, controllers: PerController, change: PerController
) -> PerController:
    """The parameters that adapt, moved by what was learned earlier."""
    return jax.tree.map(jnp.add, _chosen(path, controllers), change)


def start(
    path: FastPath, controllers: PerController, source: CotangentSource
) -> FastWeights:
    """Fast weights at the start of an episode: the slow ones."""
    return FastWeights(_chosen(path, controllers), source.init())


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
    path, rates = adaptation.path, adaptation.rates

    def one(controller: Any, params: Any, rate: Any, step: tuple) -> Any:
        if params is None:
            return None
        whole, carry, given, cotangent = step
        fixed, at, carry, given = path.order((whole, params, carry, given))
        bounded, size = path.step_size(cotangent, given)
        grads = plumbing.pull(
            lambda p: controller.step({**fixed, **p}, carry, given)[1], at, bounded
        )
        return jax.tree.map(
            lambda p, r, g: p - jnp.exp(r) * size * g, params, rate, grads
        )

    steps = zip(
        seen.params.controllers, seen.state.carries, seen.trace.inputs, cotangents,
        strict=True,
    )  # fmt: skip
    each = zip(adaptation.cell.controllers, weights, rates, steps, strict=True)
    return PerController(*(one(*given) for given in each))


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
    memory, `trace.writes` is theirs.
    """
    path, cell, _, source = adaptation
    first = weights or start(path, params.controllers, source)
    if probes is None:
        steps, dtype = len(inputs.features), inputs.features.dtype
        probes = cell_lib.zero_probes(cell, steps, dtype)

    def body(carried: Any, given: Any) -> Any:
        state, weights = carried
        inputs, cue, probes = given
        slow = params.controllers
        merged = params._replace(controllers=merge(slow, weights.controllers))
        writing = params._replace(controllers=path.writer(slow, merged.controllers))
        after, written = cell.step(writing, state, inputs, probes)
        _, trace = cell.step(merged, state, inputs, probes)
        seen = Seen(merged, state, inputs, trace, cue)
        carries, cotangents = source.step(weights.carries, seen)
        adapted = adapt(adaptation, weights.controllers, seen, cotangents)
        # What answers is what is predicted from and learned from.
        trace = trace._replace(writes=written.writes)
        return (after, FastWeights(adapted, carries)), trace

    (final, adapted), trace = jax.lax.scan(body, (state, first), (inputs, cue, probes))
    return final, adapted, trace
