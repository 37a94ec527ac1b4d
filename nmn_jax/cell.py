"""One step of a neural memory network, its unroll under scan, and its probe (Fig. 2).

Shapes are those of one stream; `jax.vmap` over episodes. Taps are zeros added to the
three controller outputs, so that one vjp delivers the true cotangents at them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import controllers as controllers_lib
from nmn_jax import memory as memory_lib
from nmn_jax.types import Inputs, NMNState, Params, PerController, Trace


class CellParams(NamedTuple):
    """Parameters of a cell: initial memory `[L, K]`, addressing scale, controllers."""

    memory: jax.Array
    log_scale: jax.Array
    controllers: PerController


class Cell(NamedTuple):
    """A neural memory network without encoder and decoder, as pure functions.

    init: `(key, *, features, classes) -> CellParams`
    initial_state: `(params) -> NMNState`
    step: `(params, state, inputs, taps) -> (state, Trace)`, taps `[K]` each
    controllers: the three controllers, for whoever replays or adapts one of them
    """

    init: Callable[..., CellParams]
    initial_state: Callable[[CellParams], NMNState]
    step: Callable[..., tuple[NMNState, Trace]]
    controllers: PerController
    width: int


class _Design(NamedTuple):
    """What `make_cell` was asked for; see there."""

    controllers: PerController
    slots: int
    memory_scale: float
    similarity: memory_lib.Similarity
    scale: float
    write_rule: memory_lib.WriteRule
    compose: Callable[..., jax.Array]
    label_input: controllers_lib.LabelInput


def make_cell(
    controllers: PerController,
    *,
    slots: int,
    memory_scale: float = 1.0,
    similarity: memory_lib.Similarity = memory_lib.dot,
    scale: float = 1.0,
    write_rule: memory_lib.WriteRule = memory_lib.convex_write,
    compose: Callable[..., jax.Array] = controllers_lib.mem_only,
    label_input: controllers_lib.LabelInput = controllers_lib.LABEL_INPUTS["none"],
) -> Cell:
    """A cell of three controllers of one width K around a memory of `slots` rows.

    Args:
      controllers: input, output and write controller, all of the same width K.
      slots: L, the number of memory rows.
      memory_scale: standard deviation of the rows of the learned initial memory.
      similarity: `(memory [L, K], query [K]) -> [L]`, see `memory.SIMILARITIES`.
      scale: factor on the similarity at the start; learned on a log scale.
      write_rule: see `memory.WRITE_RULES`.
      compose: `(query [K], recalled [K], weights [L]) -> inputs` of the output
        controller, see `controllers.COMPOSE`.
      label_input: see `controllers.LABEL_INPUTS`.

    Raises:
      ValueError: if the controllers' widths differ or `scale` is not positive.
    """
    widths = PerController(*(each.width for each in controllers))
    if len(set(widths)) != 1:
        raise ValueError(f"controllers must have one width, got {widths}")
    if scale <= 0:
        raise ValueError(f"addressing scale must be positive, got {scale}")
    design = _Design(
        controllers, slots, memory_scale, similarity, scale, write_rule, compose,
        label_input,
    )  # fmt: skip
    return Cell(
        functools.partial(_init, design),
        functools.partial(_initial_state, design),
        functools.partial(_step, design),
        controllers,
        widths.input,
    )


def _init(
    design: _Design, key: jax.Array, *, features: int, classes: int
) -> CellParams:
    memory_key, *keys = jax.random.split(key, 4)
    probe = Inputs(*(jnp.zeros((size,)) for size in (features, classes, classes)))
    sizes = _input_widths(probe, design)
    params = PerController(
        *(c.init(k, s) for c, k, s in zip(design.controllers, keys, sizes, strict=True))
    )
    rows = memory_lib.init(
        memory_key,
        slots=design.slots,
        width=design.controllers.input.width,
        scale=design.memory_scale,
    )
    return CellParams(rows, jnp.log(jnp.asarray(design.scale, rows.dtype)), params)


def _initial_state(design: _Design, params: CellParams) -> NMNState:
    usage = jnp.zeros((design.slots,), params.memory.dtype)
    carries = PerController(*(each.carry() for each in design.controllers))
    return NMNState(params.memory, usage, carries)


def _step(
    design: _Design,
    params: CellParams,
    state: NMNState,
    inputs: Inputs,
    taps: PerController,
) -> tuple[NMNState, Trace]:
    """Query, address, read, answer, update, write (Eqs. 2-7), taps on the way."""
    features = design.label_input.features(inputs.features, inputs.previous)
    input_carry, query = design.controllers.input.step(
        params.controllers.input, state.carries.input, features
    )
    query = query + taps.input
    weights = memory_lib.address(
        state.memory,
        query,
        similarity=design.similarity,
        scale=jnp.exp(params.log_scale),
    )
    composed = design.compose(query, memory_lib.read(state.memory, weights), weights)
    output_carry, output = design.controllers.output.step(
        params.controllers.output, state.carries.output, composed
    )
    output = output + taps.output
    written = design.label_input.output(output, inputs.label)
    write_carry, update = design.controllers.write.step(
        params.controllers.write, state.carries.write, written
    )
    update = update + taps.write
    after = design.write_rule(state.memory, state.usage, weights, update)
    carries = PerController(input_carry, output_carry, write_carry)
    return NMNState(after.memory, after.usage, carries), Trace(
        PerController(features, composed, written),
        PerController(query, output, update),
        weights,
        after.weights,
    )


def _input_widths(inputs: Inputs, design: _Design) -> PerController:
    """Input width of each controller, found by tracing the shapes once."""

    def shapes(inputs: Inputs, output: jax.Array) -> PerController:
        return PerController(
            design.label_input.features(inputs.features, inputs.previous),
            design.compose(output, output, jnp.zeros((design.slots,))),
            design.label_input.output(output, inputs.label),
        )

    width = design.controllers.input.width
    traced = jax.eval_shape(shapes, inputs, jnp.zeros((width,)))
    return PerController(*(each.shape[0] for each in traced))


def zero_taps(cell: Cell, steps: int, dtype: Any = None) -> PerController:
    """Taps `[T, K]` of zeros for a stream of T steps."""
    return PerController(*(jnp.zeros((steps, cell.width), dtype) for _ in range(3)))


def unroll(
    cell: Cell,
    params: CellParams,
    state: NMNState,
    inputs: Inputs,
    *,
    taps: PerController | None = None,
    between: Callable[[NMNState], NMNState] = lambda state: state,
) -> tuple[NMNState, Trace]:
    """Run a stream of T steps: `inputs` `[T, ...]` -> (final state, Trace `[T, ...]`).

    `between` is applied to the state before every step; `gradients.stop` there leaves
    each step the gradient of its own loss alone.
    """
    if taps is None:
        taps = zero_taps(cell, len(inputs.features), inputs.features.dtype)

    def body(state: NMNState, given: tuple) -> tuple[NMNState, Trace]:
        return cell.step(params, between(state), *given)

    return jax.lax.scan(body, state, (inputs, taps))


def probe(
    cell: Cell,
    params: CellParams,
    state: NMNState,
    inputs: Inputs,
    *,
    taps: PerController | None = None,
) -> Trace:
    """Ask Q questions of one state: each sees that state and leaves no mark on it.

    Queries of an episode are answered this way, so none sees another (not
    transductive).
    """
    if taps is None:
        taps = zero_taps(cell, len(inputs.features), inputs.features.dtype)

    def ask(inputs: Inputs, taps: PerController) -> Trace:
        return cell.step(params, state, inputs, taps)[1]

    return jax.vmap(ask)(inputs, taps)


def replay(
    cell: Cell, params: PerController, carries: PerController, inputs: PerController
) -> tuple[PerController, PerController]:
    """Run every controller alone on its recorded inputs `[T, ...]`.

    Returns the final carries and the outputs `[T, K]`. No path joins one controller to
    another, so cotangents given for the outputs reach only the controller's parameters.
    """

    def one(controller: Any, params: Params, carry: Any, given: jax.Array) -> tuple:
        return jax.lax.scan(lambda c, x: controller.step(params, c, x), carry, given)

    results = [
        one(*each)
        for each in zip(cell.controllers, params, carries, inputs, strict=True)
    ]
    finals, outputs = zip(*results, strict=True)
    return PerController(*finals), PerController(*outputs)


def replay_probe(
    cell: Cell, params: PerController, carries: PerController, inputs: PerController
) -> PerController:
    """As `replay` for a probe: each of the Q inputs starts from the same carry."""

    def one(controller: Any, params: Params, carry: Any, given: jax.Array) -> jax.Array:
        return jax.vmap(lambda x: controller.step(params, carry, x)[1])(given)

    return PerController(
        *(
            one(*each)
            for each in zip(cell.controllers, params, carries, inputs, strict=True)
        )
    )
