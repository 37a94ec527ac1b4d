"""Small models, tasks, batches and methods around the cells of `tiny`."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny
from tiny import C, D, blank, drawn, filled, make_cell, normal, one_hot

from nmn_jax import losses
from nmn_jax import model as model_lib
from nmn_jax.feedback import pipeline, predictors
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.methods import episode_pass, nmn, nmn_stream
from nmn_jax.methods.base import Method
from nmn_jax.methods.episode_pass import Design
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.nets import encoder, leaves
from nmn_jax.tasks.base import Batch, Context, Spec, StreamBatch, Task
from nmn_jax.types import PerController

SIDE = 2
SGD = optax.sgd(1.0)
STILL = optax.set_to_zero()


def make_task(form: str = "episodes", *, kind: str = "classification") -> Task:
    """A task of C targets without data of its own; regression has squared error."""
    spec = Spec(form, kind, (SIDE, SIDE), C)
    if kind == "regression":
        return Task(spec, _no_data, losses.squared_error, losses.regression_scores)
    return Task(spec, _no_data, losses.cross_entropy, losses.class_scores)


def _no_data(key: jax.Array, step: jax.Array, source: Any) -> Any:
    raise AssertionError("these tests hand their batches over")


def dense_encoder() -> encoder.Encoder:
    """tanh of a dense layer instead of convolutions; its statistic counts batches."""
    dense = leaves.make_dense(D)

    def init(key, image_shape=(SIDE, SIDE)):
        return dense.init(key, image_shape[0] * image_shape[1]), jnp.zeros(())

    def apply(params, stats, images, *, supports, phase):
        del supports
        flat = images.reshape(*images.shape[:2], -1)
        return jnp.tanh(dense.apply(params, flat)), stats + (phase == "train")

    return encoder.Encoder(init, apply, D)


def make_model(
    kinds: Any = "stateless", *, presentations: int = 1, **options: Any
) -> model_lib.Model:
    """A whole model around `make_cell`."""
    cell = make_cell(kinds, **options)
    dense = leaves.make_dense(C)
    return model_lib.Model(dense_encoder(), cell, dense, C, presentations)


def model_params(seed: int, model: model_lib.Model) -> model_lib.ModelParams:
    """Parameters of a model nowhere near their start."""
    params, _ = drawn(seed, functools.partial(model_lib.init, model))
    rows = filled(seed + 1, params.cell.memory.rows, 1.0)
    return params._replace(cell=tiny.with_rows(params.cell, rows))


def make_batch(
    seed: int, *, episodes: int = 2, shots: int = 1, queries: int = 2
) -> Batch:
    """C-way episodes; `queries` per class, images unlike each other."""
    supports, asked = C * shots, C * queries
    draw = np.random.default_rng(seed)

    def labels(count: int) -> jax.Array:
        return one_hot([draw.permutation(count) % C for _ in range(episodes)])

    images = normal(seed + 1, episodes, supports + asked, SIDE, SIDE)
    context = Context(images[:, :supports], labels(supports))
    return Batch(context, images[:, supports:], labels(asked))


def with_targets(batch: Batch, targets: jax.Array) -> Batch:
    """The batch with other targets in its context."""
    return batch._replace(context=batch.context._replace(targets=targets))


def a_window(seed: int, steps: int) -> StreamBatch:
    """Examples of a stream whose classes come one after the other."""
    images = normal(seed, steps, SIDE, SIDE)
    return StreamBatch(images, one_hot(np.arange(seed, seed + steps) % C))


def make_sg(core: str = "residual", **options: Any) -> sg_lib.SG:
    """A second feedback path by the predictor's name."""
    return sg_lib.SG(predictors.PREDICTORS[core](), **options)


def make_design(
    model: model_lib.Model, sg: sg_lib.SG | None = None, task: Task | None = None
) -> Design:
    """What an episode's method is made of."""
    return Design(model, sg or make_sg(), (task or make_task()).loss)


def make_method(
    design: Design, network: Any = SGD, sg: Any = SGD, *, task: Task | None = None
) -> Method:
    """The method of a design, with plain gradient steps of rate one unless told."""
    return nmn.make_method(design, task or make_task(), (network, sg))


def make_stream_method(
    design: StreamDesign, network: Any = SGD, sg: Any = SGD, *, task: Task | None = None
) -> Method:
    """As `make_method`, for a stream."""
    return nmn_stream.make_method(design, task or make_task("stream"), (network, sg))


def method_state(
    seed: int, method: Method, model: model_lib.Model, scale: float = 0.3
) -> Any:
    """A state before its first step; `scale` is that of predictors and fast rates."""
    state = blank(jax.eval_shape(method.init, jax.random.key(0)))
    network = state.network._replace(params=model_params(seed, model))
    learned = filled(seed + 2, state.sg.params, scale)
    return state._replace(network=network, sg=state.sg._replace(params=learned))


def drawn_state(method: Method) -> Any:
    """A stream's state nowhere near its start, zero-initialised layers included."""
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    state = filled(0, shapes)
    state = state._replace(starts=jnp.zeros_like(state.starts))
    return state._replace(scale=blank(shapes.scale), step=jnp.zeros((), jnp.int32))


def predictors_of(core: str) -> tuple[predictors.Predictor, PerController]:
    """A predictor with parameters of its own for every controller."""
    predictor = predictors.PREDICTORS[core]()
    one = drawn(1, predictor.init, tiny.K, C)
    return predictor, PerController(*(filled(seed, one) for seed in range(3)))


def two_speeds(design: Design) -> Any:
    """`(state, batch) -> Gradients` of a step in training."""

    def run(state: Any, batch: Batch) -> pipeline.Gradients:
        way = episode_pass.make_pass(design, state, batch, "train")
        return pipeline.two_speeds(design.sg, state, way)

    return run
