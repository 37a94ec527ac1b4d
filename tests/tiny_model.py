"""Small models and episodes around the cells of `tiny`."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from tiny import C, D, blank, drawn, filled, make_cell, normal, one_hot

from nmn_jax import feedback, networks, synthetic
from nmn_jax import learner as learner_lib
from nmn_jax import model as model_lib

SIDE = 2


def dense_encoder() -> networks.Encoder:
    """tanh of a dense layer instead of convolutions; its statistic counts batches."""
    dense = networks.make_dense(D)

    def init(key, image_shape=(SIDE, SIDE)):
        return dense.init(key, image_shape[0] * image_shape[1]), jnp.zeros(())

    def apply(params, stats, images, *, supports, phase):
        del supports
        flat = images.reshape(*images.shape[:2], -1)
        return jnp.tanh(dense.apply(params, flat)), stats + (phase == "train")

    return networks.Encoder(init, apply, D)


def make_model(
    kinds: Any = "stateless", *, presentations: int = 1, **options: Any
) -> model_lib.Model:
    """A whole model around `make_cell`."""
    cell = make_cell(kinds, **options)
    dense = networks.make_dense(C)
    return model_lib.Model(dense_encoder(), cell, dense, C, presentations)


def model_params(seed: int, model: model_lib.Model) -> model_lib.ModelParams:
    """Parameters of a model nowhere near their start."""
    params, _ = drawn(seed, functools.partial(model_lib.init, model))
    rows = filled(seed + 1, params.cell.memory.rows, 1.0)
    return params._replace(cell=tiny.with_rows(params.cell, rows))


def make_batch(
    seed: int, *, episodes: int = 2, shots: int = 1, queries: int = 2
) -> feedback.Batch:
    """C-way episodes; `queries` per class, images unlike each other."""
    supports, asked = C * shots, C * queries
    draw = np.random.default_rng(seed)

    def labels(count: int) -> jax.Array:
        return one_hot([draw.permutation(count) % C for _ in range(episodes)])

    images = normal(seed + 1, episodes, supports + asked, SIDE, SIDE)
    return feedback.Batch(images, labels(supports), labels(asked))


def make_feedback(core: str = "residual", **options: Any) -> feedback.Feedback:
    """A feedback path by the predictor's name."""
    return feedback.Feedback(synthetic.PREDICTORS[core](), **options)


def learner_state(
    seed: int, learner: learner_lib.Learner, model: model_lib.Model, scale: float = 0.3
) -> learner_lib.LearnerState:
    """A state before its first step; `scale` is that of predictors and fast rates."""
    state = blank(jax.eval_shape(learner.init, jax.random.key(0)))
    network = state.network._replace(params=model_params(seed, model))
    fed = filled(seed + 2, state.synthetic.params, scale)
    return state._replace(
        network=network, synthetic=state.synthetic._replace(params=fed)
    )
