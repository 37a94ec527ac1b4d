"""A window of B streams going forward: encode, begin where the last ended, unroll."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import cell as cell_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import bootstrap
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.feedback.carried import Groups
from nmn_jax.feedback.future import Cursor, Future, Run
from nmn_jax.methods import streams
from nmn_jax.model import Model, ModelParams
from nmn_jax.tasks.base import Loss, StreamBatch
from nmn_jax.types import Inputs, NMNState, PerController, Trace


class StreamDesign(NamedTuple):
    """What a neural memory network on a stream is made of.

    target: what reaches a window and what predictors regress on, see
      `nmn_stream.make_method`
    carry: what survives a cut, see `bootstrap.CARRIES`
    future: of the target `bootstrap`, see `feedback.future`
    """

    model: Model
    sg: sg_lib.SG
    loss: Loss
    target: str
    carry: str
    future: Future | None = None


class Encoded(NamedTuple):
    """Features `[B, T, D]`, and zeros to be added to the rows of the carried state, so
    that the vjp which delivers their cotangent delivers that at the window's entry."""

    features: jax.Array
    entry: Groups


def encode(
    design: StreamDesign, state: Any, inputs: jax.Array, encoder: Any
) -> tuple[Encoded, Any]:
    """A window in training: B episodes without queries; and the encoder's statistics.

    `entry` is empty where nothing is to be known of the state's cotangent.
    """
    features, stats = design.model.encoder.apply(
        encoder, state.stats, inputs, supports=inputs.shape[1], phase="train"
    )
    entry = streams.entry_probes(design.future, state.carried)
    return Encoded(features, entry), stats


def begin(design: StreamDesign, params: ModelParams, cursor: Cursor) -> NMNState:
    """The states `[B]` a window starts from.

    Gradients: a fresh start is no constant, so the initial memory learns wherever
    windows begin with it.
    """
    fresh = design.model.cell.initial_state(params.cell)

    def one(reached: NMNState, starts: jax.Array) -> NMNState:
        begun = bootstrap.CARRIES[design.carry](fresh, reached)
        return jax.tree.map(functools.partial(jnp.where, starts), fresh, begun)

    return jax.vmap(one)(cursor.state, cursor.starts)


def inputs_of(cursor: Cursor, features: jax.Array, batch: StreamBatch) -> Inputs:
    """What the cell is given, `[B, T, ...]`."""
    before = jax.vmap(model_lib.previous)(batch.targets, cursor.previous)
    return Inputs(features, batch.targets, before)


def blank(design: StreamDesign, batch: StreamBatch) -> PerController:
    """Probes of zeros, `[B, T, K]`."""
    streams, steps = batch.targets.shape[:2]
    probes = cell_lib.zero_probes(design.model.cell, steps, batch.targets.dtype)
    return jax.tree.map(
        lambda leaf: jnp.zeros((streams, *leaf.shape), leaf.dtype), probes
    )


def unroll(
    design: StreamDesign,
    params: cell_lib.CellParams,
    given: tuple[NMNState, Inputs, PerController],
    *,
    between: Callable[[NMNState], NMNState] | None = None,
) -> tuple[NMNState, Trace]:
    """`cell.unroll` of B streams, for `(states, inputs, probes)`."""

    def one(start: NMNState, inputs: Inputs, probes: PerController) -> tuple:
        return cell_lib.unroll(
            design.model.cell, params, start, inputs, probes=probes, between=between
        )

    return jax.vmap(one)(*given)


def decode(design: StreamDesign, params: ModelParams, trace: Trace) -> jax.Array:
    """Answers `[B, T, C]`."""
    return jax.vmap(functools.partial(model_lib.decode, design.model, params))(trace)


def make_run(design: StreamDesign, state: Any) -> Run:
    """One window with the slow parameters of the moment, as constants, for the passes
    beside the main one."""
    params = state.network.params

    def run(cursor: Cursor, batch: StreamBatch) -> tuple[jax.Array, Cursor]:
        features = encode(design, state, batch.inputs, params.encoder)[0].features
        inputs = inputs_of(cursor, features, batch)
        given = (begin(design, params, cursor), inputs, blank(design, batch))
        final, trace = unroll(design, params.cell, given)
        each = streams.losses(design.loss, decode(design, params, trace), batch)
        return jnp.sum(each), streams.onward(final, batch)

    return run
