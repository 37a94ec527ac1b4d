"""The yardstick: nearest prototypes on the same encoder, trained end to end.

Prototypical networks (Snell et al., 2017): logits are -scale · ‖f(x) - c_k‖² / D with
c_k the mean feature of class k; the scale is learned. It answers the learner's three
calls, so it trains and is tested by the same code, batch and budget as the memory
network.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp

from nmn_jax import builders, losses, presets, synthetic
from nmn_jax.feedback import Batch
from nmn_jax.learner import Learner, LearnerState, TrainState, apply
from nmn_jax.model import EpisodeRun
from nmn_jax.networks import Encoder

SCALE = 10.0


def logits(features: jax.Array, support: jax.Array, log_scale: jax.Array) -> jax.Array:
    """`[Q, C]` for one episode: features `[S + Q, D]`, support labels `[S, C]`."""
    stored, asked = features[: len(support)], features[len(support) :]
    prototypes = support.T @ stored / jnp.sum(support, axis=0)[:, None]
    apart = jnp.mean((asked[:, None] - prototypes[None]) ** 2, axis=-1)
    return -jnp.exp(log_scale) * apart


def _answer(
    encoder: Encoder, params: Any, stats: Any, batch: Batch, phase: str
) -> tuple[jax.Array, Any]:
    """Logits `[B, Q, C]` and the encoder's statistics."""
    features, stats = encoder.apply(
        params["encoder"], stats, batch.images,
        supports=batch.support.shape[1], phase=phase,
    )  # fmt: skip
    scale = params["log_scale"]
    return jax.vmap(logits, (0, 0, None))(features, batch.support, scale), stats


def make_learner(settings: presets.Settings, *, steps: int) -> Learner:
    """The yardstick with the encoder and optimiser of `settings`."""
    encoder = builders.make_encoder(settings.model)
    optimizer = presets.make_optimizer(settings.optim, settings.optim.lr, steps=steps)

    run = functools.partial(_answer, encoder)

    def init(key: jax.Array) -> LearnerState:
        params, stats = encoder.init(key)
        whole = {"encoder": params, "log_scale": jnp.log(jnp.asarray(SCALE))}
        network = TrainState(whole, optimizer.init(whole))
        return LearnerState(
            network,
            TrainState((), ()),
            stats,
            synthetic.init_scale(),
            jnp.zeros((), int),
        )

    def step(state: LearnerState, batch: Batch) -> tuple[LearnerState, dict]:
        def loss(params: Any) -> tuple:
            answers, stats = run(params, state.stats, batch, "train")
            return jnp.mean(losses.cross_entropy(answers, batch.query)), (
                answers,
                stats,
            )

        (value, (answers, stats)), grads = jax.value_and_grad(loss, has_aux=True)(
            state.network.params
        )
        network = apply(optimizer, state.network, grads)
        accuracy = jnp.mean(losses.accuracy(answers, batch.query))
        after = state._replace(network=network, stats=stats, step=state.step + 1)
        return after, {"loss": value, "accuracy": accuracy}

    return Learner(init, step, functools.partial(_predict, encoder))


def _predict(encoder: Encoder, state: LearnerState, batch: Batch) -> EpisodeRun:
    """Answers alone: there is no memory whose trace could be shown."""
    params, nothing = state.network.params, cast(Any, None)
    answers, _ = _answer(encoder, params, state.stats, batch, "test")
    return EpisodeRun(answers, nothing, nothing)
