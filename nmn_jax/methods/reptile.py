"""Reptile: move the weights towards where gradient steps on a task take them.

Nichol, Achiam & Schulman (2018): θ ← θ + ε (mean over tasks of φ_i - θ), φ_i the
weights after a few steps of Adam (β₁ = 0) on mini-batches of task i. Nothing is
differentiated twice, and a task in training has no queries: whatever is labelled is
learned from, so its shots are those of the context and of the queries. As in the
authors' code the second moments of the inner Adam go on from task to task and into the
test; of tasks side by side their mean does.

Images are always normalised by their own batch. `reptile.queries` says who is in it at
test time: `alone`, a query with the support set, as in the headline numbers, or
`together`, all queries of an episode, which makes the answers transductive.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax.feedback.inner_loop import optimise
from nmn_jax.methods import maml, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.maml import Variant, mean_loss, per_task
from nmn_jax.settings import override
from nmn_jax.settings.records import Settings
from nmn_jax.settings.rivals import ReptileSettings
from nmn_jax.tasks.base import Batch, Context, Task
from nmn_jax.types import TrainState

REPTILE = Variant("reptile")
# Of Adam's second moment, as everywhere.
DECAY, EPSILON = 0.999, 1e-8


class ReptileState(NamedTuple):
    """Everything that changes from step to step.

    network: with the state of the outer step size, which answering does not need
    moments: of the inner Adam, which go on into the test
    """

    network: TrainState
    moments: Any
    step: jax.Array  # []


class Design(NamedTuple):
    """The parts of the method: MAML's, whose optimiser is the outer one, the inner
    optimiser, and settings."""

    network: maml.Design
    inner: optax.GradientTransformation
    settings: ReptileSettings


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """Reptile with the encoder of `settings`.

    Raises:
      ValueError: for inputs that have no encoder.
    """
    given = settings.reptile
    own = override(settings, model={"norm": "batch"})
    outer = optax.sgd(optax.linear_schedule(given.outer, 0.0, steps))
    design = Design(
        maml.make_parts(REPTILE, own, task, steps=steps)._replace(optimizer=outer),
        make_inner(given.rate),
        given,
    )
    return Method(
        functools.partial(_init, design),
        functools.partial(_step, design),
        functools.partial(_predict, design),
        parts.slim,
        functools.partial(_adapt, design),
        {
            "method": "reptile",
            "norm": "batch" if given.queries == "together" else "support and query",
            "inner loop": f"{given.steps} x {given.rate:g} (Adam) of {given.batch}, "
            f"{given.test_steps} at test",
        },
        given.queries == "together",
    )


def make_inner(rate: float) -> optax.GradientTransformation:
    """Adam with β₁ = 0, elementwise: of tasks side by side, each has its own."""
    return optax.chain(
        optax.scale_by_rms(DECAY, EPSILON, eps_in_sqrt=False, bias_correction=True),
        optax.scale(-rate),
    )


def published(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    """Card 8, the authors' configurations of Omniglot; pooling in place of strides."""
    del shots
    few = ways <= 5
    return {
        "model": {"layers": 4},
        "reptile": {
            "steps": 5 if few else 10,
            "rate": 1e-3 if few else 5e-4,
            "batch": 10 if few else 20,
        },
    }


ENTRY = Entry(
    make, "episodes", ("model.channels", "model.layers", "reptile"), published
)


def _init(design: Design, key: jax.Array) -> ReptileState:
    encoder_key, head_key = jax.random.split(key)
    params, _ = design.network.encoder.init(encoder_key)
    head = design.network.head.init(head_key, design.network.encoder.width)
    whole = {"encoder": params, "head": head}
    network = TrainState(whole, design.network.optimizer.init(whole))
    state = ReptileState(network, design.inner.init(whole), jnp.zeros((), jnp.int32))
    return parts.own_buffers(state)


def in_turn(context: Context, steps: int, size: int) -> Context:
    """Mini-batches `[J, B, size, ...]`: the examples of each task in turn, and from the
    start again where they end. Their order is that of the draw, which is random."""
    count = context.inputs.shape[1]
    each = min(size, count)
    places = jnp.arange(steps * each).reshape(steps, each) % count
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf[:, places], 1, 0), context)


def learned(
    design: Design, state: ReptileState, context: Context, steps: int
) -> tuple[Any, Any]:
    """Weights of every task after so many inner steps, and the inner optimiser's
    state, whose moments are those of every task too."""
    network, tasks = design.network, len(context.inputs)

    def loss(params: Any, batch: Context) -> jax.Array:
        outputs = maml.outputs(network, params, batch.inputs, batch.inputs.shape[1])
        return jnp.sum(mean_loss(network, outputs, batch.targets))

    start = jax.tree.map(
        lambda leaf: per_task(leaf, tasks) if leaf.ndim else leaf, state.moments
    )
    batches = in_turn(context, steps, design.settings.batch)
    start = per_task(state.network.params, tasks), start
    return optimise(loss, start, batches, optimizer=design.inner)


def _step(
    design: Design, state: ReptileState, batch: Batch
) -> tuple[ReptileState, dict[str, jax.Array]]:
    whole = everything(batch)
    after, moments = learned(design, state, whole, design.settings.steps)
    # What the outer optimiser descends is how far the tasks' weights are from θ.
    apart = jax.tree.map(
        lambda theta, phi: theta - phi.mean(axis=0), state.network.params, after
    )
    network = parts.descend(design.network.optimizer, state.network, apart)
    moments = jax.tree.map(
        lambda kept, new: new.mean(axis=0) if kept.ndim else new,
        state.moments, moments,
    )  # fmt: skip
    answers = maml.outputs(design.network, after, whole.inputs, whole.inputs.shape[1])
    loss = jnp.mean(mean_loss(design.network, answers, whole.targets))
    scores = parts.mean_scores(design.network.task, answers, whole.targets)
    return ReptileState(network, moments, state.step + 1), {"loss": loss, **scores}


def everything(batch: Batch) -> Context:
    """All that is labelled while training."""
    context = batch.context
    return Context(
        jnp.concatenate([context.inputs, batch.queries], axis=1),
        jnp.concatenate([context.targets, batch.answers], axis=1),
    )


def _predict(
    design: Design, state: ReptileState, context: Context, queries: jax.Array
) -> Answer:
    params, _ = learned(design, state, context, design.settings.test_steps)
    if design.settings.queries == "together":
        count = queries.shape[1]
        return Answer(maml.outputs(design.network, params, queries, count), {})

    def alone(query: jax.Array) -> jax.Array:
        inputs = jnp.concatenate([context.inputs, query[:, None]], axis=1)
        return maml.outputs(design.network, params, inputs, inputs.shape[1])[:, -1]

    answers = jax.lax.map(alone, jnp.moveaxis(queries, 1, 0))
    return Answer(jnp.moveaxis(answers, 0, 1), {})


def _adapt(
    design: Design, state: ReptileState, context: Context, steps: int
) -> ReptileState:
    after, moments = learned(design, state, context, steps)
    params = jax.tree.map(lambda leaf: leaf[0], after)
    moments = jax.tree.map(
        lambda kept, new: new[0] if kept.ndim else new, state.moments, moments
    )
    network = state.network._replace(params=params)
    return state._replace(network=network, moments=moments)
