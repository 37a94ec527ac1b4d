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

from nmn_jax import networks


class Controller(NamedTuple):
    """One controller of width K.

    init: `(key, input_width) -> params`
    carry: `() -> carry`, the recurrent state at the start of an episode or stream
    step: `(params, carry, inputs [D]) -> (carry, output [K])`
    """

    init: Callable[[jax.Array, int], Any]
    carry: Callable[[], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    width: int


def random_kernel(
    key: jax.Array, shape: tuple[int, int]
) -> Float[Array, "inputs width"]:
    """N(0, 1/inputs): keeps the scale of its input (LeCun et al., 1998)."""
    return jax.random.normal(key, shape) / jnp.sqrt(float(shape[0]))


def identity_kernel(
    key: jax.Array, shape: tuple[int, int]
) -> Float[Array, "inputs width"]:
    """Passes the first K inputs on unchanged; the rows below them are random."""
    inputs, width = shape
    passed = jnp.eye(min(inputs, width), width)
    if inputs <= width:
        return passed
    return jnp.concatenate([passed, random_kernel(key, (inputs - width, width))])


def make_lstm(width: int) -> Controller:
    """The paper's controller: one LSTM cell of K units."""
    lstm = networks.make_lstm(width)
    return Controller(lstm.init, lstm.carry, lstm.apply, width)


def make_skip_lstm(
    width: int, *, kernel: Callable[..., jax.Array] = identity_kernel
) -> Controller:
    """h = x W + g ⊙ LSTM(x): an LSTM beside a linear skip, g learned and 0 at first.

    The skip lets content pass that the LSTM's gates and tanh would squash; starting the
    gain at zero makes the untrained controller linear (ReZero; Bachlechner et al., 2021).
    """
    lstm = networks.make_lstm(width)

    def init(key: jax.Array, input_width: int) -> dict[str, Any]:
        lstm_key, skip_key = jax.random.split(key)
        return {
            "lstm": lstm.init(lstm_key, input_width),
            "skip": kernel(skip_key, (input_width, width)),
            "gain": jnp.zeros((width,)),
        }

    def step(params: dict[str, Any], carry: Any, inputs: jax.Array) -> tuple:
        carry, recurrent = lstm.apply(params["lstm"], carry, inputs)
        return carry, inputs @ params["skip"] + params["gain"] * recurrent

    return Controller(init, lstm.carry, step, width)


def make_stateless(
    width: int, *, kernel: Callable[..., jax.Array] = identity_kernel
) -> Controller:
    """h = x W + g ⊙ tanh(x V + b): the ablation without recurrence."""
    dense = networks.make_dense(width)

    def init(key: jax.Array, input_width: int) -> dict[str, Any]:
        dense_key, skip_key = jax.random.split(key)
        return {
            "dense": dense.init(dense_key, input_width),
            "skip": kernel(skip_key, (input_width, width)),
            "gain": jnp.zeros((width,)),
        }

    def step(params: dict[str, Any], carry: tuple, inputs: jax.Array) -> tuple:
        hidden = jnp.tanh(dense.apply(params["dense"], inputs))
        return carry, inputs @ params["skip"] + params["gain"] * hidden

    return Controller(init, lambda: (), step, width)


CONTROLLERS: dict[str, Callable[[int, Callable[..., jax.Array]], Controller]] = {
    "lstm": lambda width, kernel: make_lstm(width),
    "skip_lstm": lambda width, kernel: make_skip_lstm(width, kernel=kernel),
    "stateless": lambda width, kernel: make_stateless(width, kernel=kernel),
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

    Two inputs that recall the same slot then agree in L numbers whatever they look like,
    which is what an outer-product fast weight needs to bind a label to a slot.
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

    features: `(features [D], previous label [C]) -> [D']`, input of the input controller
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
