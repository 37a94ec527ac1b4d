"""How a stream of steps is run, so that its gradient fits into memory.

A way of running is any function `(Steps, params, state, (inputs, probes)) -> (final
state, Trace [T, ...])` with the numbers of `plain`. They differ in what they keep for
the way back, with T steps and a memory of L slots of width K:

`plain`       everything, [T, L, K]
`recompute`   the state at every √T-th step, and what one such segment needs
`journal`     the one row that each write replaced (one-hot write rules only)
`auto`        as `journal` where that is quicker, as `plain` elsewhere
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax import controllers as controllers_lib
from nmn_jax.controllers import Controller
from nmn_jax.memory.base import Journal, Memory, Stored
from nmn_jax.types import Inputs, NMNState, PerController, Trace

# Slots from which on a journal is quicker with any similarity (benchmarks/memory.py).
LARGE = 256

Step = Callable[..., tuple[NMNState, Trace]]


class Steps(NamedTuple):
    """What is run.

    step: `(params, state, inputs, probes) -> (state, Trace)`
    around: `(read, write) -> step`, the same around another reading and writing
    controllers: those of the step
    memory: what they read and write
    between: applied to the state before every step, None for nothing
    """

    step: Step
    around: Callable[[Callable, Callable], Step]
    controllers: PerController
    memory: Memory
    between: Callable[[NMNState], NMNState] | None = None


Run = Callable[[Any, NMNState, Any], tuple[NMNState, Trace]]
Unrolling = Callable[[Steps, Any, NMNState, Any], tuple[NMNState, Trace]]


def queries_first(
    run: Run, controller: Controller, heard: Float[Array, "steps inputs"]
) -> Run:
    """Nothing that is read reaches the input controller: it runs alone, all products
    with what it hears as one, and the steps follow on its queries.

    Args:
      run: steps of a cell that is given queries for features, see `cell.Cell.queried`.
      controller: the input controller, and what it hears.
    """

    def both(params: Any, state: NMNState, given: tuple) -> tuple[NMNState, Trace]:
        inputs, probes = given
        first = controllers_lib.unroll(
            controller, params.controllers.input, state.carries.input, heard
        )
        rest = params._replace(controllers=params.controllers._replace(input=()))
        start = state._replace(carries=state.carries._replace(input=()))
        given = inputs._replace(features=first.outputs), probes
        final, trace = run(rest, start, given)
        carries = final.carries._replace(input=first.carry)
        return final._replace(carries=carries), trace._replace(
            inputs=trace.inputs._replace(input=heard),
            carries=trace.carries._replace(input=first.before),
        )

    return both


def plain(
    steps: Steps, params: Any, state: NMNState, given: tuple[Inputs, PerController]
) -> tuple[NMNState, Trace]:
    """A scan over the steps."""

    def body(state: NMNState, given: tuple) -> tuple[NMNState, Trace]:
        before = state if steps.between is None else steps.between(state)
        return steps.step(params, before, *given)

    return jax.lax.scan(body, state, given)


def recompute(
    steps: Steps, params: Any, state: NMNState, given: tuple[Inputs, PerController]
) -> tuple[NMNState, Trace]:
    """Segments of √T steps, run again on the way back (Chen et al., 2016).

    Keeps √T states, and what √T steps need, in place of T; for any memory.
    """
    count = len(jax.tree.leaves(given)[0])
    size = max(math.isqrt(count), 1)
    whole = count - count % size

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def segment(state: NMNState, given: tuple) -> tuple[NMNState, Trace]:
        return plain(steps, params, state, given)

    def cut(leaf: jax.Array) -> jax.Array:
        return leaf[:whole].reshape(-1, size, *leaf.shape[1:])

    state, traces = jax.lax.scan(segment, state, jax.tree.map(cut, given))
    trace = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), traces)
    if whole == count:
        return state, trace
    state, rest = segment(state, jax.tree.map(lambda leaf: leaf[whole:], given))
    return state, jax.tree.map(lambda *both: jnp.concatenate(both), trace, rest)


def journal(
    steps: Steps, params: Any, state: NMNState, given: tuple[Inputs, PerController]
) -> tuple[NMNState, Trace]:
    """Back row by row, restoring what each write replaced; see `memory.journal`.

    The gradient is exact, in parameters, initial state, inputs and probes, and may be
    differentiated again (which keeps everything). Forward differentiation is not
    defined. Where something happens to the state between steps, `recompute` runs.

    Raises:
      ValueError: if a write of this memory changes more than one row.
    """
    book = check_journal(steps.memory)
    if steps.between is not None:
        return recompute(steps, params, state, given)

    @jax.custom_vjp
    def run(params: Any, state: NMNState, given: tuple) -> tuple[NMNState, Trace]:
        return _forward(steps, params, state, given)[:2]

    def forward(params: Any, state: NMNState, given: tuple) -> tuple[Any, Any]:
        final, trace, kept = _forward(steps, params, state, given)
        held = book.hold(final.memory)
        return (final, trace), (params, given, trace.inputs, kept, held)

    run.defvjp(forward, functools.partial(_back, steps))
    return run(params, state, given)


def check_journal(memory: Memory) -> Journal:
    """The journal of a memory. Raises ValueError where it has none."""
    if memory.journal is None:
        raise ValueError(
            "a journal needs a memory whose writes change one row each, such as slots "
            "with the write rules least_used or same_value; choose another write rule, "
            "or the gradients 'plain' or 'recompute'"
        )
    return memory.journal


def _forward(steps: Steps, params: Any, state: NMNState, given: tuple) -> Any:
    """Final state, trace, and of every step the carries it began with and its entry."""
    memory, book = steps.memory, check_journal(steps.memory)

    def write(params: Any, state: Any, *written: Any) -> Stored:
        stored, entry = book.write(params, state, *written)
        return stored._replace(state=(stored.state, entry))

    step = steps.around(memory.read, write)

    def body(state: NMNState, given: tuple) -> tuple[NMNState, Any]:
        after, trace = step(params, state, *given)
        memory, entry = after.memory
        return after._replace(memory=memory), (trace, (state.carries, entry))

    final, (trace, kept) = jax.lax.scan(body, state, given)
    return final, trace, kept


class _Pulled(NamedTuple):
    """Cotangents on their way back: of the state, and of what the memory learns."""

    memory: Any
    carries: PerController
    learned: Any


def _back(steps: Steps, saved: tuple, cotangents: tuple) -> tuple:
    """Cotangents of parameters, initial state, inputs and probes."""
    params, given, heard, (carries, entries), held = saved
    of_final, of_trace = cotangents
    book = check_journal(steps.memory)
    learned = jax.tree.map(jnp.zeros_like, book.learned(params.memory))
    end = _Pulled(_floats(of_final.memory), of_final.carries, learned)
    each = _without_writes(of_trace), given, carries, entries
    found: Any = jax.lax.scan(
        _step_back(steps, book, params), (held, end), each, reverse=True
    )
    (_, start), (of_given, of_carries) = found
    of_params = params._replace(
        memory=book.give(params.memory, start.learned),
        controllers=_controllers(
            steps, params, (carries, heard), (of_carries, of_given[1])
        ),
    )
    return of_params, NMNState(start.memory, start.carries), of_given


def _step_back(steps: Steps, book: Journal, params: Any) -> Callable[..., Any]:
    """One step back: rows are restored, then cotangents pulled through the step."""
    step, own = steps.around(book.read_again, book.write_again), params.memory

    def body(carried: tuple, each: tuple) -> tuple:
        (held, after), (of_trace, given, carries, entry) = carried, each
        held = book.restore(held, entry)

        def again(learned: Any, touched: Any, carries: Any, given: tuple) -> tuple:
            state = NMNState((touched, entry), carries)
            final, trace = step(params._replace(memory=learned), state, *given)
            return final.memory, final.carries, _without_writes(trace)

        at = book.learned(own), book.touch(held, entry), carries, given
        changed = book.changed(after.memory, entry)
        of_learned, of_touched, of_carries, of_given = jax.vjp(again, *at)[1](
            (changed, after.carries, of_trace)
        )
        memory = book.before(after.memory, changed, (entry, of_touched))
        of_learned = jax.tree.map(jnp.add, after.learned, of_learned)
        pulled = _Pulled(memory, of_carries, of_learned)
        return (held, pulled), (of_given, after.carries)

    return body


def _without_writes(trace: Any) -> Any:
    """A trace without what carries no gradient: where a one-hot write went."""
    return trace._replace(writes=None)


def _controllers(
    steps: Steps, params: Any, seen: tuple, cotangents: tuple
) -> PerController:
    """Cotangents of the controllers' parameters, those of all steps in one product.

    The cotangent of a probe is that of the output it was added to.
    """

    def alone(params: PerController) -> tuple:
        finals, outputs = zip(
            *(
                jax.vmap(controller.step, (None, 0, 0))(own, carry, heard)
                for controller, own, carry, heard in zip(
                    steps.controllers, params, *seen, strict=True
                )
            ),
            strict=True,
        )
        return PerController(*finals), PerController(*outputs)

    return jax.vjp(alone, params.controllers)[1](cotangents)[0]


def _floats(cotangent: Any) -> Any:
    """A cotangent with None for what is no number that may be differentiated by."""
    return jax.tree.map(
        lambda leaf: None if leaf.dtype == jax.dtypes.float0 else leaf, cotangent
    )


def auto(
    steps: Steps, params: Any, state: NMNState, given: tuple[Inputs, PerController]
) -> tuple[NMNState, Trace]:
    """What is quickest for the memory."""
    return quickest(steps.memory)(steps, params, state, given)


def quickest(memory: Memory) -> Unrolling:
    """A journal of a memory that has one, if it is large or few of its slots are read;
    otherwise the plain scan."""
    large = memory.slots >= LARGE or memory.reads < memory.slots
    return journal if large and memory.journal is not None else plain


UNROLLINGS: dict[str, Unrolling] = {
    "auto": auto, "plain": plain, "recompute": recompute, "journal": journal
}  # fmt: skip
