"""The recurrent controllers and what they are given (Eqs. 2, 5, 6).

A controller is three pure functions on one example: `init`, `carry`, `step`. How the
output controller sees the memory (`compose`) and how a label may enter (`LabelInput`)
are functions passed to `cell.make_cell`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.nets import leaves
from nmn_jax.nets.kernels import Kernel, identity_kernel


class Unrolled(NamedTuple):
    """T steps of one controller: its carry at the end, outputs `[T, K]`, and the
    carries `[T, ...]` that each step began with."""

    carry: Any
    outputs: jax.Array
    before: Any


class Controller(NamedTuple):
    """One controller of width K.

    init: `(key, input_width) -> params`
    carry: `() -> carry`, the recurrent state at the start of an episode or stream
    step: `(params, carry, inputs [D]) -> (carry, output [K])`
    many: `(params, carry, inputs [T, D]) -> Unrolled`, the same as T steps in turn,
      where a controller has a form that is faster; see `unroll`
    again: `(params, before, inputs [*batch, T, D]) -> (carry, outputs)`, the same from
      recorded carries, where that is faster; see `again`
    linear: names of the tensors W `[D, K]` that enter the output as + x W and nowhere
      else, so that their fast updates are outer products
    """

    init: Callable[[jax.Array, int], Any]
    carry: Callable[[], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    width: int
    many: Callable[[Any, Any, jax.Array], Unrolled] | None = None
    again: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]] | None = None
    linear: tuple[str, ...] = ()


def unroll(
    controller: Controller,
    params: Any,
    carry: Any,
    inputs: Float[Array, "steps inputs"],
) -> Unrolled:
    """A controller alone on inputs that are known."""
    if controller.many is not None:
        return controller.many(params, carry, inputs)

    def body(carry: Any, given: jax.Array) -> tuple[Any, tuple[jax.Array, Any]]:
        after, output = controller.step(params, carry, given)
        return after, (output, carry)

    final, (outputs, before) = jax.lax.scan(body, carry, inputs)
    return Unrolled(final, outputs, before)


def again(
    controller: Controller,
    params: Any,
    before: Any,
    inputs: Float[Array, "*batch steps inputs"],
) -> tuple[Any, Float[Array, "*batch steps width"]]:
    """A controller alone on what was recorded: the carry at the end, and outputs.

    Args:
      before: the carries `[*batch, T, ...]` that each step began with, constants.

    Gradients: in the parameters, through time, as those of `unroll`, but of a whole
    batch in one product: this is quicker than mapped over the batch.
    """
    if controller.again is not None:
        return controller.again(params, before, inputs)

    def one(before: Any, inputs: jax.Array) -> tuple[Any, jax.Array]:
        start = jax.tree.map(lambda leaf: leaf[0], before)
        return unroll(controller, params, start, inputs)[:2]

    for _ in inputs.shape[:-2]:
        one = jax.vmap(one)
    return one(before, inputs)


def make_silent_input(width: int) -> Controller:
    """h = x: for a cell whose queries are known ahead; without parameters or carry."""
    return Controller(
        lambda key, inputs: (), tuple, lambda params, carry, x: (carry, x), width
    )


def make_lstm(width: int) -> Controller:
    """The paper's controller: one LSTM cell of K units."""
    lstm = leaves.make_lstm(width)

    def many(params: Any, carry: Any, inputs: jax.Array) -> Unrolled:
        return Unrolled(*lstm.unroll(params, carry, inputs))

    return Controller(lstm.init, lstm.carry, lstm.apply, width, many, lstm.again)


def make_skip_lstm(width: int, *, kernel: Kernel = identity_kernel) -> Controller:
    """h = x W + g ⊙ LSTM(x): an LSTM beside a linear skip, g learned and 0 at first.

    The skip lets content pass that the LSTM's gates and tanh would squash; starting the
    gain at zero makes the untrained controller linear (ReZero; Bachlechner et al.,
    2021).
    """
    return _beside_skip("lstm", leaves.make_lstm(width), width, kernel)


def make_stateless(width: int, *, kernel: Kernel = identity_kernel) -> Controller:
    """h = x W + g ⊙ tanh(x V + b): the ablation without recurrence."""
    dense = leaves.make_dense(width)

    def apply(params: Any, carry: tuple, inputs: jax.Array) -> tuple:
        return carry, jnp.tanh(dense.apply(params, inputs))

    def unroll(params: Any, carry: tuple, inputs: jax.Array) -> tuple:
        # Broadcasts over steps: none depends on the one before.
        return *apply(params, carry, inputs), ()

    inner = leaves.Recurrent(dense.init, apply, tuple, unroll, apply)
    return _beside_skip("dense", inner, width, kernel)


def make_normalised(width: int, *, kernel: Kernel = identity_kernel) -> Controller:
    """h = RMSNorm(x W + g ⊙ tanh(x V + b)): as `make_stateless`, of root mean square 1.

    Where what is recalled may be written again, a gain above one would let a memory
    grow without bound over a stream that has no end.
    """
    inner = make_stateless(width, kernel=kernel)

    def bounded(outputs: jax.Array) -> jax.Array:
        square = jnp.mean(outputs**2, axis=-1, keepdims=True)
        return outputs / jnp.sqrt(square + 1e-6)

    def step(params: dict[str, Any], carry: tuple, inputs: jax.Array) -> tuple:
        carry, output = inner.step(params, carry, inputs)
        return carry, bounded(output)

    def many(params: dict[str, Any], carry: tuple, inputs: jax.Array) -> Unrolled:
        found = unroll(inner, params, carry, inputs)
        return found._replace(outputs=bounded(found.outputs))

    return Controller(inner.init, inner.carry, step, width, many)


def _beside_skip(
    name: str, inner: leaves.Recurrent, width: int, kernel: Kernel
) -> Controller:
    """A linear skip, and `inner` beside it behind a gain that is 0 at first."""

    def init(key: jax.Array, input_width: int) -> dict[str, Any]:
        inner_key, skip_key = jax.random.split(key)
        return {
            name: inner.init(inner_key, input_width),
            "skip": kernel(skip_key, (input_width, width)),
            "gain": jnp.zeros((width,)),
        }

    def joined(params: dict[str, Any], inputs: jax.Array, hidden: jax.Array) -> Any:
        skipped = inputs @ params["skip"]
        gain = jnp.expand_dims(params["gain"], range(hidden.ndim - 1))
        return skipped + gain * hidden

    def step(params: dict[str, Any], carry: Any, inputs: jax.Array) -> tuple:
        carry, hidden = inner.apply(params[name], carry, inputs)
        return carry, joined(params, inputs, hidden)

    def many(params: dict[str, Any], carry: Any, inputs: jax.Array) -> Unrolled:
        carry, hidden, before = inner.unroll(params[name], carry, inputs)
        return Unrolled(carry, joined(params, inputs, hidden), before)

    def again(params: dict[str, Any], before: Any, inputs: jax.Array) -> tuple:
        carry, hidden = inner.again(params[name], before, inputs)
        return carry, joined(params, inputs, hidden)

    return Controller(init, inner.carry, step, width, many, again, ("skip",))


CONTROLLERS: dict[str, Callable[[int, Kernel], Controller]] = {
    "lstm": lambda width, kernel: make_lstm(width),
    "skip_lstm": lambda width, kernel: make_skip_lstm(width, kernel=kernel),
    "stateless": lambda width, kernel: make_stateless(width, kernel=kernel),
    "normalised": lambda width, kernel: make_normalised(width, kernel=kernel),
}


def mem_only(
    query: Float[Array, " width"],
    recalled: Float[Array, " width"],
    weights: Float[Array, " slots"],
) -> Float[Array, " width"]:
    """The output controller sees only what was recalled (Eq. 5 as printed)."""
    del query, weights
    return recalled


def query_mem(
    query: Float[Array, " width"],
    recalled: Float[Array, " width"],
    weights: Float[Array, " slots"],
) -> Float[Array, " both"]:
    """[q; m̄]: the compose step of Neural Semantic Encoders, before the controller."""
    del weights
    return jnp.concatenate([query, recalled])


def query_mem_weights(
    query: Float[Array, " width"],
    recalled: Float[Array, " width"],
    weights: Float[Array, " slots"],
) -> Float[Array, " all"]:
    """[q; m̄; √K z]: also where the memory was read, at the scale of what was read.

    Two inputs that recall the same slot then agree in L numbers whatever they look
    like, which is what an outer-product fast weight needs to bind a label to a slot.
    """
    root = jnp.sqrt(jnp.asarray(query.shape[-1], query.dtype))
    return jnp.concatenate([query, recalled, root * weights])


COMPOSE: dict[str, Callable[[jax.Array, jax.Array, jax.Array], jax.Array]] = {
    "mem_only": mem_only,
    "query_mem": query_mem,
    "query_mem_weights": query_mem_weights,
}


class LabelInput(NamedTuple):
    """How a label enters the forward pass.

    features: `(features [D], previous label [C]) -> [D']`, input of the input
    controller
    output: `(output [K], current label [C]) -> [K']`, input of the write controller
    """

    features: Callable[[jax.Array, jax.Array], jax.Array]
    output: Callable[[jax.Array, jax.Array], jax.Array]


def _without(values: jax.Array, label: jax.Array) -> jax.Array:
    del label
    return values


def _beside(values: jax.Array, label: jax.Array) -> jax.Array:
    return jnp.concatenate([values, label])


LABEL_INPUTS: dict[str, LabelInput] = {
    # The equations: y reaches the network only through the synthetic gradients.
    "none": LabelInput(_without, _without),
    # MANN: the previous label beside the current features.
    "offset": LabelInput(_beside, _without),
    # The current label beside the write controller's input; zeros where unknown.
    "write": LabelInput(_without, _beside),
}
