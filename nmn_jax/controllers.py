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

Kernel = Callable[[jax.Array, tuple[int, int]], jax.Array]


class Controller(NamedTuple):
    """One controller of width K.

    init: `(key, input_width) -> params`
    carry: `() -> carry`, the recurrent state at the start of an episode or stream
    step: `(params, carry, inputs [D]) -> (carry, output [K])`
    many: `(params, carry, inputs [T, D]) -> (carry, outputs [T, K])`, the same as T
      steps in turn, where a controller has a form that is faster; see `unroll`
    linear: names of the tensors W `[D, K]` that enter the output as + x W and nowhere
      else, so that their fast updates are outer products
    """

    init: Callable[[jax.Array, int], Any]
    carry: Callable[[], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    width: int
    many: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]] | None = None
    linear: tuple[str, ...] = ()


def unroll(
    controller: Controller,
    params: Any,
    carry: Any,
    inputs: Float[Array, "steps inputs"],
) -> tuple[Any, Float[Array, "steps width"]]:
    """A controller alone on inputs that are known: final carry, outputs `[T, K]`."""
    if controller.many is not None:
        return controller.many(params, carry, inputs)
    return jax.lax.scan(lambda c, x: controller.step(params, c, x), carry, inputs)


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


def make_output_kernel(key_width: int) -> Kernel:
    """m = [q's key part; m̄'s value part] at first, for inputs [q; m̄; ...].

    The first `key_width` numbers of a slot are its key, the others its value: the
    output carries the query's key on to the write controller and what was recalled to
    the decoder. Rows below, if any, are zero.
    """

    def kernel(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        del key
        keys, values = _halves(key_width, shape)
        below = jnp.zeros((max(shape[0] - 2 * shape[1], 0), shape[1]))
        return jnp.concatenate([keys, values, below])[: shape[0]]

    return kernel


def make_write_kernel(key_width: int) -> Kernel:
    """m' = [m's key part; √K onehot(y)] at first, for inputs [m; y].

    The label fills the first numbers of the value part, at the scale of a key; nothing
    else enters there, so a slot starts as a pair of key and label.
    """

    def kernel(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        del key
        keys, _ = _halves(key_width, shape)
        root = jnp.sqrt(float(shape[1]))
        classes = max(shape[0] - shape[1], 0)
        labels = root * jnp.eye(classes, shape[1], k=key_width)
        return jnp.concatenate([keys, labels])[: shape[0]]

    return kernel


def make_random_write_kernel(key_width: int) -> Kernel:
    """As `make_write_kernel`, but a random map of the key part: nothing is found."""
    matched = make_write_kernel(key_width)

    def kernel(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
        width = shape[1]
        keys, _ = _halves(key_width, shape)
        mixed = keys @ random_kernel(key, (width, width)) @ keys
        mixed *= jnp.sqrt(width / key_width)  # of the scale of its input
        return jnp.concatenate([mixed, matched(key, shape)[width:]])[: shape[0]]

    return kernel


def make_decoder_kernel(key_width: int) -> Callable[..., jax.Array]:
    """Logits read the numbers where `make_write_kernel` put the label, and no others.

    With this the untrained network answers as a matching network (Vinyals et al.,
    2016): the encoder gets a gradient from the first step, before anything else is
    learned.
    """

    def kernel(key: jax.Array, shape: tuple[int, int], dtype: Any = None) -> jax.Array:
        del key
        return jnp.eye(shape[0], shape[1], k=-key_width, dtype=dtype)

    return kernel


def _halves(key_width: int, shape: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Diagonal matrices that pass on the key part and the value part."""
    first = (jnp.arange(shape[1]) < key_width).astype(float)
    return jnp.diag(first), jnp.diag(1 - first)


def make_lstm(width: int) -> Controller:
    """The paper's controller: one LSTM cell of K units."""
    lstm = leaves.make_lstm(width)
    return Controller(lstm.init, lstm.carry, lstm.apply, width, lstm.unroll)


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

    # Broadcasts over steps as well: none depends on the one before.
    inner = leaves.Recurrent(dense.init, apply, lambda: (), apply)
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

    def many(params: dict[str, Any], carry: tuple, inputs: jax.Array) -> tuple:
        carry, outputs = unroll(inner, params, carry, inputs)
        return carry, bounded(outputs)

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

    def many(params: dict[str, Any], carry: Any, inputs: jax.Array) -> tuple:
        carry, hidden = inner.unroll(params[name], carry, inputs)
        return carry, joined(params, inputs, hidden)

    return Controller(init, inner.carry, step, width, many, ("skip",))


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
