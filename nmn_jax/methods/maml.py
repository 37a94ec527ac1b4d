"""Adapt by gradient steps on the context, and learn where they start.

MAML (Finn et al., 2017) adapts encoder and head, ANIL (Raghu et al., 2020) the head
alone, and Meta-SGD (Li et al., 2017) learns a step size for every parameter as well.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from nmn_jax.feedback import plumbing
from nmn_jax.feedback.inner_loop import inner_loop
from nmn_jax.methods import parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.nets import leaves
from nmn_jax.nets.encoder import KEPT, Encoder
from nmn_jax.settings import builders
from nmn_jax.settings.records import Settings
from nmn_jax.settings.rivals import MamlSettings
from nmn_jax.tasks.base import Batch, Context, Task
from nmn_jax.types import Network, TrainState


class MamlState(NamedTuple):
    """Everything that changes from step to step."""

    network: TrainState
    step: jax.Array  # []


class Variant(NamedTuple):
    """What tells MAML's kin apart.

    name: in tables
    adapted: names of what the inner loop moves, of `encoder` and `head`
    rates: whether a step size for every number is learned
    """

    name: str
    adapted: tuple[str, ...] = ("encoder", "head")
    rates: bool = False


class Design(NamedTuple):
    """What a method of this kind is made of.

    encoder: of tasks, every leaf of its parameters has an axis of tasks
    transductive: whether queries are normalised by their own statistics
    """

    encoder: Encoder
    head: Network
    optimizer: optax.GradientTransformation
    task: Task
    settings: MamlSettings
    transductive: bool
    variant: Variant


MAML = Variant("maml")
ANIL = Variant("anil", adapted=("head",))
META_SGD = Variant("meta-sgd", rates=True)


def make(variant: Variant, settings: Settings, task: Task, *, steps: int) -> Method:
    """One of MAML's kin with the encoder and optimiser of `settings`.

    Raises:
      ValueError: as `make_design`.
    """
    design = make_design(variant, settings, task, steps=steps)
    return Method(
        functools.partial(_init, design),
        functools.partial(_step, design),
        functools.partial(_predict, design),
        parts.slim,
        functools.partial(_adapt, design),
        columns(design, settings),
        design.transductive,
    )


def make_design(
    variant: Variant, settings: Settings, task: Task, *, steps: int
) -> Design:
    """The parts of `make`.

    Raises:
      ValueError: for a `model.norm` that keeps an average: it would be of other
        weights than the adapted ones.
    """
    if settings.model.norm in KEPT:
        raise ValueError(
            f"model.norm={settings.model.norm!r} with method {variant.name!r}: an "
            "average over tasks is of other weights than a task's own; choose 'batch' "
            "(transductive, as published) or 'support'"
        )
    return make_parts(variant, settings, task, steps=steps)


def make_parts(
    variant: Variant, settings: Settings, task: Task, *, steps: int
) -> Design:
    """The parts of any method that adapts by gradient steps, whatever its norm."""
    return Design(
        builders.make_task_encoder(settings.model, task.spec.input_shape),
        leaves.make_dense(task.spec.targets),
        builders.make_optimizer(settings.optim, settings.optim.lr, steps=steps),
        task,
        settings.maml,
        settings.model.norm == "batch",
        variant,
    )


def columns(design: Design, settings: Settings) -> dict[str, str]:
    """How tables name it."""
    given = design.settings
    return {
        "method": design.variant.name,
        "norm": settings.model.norm,
        "inner loop": f"{given.steps} x {given.rate:g}, {given.order} order, "
        f"{given.test_steps} at test",
    }


def published(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    """Card 4.1: four blocks, batch statistics, Adam 1e-3; the inner loop by ways."""
    del shots
    few = ways <= 5
    return {
        "model": {"layers": 4, "norm": "batch"},
        "optim": {"lr": 1e-3, "schedule": "constant", "clip": 0.0},
        "maml": {
            "steps": 1 if few else 5,
            "test_steps": 3 if few else 5,
            "rate": 0.4 if few else 0.1,
        },
    }


# Convolutions with a kernel for every task are in the precision of the kernels.
USES = (*parts.ENCODER_AND_OPTIMIZER, "-model.precision")


def _entry(variant: Variant) -> Entry:
    uses = (*USES, "maml")
    return Entry(functools.partial(make, variant), "episodes", uses, published)


ENTRIES = {
    "maml": _entry(MAML),
    "anil": _entry(ANIL),
    "meta_sgd": _entry(META_SGD),
}


def _init(design: Design, key: jax.Array) -> MamlState:
    encoder_key, head_key = jax.random.split(key)
    params, _ = design.encoder.init(encoder_key)
    whole = {
        "encoder": params,
        "head": design.head.init(head_key, design.encoder.width),
    }
    if design.variant.rates:
        rate = design.settings.rate
        whole["rates"] = jax.tree.map(lambda leaf: jnp.full_like(leaf, rate), whole)
    network = TrainState(whole, design.optimizer.init(whole))
    return parts.own_buffers(MamlState(network, jnp.zeros((), jnp.int32)))


def per_task(tree: Any, tasks: int) -> Any:
    """The same for every task: an axis of tasks in front of every leaf."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (tasks, *leaf.shape)), tree)


def outputs(design: Design, params: Any, inputs: jax.Array, counted: int) -> Any:
    """`[B, I, C]` by parameters of every task; the first `counted` inputs normalise."""
    features, _ = design.encoder.apply(
        params["encoder"], (), inputs, supports=counted, phase="train"
    )
    return jax.vmap(design.head.apply)(params["head"], features)


def mean_loss(design: Design, outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """`[B]`, means over the examples of a task."""
    return jax.vmap(jax.vmap(design.task.loss))(outputs, targets).mean(axis=1)


def _adapted(design: Design, params: Any, context: Context, steps: int) -> Any:
    """Parameters of every task after so many steps on its context."""
    given, tasks = design.settings, len(context.inputs)
    each = per_task({name: params[name] for name in ("encoder", "head")}, tasks)
    moved = {name: each[name] for name in design.variant.adapted}
    rates: Any = given.rate
    if design.variant.rates:
        rates = {name: params["rates"][name] for name in moved}
        rates = per_task(rates, tasks)

    def loss(moved: Any, context: Context) -> jax.Array:
        said = outputs(
            design, {**each, **moved}, context.inputs, context.inputs.shape[1]
        )
        return jnp.sum(mean_loss(design, said, context.targets))

    after = inner_loop(
        loss, moved, context,
        rates=rates, steps=steps, order=given.order, keep=given.keep,
    )  # fmt: skip
    return {**each, **after}


def _answer(
    design: Design, params: Any, asked: tuple[Context, jax.Array], steps: int
) -> jax.Array:
    """Outputs `[B, Q, C]` after so many steps on every context."""
    context, queries = asked
    each = _adapted(design, params, context, steps)
    if design.transductive:
        return outputs(design, each, queries, queries.shape[1])
    supports = context.inputs.shape[1]
    inputs = jnp.concatenate([context.inputs, queries], axis=1)
    return outputs(design, each, inputs, supports)[:, supports:]


def slow_loss(design: Design, params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The loss of the queries after the inner loop, and their outputs `[B, Q, C]`."""
    asked = batch.context, batch.queries
    answers = _answer(design, params, asked, design.settings.steps)
    return jnp.mean(mean_loss(design, answers, batch.answers)), answers


def _step(
    design: Design, state: MamlState, batch: Batch
) -> tuple[MamlState, dict[str, jax.Array]]:
    value, answers, grads = plumbing.gradient(
        lambda params: slow_loss(design, params, batch), state.network.params
    )
    network = parts.descend(design.optimizer, state.network, grads)
    scores = parts.mean_scores(design.task, answers, batch.answers)
    return MamlState(network, state.step + 1), {"loss": value, **scores}


def _predict(
    design: Design, state: MamlState, context: Context, queries: jax.Array
) -> Answer:
    steps = design.settings.test_steps
    output = _answer(design, state.network.params, (context, queries), steps)
    return Answer(output, {})


def _adapt(design: Design, state: MamlState, context: Context, steps: int) -> MamlState:
    params = state.network.params
    after = _adapted(design, params, context, steps)
    alone = jax.tree.map(lambda leaf: leaf[0], after)
    return state._replace(network=state.network._replace(params={**params, **alone}))
