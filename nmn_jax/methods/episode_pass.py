"""A batch of episodes on its way through a neural memory network, and its pass."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import model as model_lib
from nmn_jax.feedback import fast as fast_lib
from nmn_jax.feedback import pipeline, predictors
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.feedback.pipeline import Guidance, Layout, Learning, Pass
from nmn_jax.feedback.sources import Cue
from nmn_jax.model import EpisodeRun, Model, ModelParams
from nmn_jax.tasks import episodes
from nmn_jax.tasks.base import Batch, Context, Loss
from nmn_jax.types import Inputs, PerController, Stages


class Design(NamedTuple):
    """What a neural memory network is made of: its parts, its second feedback path, and
    the loss of the task it is for."""

    model: Model
    sg: sg_lib.SG
    loss: Loss


def encode(
    design: Design, state: Any, batch: Batch, phase: str
) -> tuple[jax.Array, Any]:
    """Features `[B, S + Q, D]` of all inputs, supports first, and the statistics."""
    inputs = jnp.concatenate([batch.context.inputs, batch.queries], axis=1)
    return design.model.encoder.apply(
        state.network.params.encoder, state.stats, inputs,
        supports=batch.context.inputs.shape[1], phase=phase,
    )  # fmt: skip


def make_pass(design: Design, state: Any, batch: Batch, phase: str) -> Pass:
    """What the pipeline has to know of a batch of episodes."""

    def encoded(encoder: Any) -> tuple[jax.Array, Any]:
        network = state.network
        params = network.params._replace(encoder=encoder)
        moved = state._replace(network=network._replace(params=params))
        return encode(design, moved, batch, phase)

    shown = jax.vmap(functools.partial(model_lib.presented, design.model))(
        batch.context.targets
    )
    return Pass(
        encoded,
        functools.partial(_forward, design, state, batch),
        zero_probes(design.model, batch),
        _layout(*batch.answers.shape[:2]),
        lambda run: Stages(run.support.trace.outputs, run.query.outputs),
        functools.partial(_predict, design, batch),
        functools.partial(_replay, design.model),
        jnp.concatenate([shown, batch.answers], axis=1),
        whole=True,
    )


def zero_probes(model: Model, batch: Batch) -> Stages:
    """Zero probes `[B, T, K]` for a batch of episodes."""
    count, supports = batch.context.inputs.shape[:2]
    one = model_lib.zero_probes(
        model, supports, batch.queries.shape[1], batch.context.targets.dtype
    )
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), one)


def _forward(design: Design, state: Learning, batch: Batch, *given: Any) -> tuple:
    """Mean query loss of the batch, for `(guidance, params, features, probes)`."""
    guidance, (network, sg_params), features, probes = given
    run = run_batch(
        design, (network, sg_params, state), (features, batch.context), probes,
        guidance=guidance,
    )  # fmt: skip
    losses = jax.vmap(jax.vmap(design.loss))(run.outputs, batch.answers)
    return jnp.mean(losses), run


def run_batch(
    design: Design,
    who: tuple[ModelParams, sg_lib.SGParams, Learning],
    given: tuple[jax.Array, Context],
    probes: Stages,
    *,
    guidance: Guidance,
) -> EpisodeRun:
    """All episodes of a batch.

    Args:
      who: parameters of the network and of the second feedback path, and the state
        whose running scale gives predictions their units.
      given: features `[B, S + Q, D]`, and the context they begin with.
      probes: `[B, T, K]` each.
    """
    network, _, _ = who
    features, context = given
    make_support = _support_passes(design, who, guidance)
    supports = context.inputs.shape[1]

    def one(features: Any, targets: Any, cue: Cue, probes: Stages) -> EpisodeRun:
        episode = model_lib.Episode(features[:supports], targets, features[supports:])
        return model_lib.run_episode(
            design.model, network, episode,
            support_pass=make_support(cue), probes=probes,
        )  # fmt: skip

    targets = guidance.control.targets(context.targets)
    shown = jax.vmap(functools.partial(model_lib.presented, design.model))(targets)
    cue = Cue(shown, guidance.truth)
    return jax.vmap(one)(features, context.targets, cue, probes)


def _support_passes(design: Design, who: tuple, guidance: Guidance) -> Any:
    """`(Cue of one episode) -> SupportPass`: slow, or adapting on the way."""
    network, sg_params, state = who
    if design.sg.fast is None:
        slow = model_lib.slow_support(design.model)
        return lambda cue: slow

    def step_loss(output: jax.Array, target: jax.Array) -> jax.Array:
        answer = design.model.decoder.apply(network.decoder, output)
        return design.loss(answer, target)

    oracle = sg_lib.StepOracle(step_loss, design.sg.scale(state.scale))
    adaptation = sg_lib.make_adaptation(
        design.sg, design.model.cell, sg_params,
        control=guidance.control, oracle=oracle,
    )  # fmt: skip
    return lambda cue: fast_support(design.model, adaptation, cue)


def fast_support(
    model: Model, adaptation: fast_lib.Adaptation, cue: Cue
) -> model_lib.SupportPass:
    """Support steps that adapt the controllers by the fast path."""

    def run(
        params: ModelParams, inputs: Inputs, probes: PerController
    ) -> model_lib.Support:
        state, weights, trace = fast_lib.unroll(
            adaptation, params.cell, model.cell.initial_state(params.cell), inputs,
            cue=cue, probes=probes,
        )  # fmt: skip
        merged = fast_lib.merge(params.cell.controllers, weights.controllers)
        return model_lib.Support(state, merged, trace)

    return run


def answer(design: Design, state: Any, context: Context, queries: jax.Array) -> Any:
    """`EpisodeRun` of a batch under what was learned; nothing changes.

    An oracle that needs the true cotangents finds them by asking the context back: the
    right answers to the queries are not known here.
    """
    batch = Batch(context, queries, _unknown(context, queries))
    features, _ = encode(design, state, batch, "test")
    known = make_pass(design, state, episodes.ask_back(context), "test")
    guidance = pipeline.guide(
        design.sg, state, known, lambda: known.encode(state.network.params.encoder)[0]
    )
    who = (state.network.params, state.sg.params, state)
    return run_batch(
        design, who, (features, context), zero_probes(design.model, batch),
        guidance=guidance,
    )  # fmt: skip


def _unknown(context: Context, queries: jax.Array) -> jax.Array:
    """Answers of the right shape that say nothing."""
    shape = (*queries.shape[:2], context.targets.shape[-1])
    return jnp.zeros(shape, context.targets.dtype)


def _layout(episodes: int, queries: int) -> Layout:
    """Support cotangents become those of one episode's mean loss, query cotangents
    those of one query's: neither depends on how many are asked."""
    support, query = (
        PerController(*([float(count)] * 3)) for count in (episodes, episodes * queries)
    )
    return Layout(
        concat_stages, split_stages, Stages(support, query), lambda probes: probes[0]
    )


def concat_stages(stages: Stages) -> PerController:
    """Support and query steps as one axis; the write controller has no query steps."""
    support, query = stages
    return PerController(
        jnp.concatenate([support.input, query.input], axis=1),
        jnp.concatenate([support.output, query.output], axis=1),
        support.write,
    )


def split_stages(whole: PerController) -> Stages:
    """The inverse of `concat_stages`: queries give the write controller nothing."""
    steps = whole.write.shape[1]
    queries = PerController(whole.input[:, steps:], whole.output[:, steps:], None)
    return Stages(
        PerController(whole.input[:, :steps], whole.output[:, :steps], whole.write),
        queries._replace(write=jnp.zeros_like(queries.output)),
    )


def _predict(
    design: Design, batch: Batch, learned: PerController, outputs: Stages
) -> PerController:
    """ĝ in normalised units at every recorded controller output, `[B, T + Q, K]`."""
    predictor = design.sg.predictor

    def one(outputs: Stages, targets: jax.Array, answers: jax.Array) -> Stages:
        finals, first = predictors.predict(
            predictor, learned, outputs.support,
            model_lib.presented(design.model, targets),
            start=predictors.carries(predictor, design.model.cell.width),
        )  # fmt: skip
        second = predictors.predict_ask(
            predictor, learned, outputs.query, answers, start=finals
        )
        return Stages(first, second)

    return concat_stages(jax.vmap(one)(outputs, batch.context.targets, batch.answers))


def _replay(model: Model, run: EpisodeRun, controllers: PerController) -> Stages:
    """Outputs of the controllers alone, on what the whole batch gave them.

    Nobody sees what a query would write, so nothing is replayed there.
    """
    outputs = model_lib.replay_episodes(
        model, controllers, run.support.trace, run.query
    )
    unseen = jnp.zeros_like(outputs.query.write)
    return outputs._replace(query=outputs.query._replace(write=unseen))
