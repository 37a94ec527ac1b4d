"""Gradient steps inside a loss: what MAML and its kin descend through.

Finn, Abbeel & Levine (2017): θ_{j+1} = θ_j - α ∇L(θ_j; D), j = 0 … J-1, and slow
learning differentiates a later loss of θ_J for θ_0. Plain functions on any loss and any
tree of parameters. For many tasks at once give every leaf a leading axis of tasks and
a loss that is the sum over tasks: each then has its own gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import optax

from nmn_jax.feedback import plumbing
from nmn_jax.feedback.fast import ORDERS

Tree = TypeVar("Tree")
Loss = Callable[[Any, Any], jax.Array]

# What the backward pass through a step finds: all that the step computed, or only the
# parameters it started from, with the rest computed again.
KEEPS: dict[str, Callable[[Callable], Callable]] = {
    "all": lambda step: step,
    "params": jax.checkpoint,
}


def inner_step(
    loss: Loss, params: Tree, context: Any, *, rates: Any, order: str = "second"
) -> Tree:
    """One step of plain gradient descent, `params - rates · gradient`.

    Args:
      loss: `(params, context) -> []`.
      params: what is adapted; whatever else the loss needs it closes over.
      context: what the loss is of, e.g. a task's support set.
      rates: step sizes: a number, or a tree that is a prefix of `params`, whose leaves
        broadcast (Li et al., 2017, learn one for every number: Meta-SGD).
      order: `second` differentiates through the gradient; `first` takes it for a
        constant (first-order MAML), though not the rates.
    """
    _, _, grads = plumbing.gradient(lambda at: (loss(at, context), ()), params)
    constant = ORDERS[order](grads)

    def descend(rate: Any, at: Any, slope: Any) -> Any:
        return jax.tree.map(lambda p, g: p - rate * g, at, slope)

    adapted: Tree = jax.tree.map(descend, rates, params, constant)
    return adapted


def inner_loop(
    loss: Loss, params: Tree, context: Any, *,
    rates: Any, steps: int, order: str = "second", keep: str = "all",
) -> Tree:  # fmt: skip
    """`steps` of `inner_step`, one after the other.

    Args:
      loss, params, context, rates, order: as `inner_step` takes them.
      steps: J; 0 returns `params` themselves.
      keep: what a later backward pass finds of a step, see `KEEPS`.

    Raises:
      ValueError: for a negative number of steps, or an unknown order or keep.
    """
    _check(steps, order, keep)

    def step(params: Tree) -> Tree:
        return inner_step(loss, params, context, rates=rates, order=order)

    remembered = KEEPS[keep](step)
    for _ in range(steps):
        params = remembered(params)
    return params


def optimise(
    loss: Loss, start: tuple[Tree, Any], batches: Any, *,
    optimizer: optax.GradientTransformation,
) -> tuple[Tree, Any]:  # fmt: skip
    """Steps of an optimiser, one a mini-batch, which nothing descends through.

    Args:
      loss: as `inner_step` takes it.
      start: parameters, and the optimiser's state.
      batches: contexts of the steps, stacked: `[J, ...]`.

    Returns parameters and state afterwards.
    """

    def step(carried: tuple[Tree, Any], context: Any) -> tuple[tuple[Tree, Any], None]:
        params, state = carried
        _, _, grads = plumbing.gradient(lambda at: (loss(at, context), ()), params)
        updates, state = optimizer.update(grads, state, params)
        moved: Any = optax.apply_updates(params, updates)
        return (moved, state), None

    return jax.lax.scan(step, start, batches)[0]


def _check(steps: int, order: str, keep: str) -> None:
    if steps < 0:
        raise ValueError(f"steps={steps}: an inner loop has at least 0")
    for name, given, table in (("order", order, ORDERS), ("keep", keep, KEEPS)):
        if given not in table:
            raise ValueError(f"{name}={given!r}: choose one of {sorted(table)}")
