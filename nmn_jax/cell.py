"""One step of a neural memory network, its unroll under scan, and its queries (Fig. 2).

Shapes are those of one stream; `jax.vmap` over episodes. Probes are zeros added to the
three controller outputs, so that one vjp delivers the true cotangents at them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import controllers as controllers_lib
from nmn_jax import unrolling as unrolling_lib
from nmn_jax.memory.base import Memory
from nmn_jax.types import Inputs, NMNState, Params, PerController, Trace


class CellParams(NamedTuple):
    """Parameters of a cell: those of its memory and those of its controllers."""

    memory: Any
    controllers: PerController


class Cell(NamedTuple):
    """A neural memory network without encoder and decoder, as pure functions.

    init: `(key, *, features, classes) -> CellParams`
    initial_state: `(params) -> NMNState`
    step: `(params, state, inputs, probes) -> (state, Trace)`, probes `[K]` each
    written: `(output [K], label [C]) -> [K']`, what the write controller is given
    controllers: the three controllers, for whoever replays or adapts one of them
    memory: what they read and write, see `memory.Memory`
    width: K
    around: `(read, write) -> step`, the same step around another reading and writing
    unrolling: how `unroll` runs it, see `unrolling`
    heard: `(features [D], previous label [C]) -> [D']`, what the input controller is
      given
    queried: the same cell given queries `[K]` for features, without input controller
    """

    init: Callable[..., CellParams]
    initial_state: Callable[[CellParams], NMNState]
    step: Callable[..., tuple[NMNState, Trace]]
    written: Callable[[jax.Array, jax.Array], jax.Array]
    controllers: PerController
    memory: Memory
    width: int
    around: Callable[[Callable[..., Any], Callable[..., Any]], unrolling_lib.Step]
    unrolling: unrolling_lib.Unrolling
    heard: Callable[[jax.Array, jax.Array], jax.Array]
    queried: Cell | None


class _Design(NamedTuple):
    """What `make_cell` was asked for; see there."""

    controllers: PerController
    memory: Memory
    compose: Callable[..., jax.Array]
    label_input: controllers_lib.LabelInput
    unrolling: unrolling_lib.Unrolling


def make_cell(
    controllers: PerController,
    memory: Memory,
    *,
    compose: Callable[..., jax.Array] = controllers_lib.mem_only,
    label_input: controllers_lib.LabelInput = controllers_lib.LABEL_INPUTS["none"],
    unrolling: unrolling_lib.Unrolling = unrolling_lib.auto,
) -> Cell:
    """A cell of three controllers of one width K around a memory of that width.

    Args:
      controllers: input, output and write controller, all of the same width K.
      memory: what is read and written, e.g. `memory.slots(...)`.
      compose: `(query [K], recalled [K], weights [L]) -> inputs` of the output
        controller, see `controllers.COMPOSE`.
      label_input: see `controllers.LABEL_INPUTS`.
      unrolling: what a stream of steps keeps for the way back, see `unrolling`.

    Raises:
      ValueError: if the widths of the controllers and the memory differ, or a journal
        is to be kept of a memory that has none.
    """
    widths = PerController(*(each.width for each in controllers))
    if len({*widths, memory.width}) != 1:
        raise ValueError(
            f"controllers of widths {widths} around a memory of width {memory.width}: "
            "all four must have one width"
        )
    if unrolling is unrolling_lib.journal:
        unrolling_lib.check_journal(memory)
    design = _Design(controllers, memory, compose, label_input, unrolling)
    queried = design._replace(
        controllers=controllers._replace(
            input=controllers_lib.make_silent_input(memory.width)
        ),
        label_input=label_input._replace(features=lambda query, label: query),
    )
    return _make(design, queried=_make(queried, queried=None))


def _make(design: _Design, *, queried: Cell | None) -> Cell:
    return Cell(
        functools.partial(_init, design),
        functools.partial(_initial_state, design),
        _make_step(design),
        design.label_input.output,
        design.controllers,
        design.memory,
        design.memory.width,
        functools.partial(_around, design),
        design.unrolling,
        design.label_input.features,
        queried,
    )


def _make_step(design: _Design) -> unrolling_lib.Step:
    def step(
        params: CellParams, state: NMNState, inputs: Inputs, probes: PerController
    ) -> tuple[NMNState, Trace]:
        return _step(design, params, state, (inputs, probes))

    return step


def _around(
    design: _Design, read: Callable[..., Any], write: Callable[..., Any]
) -> unrolling_lib.Step:
    memory = design.memory._replace(read=read, write=write)
    return _make_step(design._replace(memory=memory))


def _init(
    design: _Design, key: jax.Array, *, features: int, classes: int
) -> CellParams:
    memory_key, *keys = jax.random.split(key, 4)
    blank = Inputs(*(jnp.zeros((size,)) for size in (features, classes, classes)))
    sizes = _input_widths(blank, design)
    params = PerController(
        *(c.init(k, s) for c, k, s in zip(design.controllers, keys, sizes, strict=True))
    )
    return CellParams(design.memory.init(memory_key), params)


def _initial_state(design: _Design, params: CellParams) -> NMNState:
    carries = PerController(*(each.carry() for each in design.controllers))
    return NMNState(design.memory.start(params.memory), carries)


def _step(
    design: _Design,
    params: CellParams,
    state: NMNState,
    given: tuple[Inputs, PerController],
) -> tuple[NMNState, Trace]:
    """Query, read, answer, update, write (Eqs. 2-7), probes on the way."""
    inputs, probes = given
    features = design.label_input.features(inputs.features, inputs.previous)
    input_carry, query = design.controllers.input.step(
        params.controllers.input, state.carries.input, features
    )
    query = query + probes.input
    reading = design.memory.read(params.memory, state.memory, query)
    composed = design.compose(query, reading.recalled, reading.weights)
    output_carry, output = design.controllers.output.step(
        params.controllers.output, state.carries.output, composed
    )
    output = output + probes.output
    written = design.label_input.output(output, inputs.label)
    write_carry, update = design.controllers.write.step(
        params.controllers.write, state.carries.write, written
    )
    update = update + probes.write
    after = design.memory.write(params.memory, state.memory, reading, update)
    carries = PerController(input_carry, output_carry, write_carry)
    return NMNState(after.state, carries), Trace(
        PerController(features, composed, written),
        PerController(query, output, update),
        reading.weights,
        after.weights,
        state.carries,
    )


def _input_widths(inputs: Inputs, design: _Design) -> PerController:
    """Input width of each controller, found by tracing the shapes once."""

    def shapes(inputs: Inputs, output: jax.Array) -> PerController:
        return PerController(
            design.label_input.features(inputs.features, inputs.previous),
            design.compose(output, output, jnp.zeros((design.memory.reads,))),
            design.label_input.output(output, inputs.label),
        )

    traced = jax.eval_shape(shapes, inputs, jnp.zeros((design.memory.width,)))
    return PerController(*(each.shape[0] for each in traced))


def zero_probes(cell: Cell, steps: int, dtype: Any = None) -> PerController:
    """Probes `[T, K]` of zeros for a stream of T steps."""
    return PerController(*(jnp.zeros((steps, cell.width), dtype) for _ in range(3)))


def unroll(
    cell: Cell,
    params: CellParams,
    state: NMNState,
    inputs: Inputs,
    *,
    probes: PerController | None = None,
    between: Callable[[NMNState], NMNState] | None = None,
) -> tuple[NMNState, Trace]:
    """Run a stream of T steps: `inputs` `[T, ...]` -> (final state, Trace `[T, ...]`).

    `between` is applied to the state before every step; `feedback.stop` there leaves
    each step the gradient of its own loss alone. What is kept for the way back is the
    cell's choice, see `unrolling`.
    """
    if probes is None:
        probes = zero_probes(cell, len(inputs.features), inputs.features.dtype)
    if cell.queried is None or between is not None:
        return cell.unrolling(_steps(cell, between), params, state, (inputs, probes))
    return unrolling_lib.queries_first(
        functools.partial(cell.unrolling, _steps(cell.queried)),
        cell.controllers.input,
        jax.vmap(cell.heard)(inputs.features, inputs.previous),
    )(params, state, (inputs, probes))


def _steps(
    cell: Cell, between: Callable[[NMNState], NMNState] | None = None
) -> unrolling_lib.Steps:
    return unrolling_lib.Steps(
        cell.step, cell.around, cell.controllers, cell.memory, between
    )


def ask(
    cell: Cell,
    params: CellParams,
    state: NMNState,
    inputs: Inputs,
    *,
    probes: PerController | None = None,
) -> Trace:
    """Ask Q questions of one state: each sees that state and leaves no mark on it.

    Queries of an episode are answered this way, so none sees another (not
    transductive).
    """
    if probes is None:
        probes = zero_probes(cell, len(inputs.features), inputs.features.dtype)

    def one(inputs: Inputs, probes: PerController) -> Trace:
        return cell.step(params, state, inputs, probes)[1]

    return jax.vmap(one)(inputs, probes)


def replay(
    cell: Cell, controllers: PerController, trace: Trace
) -> tuple[PerController, PerController]:
    """Every controller alone on what it was given in a trace `[*batch, T, ...]`.

    Returns the final carries and the outputs. No path joins one controller to
    another, so cotangents given for the outputs reach only the controller's parameters,
    through time. The recorded carries are constants: run it with the parameters that
    made the trace.
    """
    results = map(
        controllers_lib.again,
        cell.controllers, controllers, trace.carries, trace.inputs,
    )  # fmt: skip
    finals, outputs = zip(*results, strict=True)
    return PerController(*finals), PerController(*outputs)


def replay_ask(
    cell: Cell,
    controllers: PerController,
    carries: PerController,
    inputs: PerController,
) -> PerController:
    """As `replay` for `ask`: each of the Q inputs starts from the same carry."""

    def one(controller: Any, params: Params, carry: Any, given: jax.Array) -> jax.Array:
        return jax.vmap(lambda x: controller.step(params, carry, x)[1])(given)

    return PerController(*map(one, cell.controllers, controllers, carries, inputs))
