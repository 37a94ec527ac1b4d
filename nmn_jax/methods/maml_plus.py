"""MAML++ (Antoniou, Edwards & Storkey, 2019): MAML made to train well.

Its parts, each of which can be left out: queries answered after every inner step, with
weights that move to the last one (multi-step loss); first-order gradients at the start
of training (derivative-order annealing); gain and bias, and average statistics, of the
norm for every inner step; a learned step size for every tensor and inner step. Its
cosine schedule of the outer rate is `optim.schedule`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.feedback import plumbing
from nmn_jax.feedback.inner_loop import KEEPS, inner_step
from nmn_jax.methods import maml, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.maml import Design, Variant, mean_loss, per_task
from nmn_jax.nets.encoder import KEPT, Block
from nmn_jax.settings.records import Settings
from nmn_jax.settings.rivals import MamlPlusSettings, MamlSettings
from nmn_jax.tasks.base import Batch, Context, Task
from nmn_jax.types import TrainState

MAML_PLUS = Variant("maml++")
NORMS = ("batch", "episode")
# The weight of no step falls below this share of an even one while it falls.
LEAST = 0.03


class PlusState(NamedTuple):
    """Everything that changes from step to step.

    stats: of the encoder's norm, one for every inner step, or `()` each
    """

    network: TrainState
    stats: tuple[Any, ...]
    step: jax.Array  # []


class Plus(NamedTuple):
    """The parts of the method."""

    design: Design
    settings: MamlPlusSettings
    keeps: bool  # whether the norm keeps statistics


class Inner(NamedTuple):
    """What the inner loop starts from, and how it goes.

    order: of inner gradients, `first` or `second`
    phase: `train` or `test`, for the norm
    """

    params: Any
    stats: tuple[Any, ...]
    order: str
    phase: str


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """MAML++ with the encoder and optimiser of `settings`.

    Raises:
      ValueError: if answering takes another number of steps than training: they would
        have no rates and statistics of their own; for another `model.norm` than 'batch'
        and 'episode'; for annealing to a second order that is never used.
    """
    given, norm = settings.maml, settings.model.norm
    if given.test_steps != given.steps:
        raise ValueError(
            f"maml.test_steps={given.test_steps} with maml.steps={given.steps}: every "
            "inner step of maml++ has rates and a norm of its own; give both alike"
        )
    if norm not in NORMS:
        raise ValueError(
            f"model.norm={norm!r} with method 'maml++': choose 'batch' (transductive, "
            "as the authors' code has it) or 'episode' (averages of every inner step)"
        )
    check_orders(settings)
    parted = maml.make_parts(MAML_PLUS, settings, task, steps=steps)
    plus = Plus(parted, settings.maml_plus, norm in KEPT)
    return Method(
        functools.partial(_init, plus),
        functools.partial(_step, plus),
        functools.partial(_predict, plus),
        parts.slim,
        None,
        {**maml.columns(parted, settings), "multi-step": told(settings.maml_plus)},
        norm == "batch",
    )


def check_orders(settings: Settings) -> None:
    """Raises ValueError for annealing to a second order that is never used."""
    if settings.maml_plus.first_order and settings.maml.order == "first":
        raise ValueError(
            f"maml_plus.first_order={settings.maml_plus.first_order} with maml.order="
            "'first': there is no second order to move to; leave one of them out"
        )


def told(settings: MamlPlusSettings, *, norms: bool = True) -> str:
    """What else is at work, for tables."""
    named = [
        f"loss {settings.multi_step}" if settings.multi_step else "",
        f"first order {settings.first_order}" if settings.first_order else "",
        f"norm {settings.norm_parameters}" if norms else "",
        f"rates {settings.rates}",
    ]
    return ", ".join(filter(None, named))


def published(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    """Card 4.3, the authors' configurations of Omniglot."""
    del ways, shots
    return {
        "model": {"layers": 4, "norm": "batch"},
        "optim": {"lr": 1e-3, "schedule": "cosine", "clip": 0.0},
        "maml": {"steps": 5, "test_steps": 5, "rate": 0.1},
    }


ENTRY = Entry(make, "episodes", (*maml.USES, "maml", "maml_plus"), published)


def _init(plus: Plus, key: jax.Array) -> PlusState:
    design, steps = plus.design, plus.design.settings.steps
    encoder_key, head_key = jax.random.split(key)
    blocks, stats = design.encoder.init(encoder_key)
    each = steps if plus.settings.norm_parameters == "per_step" else 1
    head = design.head.init(head_key, design.encoder.width)
    whole = {
        "kernels": tuple(block.kernel for block in blocks),
        "gains": jnp.stack([jnp.stack([block.gain for block in blocks])] * each),
        "biases": jnp.stack([jnp.stack([block.bias for block in blocks])] * each),
        "head": head,
    }
    if plus.settings.rates == "learned":
        moved = {"kernels": whole["kernels"], "head": head}
        rate = jnp.full((steps,), design.settings.rate)
        whole["rates"] = jax.tree.map(lambda leaf: rate, moved)
    network = TrainState(whole, design.optimizer.init(whole))
    state = PlusState(network, (stats,) * steps, jnp.zeros((), jnp.int32))
    return parts.own_buffers(state)


def step_weights(step: jax.Array, *, steps: int, until: int) -> jax.Array:
    """Weight of the queries' loss after every inner step, `[J]`, sums to one.

    Even at first; until training step `until` every weight but the last falls in
    proportion, though not below 0.03 / J, and the last takes up what they lose. From
    `until` on, or with `until` 0, the last counts alone.
    """
    last = jnp.zeros((steps,)).at[-1].set(1.0)
    if not until:
        return last
    even = 1 / steps
    others = jnp.maximum(even * (1 - step / until), even * LEAST)
    weights = jnp.full((steps,), others).at[-1].set(1 - (steps - 1) * others)
    return jnp.where(step < until, weights, last)


def _outputs(
    plus: Plus, inner: Inner, asked: tuple[Any, jax.Array, int]
) -> tuple[jax.Array, Any]:
    """`[B, I, C]` with the norm of inner step j, and its statistics.

    Args:
      asked: adapted parameters of every task, inputs `[B, I, ...]`, and j.
    """
    moved, inputs, step = asked
    own = min(step, len(inner.params["gains"]) - 1)
    tasks = len(inputs)
    norms = zip(
        moved["kernels"],
        per_task(list(inner.params["gains"][own]), tasks),
        per_task(list(inner.params["biases"][own]), tasks),
        strict=True,
    )
    blocks = tuple(Block(*each) for each in norms)
    features, stats = plus.design.encoder.apply(
        blocks, inner.stats[step], inputs, supports=inputs.shape[1], phase=inner.phase
    )
    return jax.vmap(plus.design.head.apply)(moved["head"], features), stats


def _rates(plus: Plus, params: Any, step: int) -> Any:
    if "rates" not in params:
        return plus.design.settings.rate
    return jax.tree.map(lambda rate: rate[step], params["rates"])


def _after_each_step(
    plus: Plus, inner: Inner, context: Context
) -> tuple[list[Any], tuple[Any, ...]]:
    """Parameters of every task after each inner step, and the norm's statistics."""
    design, given = plus.design, plus.design.settings
    start = {name: inner.params[name] for name in ("kernels", "head")}
    moved, found, seen = per_task(start, len(context.inputs)), [], []
    for step in range(given.steps):

        def loss(moved: Any, context: Context, step: int = step) -> jax.Array:
            outputs, _ = _outputs(plus, inner, (moved, context.inputs, step))
            return jnp.sum(mean_loss(design, outputs, context.targets))

        if plus.keeps:
            seen.append(_outputs(plus, inner, (moved, context.inputs, step))[1])
        descend = functools.partial(
            inner_step, loss,
            rates=_rates(plus, inner.params, step), order=inner.order,
        )  # fmt: skip
        moved = KEEPS[given.keep](descend)(moved, context)
        found.append(moved)
    return found, plumbing.stop(tuple(seen)) if plus.keeps else inner.stats


def slow_loss(
    plus: Plus, inner: Inner, batch: Batch, weights: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, tuple[Any, ...]]]:
    """Weighted loss of the queries, `([], (last outputs, statistics))`.

    Args:
      weights: `[J]`, see `step_weights`; without a multi-step loss only the last
        answers are computed.
    """
    found, stats = _after_each_step(plus, inner, batch.context)
    first = 0 if plus.settings.multi_step else len(found) - 1
    answers = [
        _outputs(plus, inner, (moved, batch.queries, step))[0]
        for step, moved in enumerate(found)
        if step >= first
    ]
    each = [jnp.mean(mean_loss(plus.design, said, batch.answers)) for said in answers]
    value = jnp.sum(weights[first:] * jnp.stack(each))
    return value, (answers[-1], stats)


def slow_gradient(
    plus: Plus, state: PlusState, batch: Batch
) -> tuple[jax.Array, tuple[jax.Array, tuple[Any, ...]], Any]:
    """Loss, last outputs with statistics, and gradient at a training step."""
    weights = step_weights(
        state.step, steps=plus.design.settings.steps, until=plus.settings.multi_step
    )

    def of(order: str) -> tuple:
        def loss(params: Any) -> tuple:
            inner = Inner(params, state.stats, order, "train")
            return slow_loss(plus, inner, batch, weights)

        return plumbing.gradient(loss, state.network.params)

    return in_order(plus.settings, plus.design.settings, state.step, of)


def in_order(
    plus: MamlPlusSettings,
    inner: MamlSettings,
    step: jax.Array,
    of: Callable[[str], tuple],
) -> tuple:
    """`of(order)` with the order that inner gradients have at a training step."""
    if not plus.first_order:
        return of(inner.order)
    early = step < plus.first_order
    result: tuple = jax.lax.cond(early, lambda: of("first"), lambda: of("second"))
    return result


def _step(
    plus: Plus, state: PlusState, batch: Batch
) -> tuple[PlusState, dict[str, jax.Array]]:
    value, (answers, stats), grads = slow_gradient(plus, state, batch)
    network = parts.descend(plus.design.optimizer, state.network, grads)
    scores = parts.mean_scores(plus.design.task, answers, batch.answers)
    return PlusState(network, stats, state.step + 1), {"loss": value, **scores}


def _predict(
    plus: Plus, state: PlusState, context: Context, queries: jax.Array
) -> Answer:
    order = plus.design.settings.order
    inner = Inner(state.network.params, state.stats, order, "test")
    found: Sequence[Any] = _after_each_step(plus, inner, context)[0]
    output, _ = _outputs(plus, inner, (found[-1], queries, len(found) - 1))
    return Answer(output, {})
