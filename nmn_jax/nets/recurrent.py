"""Recurrent encoders: features of every step of a sequence, from the steps so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from nmn_jax.nets import leaves
from nmn_jax.nets.encoder import Encoder, Phase, make_dense_encoder


def make_lstm_encoder(width: int, input_size: int) -> Encoder:
    """One LSTM over the steps of each sequence: f_E of the paper's trajectories.

    Args:
      width: D, of the features; the paper has 30.
      input_size: length of one step's input.

    Raises:
      ValueError: (when applied) for inputs that are not `[E, I, input_size]`.
    """
    lstm = leaves.make_lstm(width)

    def init(key: jax.Array) -> tuple[Any, Any]:
        return lstm.init(key, input_size), ()

    def one(params: Any, steps: jax.Array) -> jax.Array:
        _, features = jax.lax.scan(
            lambda carry, step: lstm.apply(params, carry, step), lstm.carry(), steps
        )
        return features

    def apply(
        params: Any,
        stats: tuple[()],
        inputs: Float[Array, "sequences steps size"],
        *,
        supports: int,
        phase: Phase,
    ) -> tuple[Float[Array, "sequences steps features"], tuple[()]]:
        del supports, phase
        if inputs.shape[2:] != (input_size,):
            raise ValueError(
                f"inputs have shape {inputs.shape}; expected [sequences, steps, "
                f"{input_size}]"
            )
        return jax.vmap(one, (None, 0))(params, inputs), stats

    return Encoder(init, apply, width)


ENCODERS: dict[str, Callable[[int, int], Encoder]] = {
    "lstm": make_lstm_encoder,
    "dense": make_dense_encoder,
}
