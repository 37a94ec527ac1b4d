"""Encoder, memory cell and decoder around one episode (Fig. 2, Eqs. 1, 8)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax.nets.encoder import Encoder
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


class Model(NamedTuple):
    """A neural memory network for episodes and streams.

    encoder: applied once to all inputs of a batch of episodes
    decoder: output `[K]` -> answer `[C]`
    targets: C, the width of a target (the number of ways, for classes)
    presentations: how often the support set is shown. From the second time on a step
      reads a memory that holds the whole support set.
    """

    encoder: Encoder
    cell: cell_lib.Cell
    decoder: Network
    targets: int
    presentations: int = 1


class Episode(NamedTuple):
    """One episode as the memory sees it: features of supports `[S, D]`, their targets
    `[S, C]`, and features of queries `[Q, D]`."""

    supports: jax.Array
    targets: jax.Array
    queries: jax.Array


class Support(NamedTuple):
    """What the support steps of an episode leave behind."""

    state: NMNState
    controllers: PerController  # the controllers that answer the queries
    trace: Trace


class EpisodeRun(NamedTuple):
    """One episode: answers `[Q, C]`, and what happened on the way."""

    outputs: jax.Array
    support: Support
    query: Trace


# `(params, inputs [T, ...], probes [T, K]) -> Support`
SupportPass = Callable[[ModelParams, Inputs, PerController], Support]


def init(model: Model, key: jax.Array) -> tuple[ModelParams, Any]:
    """Parameters of the whole model and the encoder's normalisation statistics."""
    encoder_key, cell_key, decoder_key = jax.random.split(key, 3)
    encoder, stats = model.encoder.init(encoder_key)
    cell = model.cell.init(
        cell_key, features=model.encoder.width, classes=model.targets
    )
    decoder = model.decoder.init(decoder_key, model.cell.width)
    return ModelParams(encoder, cell, decoder), stats


def presented(model: Model, steps: jax.Array) -> jax.Array:
    """Support steps `[S, ...]` as often as they are shown: `[T, ...]`."""
    return jnp.tile(steps, (model.presentations,) + (1,) * (steps.ndim - 1))


def support_inputs(model: Model, features: jax.Array, targets: jax.Array) -> Inputs:
    """The support stream `[T, ...]`, shown `presentations` times."""
    features, targets = presented(model, features), presented(model, targets)
    return Inputs(features, targets, previous(targets, jnp.zeros_like(targets[0])))


def previous(targets: jax.Array, before: jax.Array) -> jax.Array:
    """Of every step the target of the one before: `[T, C]` after a first `[C]`."""
    return jnp.concatenate([before[None], targets[:-1]])


def query_inputs(features: jax.Array, last: jax.Array) -> Inputs:
    """Queries `[Q, D]` with unknown targets; each follows a step whose target was
    `last` `[C]`."""
    unknown = jnp.zeros((len(features), *last.shape), features.dtype)
    return Inputs(features, unknown, jnp.broadcast_to(last, unknown.shape))


def slow_support(model: Model) -> SupportPass:
    """Support steps with the slow weights alone."""

    def run(params: ModelParams, inputs: Inputs, probes: PerController) -> Support:
        start = model.cell.initial_state(params.cell)
        state, trace = cell_lib.unroll(
            model.cell, params.cell, start, inputs, probes=probes
        )
        return Support(state, params.cell.controllers, trace)

    return run


def zero_probes(model: Model, supports: int, queries: int, dtype: Any) -> Stages:
    """Probes for one episode of `supports` examples and `queries` questions."""
    steps = supports * model.presentations
    return Stages(
        cell_lib.zero_probes(model.cell, steps, dtype),
        cell_lib.zero_probes(model.cell, queries, dtype),
    )


def run_episode(
    model: Model,
    params: ModelParams,
    episode: Episode,
    *,
    support_pass: SupportPass,
    probes: Stages,
) -> EpisodeRun:
    """Store the support set, then answer every query from the memory left behind."""
    inputs = support_inputs(model, episode.supports, episode.targets)
    support = support_pass(params, inputs, probes.support)
    answering = params.cell._replace(controllers=support.controllers)
    queries = query_inputs(episode.queries, episode.targets[-1])
    query = cell_lib.ask(
        model.cell, answering, support.state, queries, probes=probes.query
    )
    return EpisodeRun(decode(model, params, query), support, query)


def decode(model: Model, params: ModelParams, trace: Trace) -> jax.Array:
    """Answers `[T, C]` of the steps of a trace (Eq. 8)."""
    return jax.vmap(model.decoder.apply, (None, 0))(
        params.decoder, trace.outputs.output
    )


def replay_episodes(
    model: Model, controllers: PerController, support: Trace, query: Trace
) -> Stages:
    """Outputs of the controllers alone on what a batch of episodes gave them."""
    finals, outputs = cell_lib.replay(model.cell, controllers, support)
    ask = jax.vmap(functools.partial(cell_lib.replay_ask, model.cell), (None, 0, 0))
    return Stages(outputs, ask(controllers, finals, query.inputs))
