"""Encoder, memory cell and decoder around one episode (Fig. 2, Eqs. 1, 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax import fast as fast_lib
from nmn_jax import losses, signals
from nmn_jax.types import (
    Inputs,
    Network,
    NMNState,
    Params,
    PerController,
    Stages,
    Trace,
)


class ModelParams(NamedTuple):
    """Everything slow learning moves."""

    encoder: Params
    cell: cell_lib.CellParams
    decoder: Params


class Support(NamedTuple):
    """What the support steps of an episode leave behind."""

    state: NMNState
    controllers: PerController  # the controllers that answer the queries
    trace: Trace


class EpisodeRun(NamedTuple):
    """One episode: answers and what happened on the way."""

    logits: jax.Array  # [Q, C]
    support: Support
    query: Trace


SupportPass = Callable[..., Support]


class Model(NamedTuple):
    """A neural memory network for episodes.

    encoder: `networks.Encoder`, applied once to all images of a batch of episodes
    cell: `cell.Cell`
    decoder: `Network`, output `[K]` -> logits `[C]`
    classes: C, the number of ways
    presentations: how often the support set is shown. From the second time on a step
      reads a memory that holds the whole support set.
    """

    encoder: Any
    cell: cell_lib.Cell
    decoder: Network
    classes: int
    presentations: int = 1


def init(model: Model, key: jax.Array) -> tuple[ModelParams, Any]:
    """Parameters of the whole model and the encoder's normalisation statistics."""
    encoder_key, cell_key, decoder_key = jax.random.split(key, 3)
    encoder, stats = model.encoder.init(encoder_key)
    cell = model.cell.init(
        cell_key, features=model.encoder.width, classes=model.classes
    )
    decoder = model.decoder.init(decoder_key, model.cell.width)
    return ModelParams(encoder, cell, decoder), stats


def support_inputs(
    model: Model, features: jax.Array, labels: jax.Array
) -> tuple[Inputs, jax.Array]:
    """The support stream `[T, ...]`, shown `presentations` times, and its labels."""
    repeats = (model.presentations, 1)
    features, labels = jnp.tile(features, repeats), jnp.tile(labels, repeats)
    previous = jnp.concatenate([jnp.zeros_like(labels[:1]), labels[:-1]])
    return Inputs(features, labels, previous), labels


def query_inputs(features: jax.Array, labels: jax.Array) -> Inputs:
    """Queries `[Q, ...]` with unknown labels; each follows the last support step."""
    unknown = jnp.zeros((len(features), labels.shape[-1]), features.dtype)
    return Inputs(features, unknown, jnp.broadcast_to(labels[-1], unknown.shape))


def slow_support(model: Model) -> SupportPass:
    """Support steps with the slow weights alone."""

    def run(
        params: ModelParams, inputs: Inputs, targets: jax.Array, taps: PerController
    ) -> Support:
        del targets
        start = model.cell.initial_state(params.cell)
        state, trace = cell_lib.unroll(
            model.cell, params.cell, start, inputs, taps=taps
        )
        return Support(state, params.cell.controllers, trace)

    return run


def fast_support(
    model: Model,
    path: fast_lib.FastPath,
    rates: PerController,
    signal: signals.Signal,
) -> SupportPass:
    """Support steps that adapt the controllers by the fast path."""

    def run(
        params: ModelParams, inputs: Inputs, targets: jax.Array, taps: PerController
    ) -> Support:
        state, weights, trace = fast_lib.unroll(
            path, model.cell, params.cell, rates, signal,
            model.cell.initial_state(params.cell), inputs, targets, taps=taps,
        )  # fmt: skip
        merged = fast_lib.merge(params.cell.controllers, weights.controllers)
        return Support(state, merged, trace)

    return run


def zero_taps(model: Model, supports: int, queries: int, dtype: Any) -> Stages:
    """Taps for one episode of `supports` images and `queries` questions."""
    steps = supports * model.presentations
    return Stages(
        cell_lib.zero_taps(model.cell, steps, dtype),
        cell_lib.zero_taps(model.cell, queries, dtype),
    )


def run_episode(
    model: Model,
    support_pass: SupportPass,
    params: ModelParams,
    features: jax.Array,
    labels: jax.Array,
    signal_labels: jax.Array,
    taps: Stages,
) -> EpisodeRun:
    """Store the support set, then answer every query from the memory left behind.

    Args:
      features: `[S + Q, D]`, support first.
      labels: `[S, C]`, one-hot support labels as the label input sees them.
      signal_labels: `[S, C]`, support labels as the synthetic gradients see them.
      taps: `zero_taps(...)`.
    """
    supports = len(labels)
    inputs, _ = support_inputs(model, features[:supports], labels)
    targets = jnp.tile(signal_labels, (model.presentations, 1))
    support = support_pass(params, inputs, targets, taps.support)
    asked = params.cell._replace(controllers=support.controllers)
    queries = query_inputs(features[supports:], labels)
    query = cell_lib.probe(model.cell, asked, support.state, queries, taps=taps.query)
    logits = jax.vmap(model.decoder.apply, (None, 0))(
        params.decoder, query.outputs.output
    )
    return EpisodeRun(logits, support, query)


def replay_episode(
    model: Model, support: Trace, query: Trace
) -> Callable[[PerController], Stages]:
    """The controllers alone on what one episode gave them, given their weights."""
    carries = PerController(*(each.carry() for each in model.cell.controllers))

    def run(controllers: PerController) -> Stages:
        finals, outputs = cell_lib.replay(
            model.cell, controllers, carries, support.inputs
        )
        return Stages(
            outputs,
            cell_lib.replay_probe(model.cell, controllers, finals, query.inputs),
        )

    return run


def decoder_loss(model: Model, decoder: Params) -> Callable[..., jax.Array]:
    """`(output [K], target [C]) -> []`: cross entropy of one step."""

    def loss(output: jax.Array, target: jax.Array) -> jax.Array:
        return losses.cross_entropy(model.decoder.apply(decoder, output), target)

    return loss
