"""The steps of an LSTM over inputs that are known, with few and large products."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Input, forget, cell and output gate, as Flax names them.
GATES = "ifgo"


def unroll(
    params: Any,
    state: tuple[jax.Array, jax.Array],
    inputs: Float[Array, "steps inputs"],
) -> tuple[Any, Float[Array, "steps width"], Any]:
    """As Flax's `OptimizedLSTMCell` in turn, what only the inputs decide at once.

    So a step costs the product of the hidden state alone, and the gradient of the
    input's kernel is one product over all steps instead of a sum inside the loop.
    """

    given, kernel = _prepared(params, inputs)

    def body(carried: tuple, given: jax.Array) -> tuple[tuple, tuple]:
        after = _gated(given + carried[1] @ kernel, carried[0])
        return after, (after[1], carried)

    final, (hidden, before) = jax.lax.scan(body, state, given)
    return final, hidden, before


def _prepared(params: Any, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The inputs' part of all gates `[T, 4 K]`, and the kernel of the hidden state."""

    def joined(side: str, leaf: str) -> jax.Array:
        return jnp.concatenate([params[side + gate][leaf] for gate in GATES], axis=-1)

    bias = jnp.expand_dims(joined("h", "bias"), range(inputs.ndim - 1))
    return inputs @ joined("i", "kernel") + bias, joined("h", "kernel")


def _gated(gates: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cell and hidden state for gates `[4 K]` before their squashing."""
    parts = jnp.split(gates, 4, axis=-1)
    let_in, keep, tell = (jax.nn.sigmoid(parts[at]) for at in (0, 1, 3))
    cell = keep * cell + let_in * jnp.tanh(parts[2])
    return cell, tell * jnp.tanh(cell)


def again(
    params: Any, before: tuple[jax.Array, jax.Array], inputs: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
    """As `unroll` from the states before every step, gradients through time too.

    The gradient of the hidden state's kernel is one product over all steps as well.
    """
    given, kernel = _prepared(params, inputs)
    cells, hidden = _recalled(given, kernel, before)
    return (cells[..., -1, :], hidden[..., -1, :]), hidden


@jax.custom_vjp
def _recalled(given: jax.Array, kernel: jax.Array, before: tuple) -> tuple:
    return _recall(given, kernel, before)[0]


def _recall(given: jax.Array, kernel: jax.Array, before: tuple) -> tuple:
    cells, hidden = before
    gates = given + hidden @ kernel
    return _gated(gates, cells), (kernel, gates, before)


def _recall_back(saved: tuple, cotangents: tuple) -> tuple:
    """Through time: what is carried into a step was made by the one before."""
    kernel, gates, before = saved

    def body(after: tuple, each: tuple) -> tuple[tuple, jax.Array]:
        gates, cell, told = each
        reached = jax.tree.map(jnp.add, told, after)
        of_gates, of_cell = jax.vjp(_gated, gates, cell)[1](reached)
        return (of_cell, of_gates @ kernel.T), of_gates

    end = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[..., 0, :]), before)
    in_turn = lambda leaf: jnp.moveaxis(leaf, -2, 0)  # noqa: E731
    each = jax.tree.map(in_turn, (gates, before[0], cotangents))
    _, of_gates = jax.lax.scan(body, end, each, reverse=True)
    of_gates = jnp.moveaxis(of_gates, 0, -2)
    of_kernel = jnp.einsum("...k,...g->kg", before[1], of_gates)
    return of_gates, of_kernel, jax.tree.map(jnp.zeros_like, before)


_recalled.defvjp(_recall, _recall_back)
