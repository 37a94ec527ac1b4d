"""What two networks share: values that are handed from one to the other.

The predictors of a network are a value: their parameters, their optimiser's state and
the running scale of what they predict. Nothing is shared by reference; who shares hands
the value on before a step of the second network and back after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Pair(NamedTuple):
    """States of both networks, and the steps that the first one took."""

    first: Any
    second: Any
    step: jax.Array  # []


class Sharing(NamedTuple):
    """What is done with predictors, states being those of one method.

    begin: `(key, state) -> state` before the first step
    learn: `(before, after) -> after` of every step
    enter: `(first, second) -> second` before the second network's first step
    hand: `(giver, taker) -> taker` before each step of the second network, and from it
      to the first afterwards
    """

    begin: Callable[[jax.Array, Any], Any] = lambda key, state: state
    learn: Callable[[Any, Any], Any] = lambda before, after: after
    enter: Callable[[Any, Any], Any] = lambda first, second: second
    hand: Callable[[Any, Any], Any] = lambda giver, taker: taker


def hand_predictors(giver: Any, taker: Any) -> Any:
    """The taker with the giver's predictors, their optimiser and their scale."""
    return taker._replace(sg=giver.sg, scale=giver.scale)


def hand_network(giver: Any, taker: Any) -> Any:
    """The taker with the giver's network and its optimiser, and nothing else."""
    return taker._replace(network=giver.network, stats=giver.stats)


def random_predictors(key: jax.Array, state: Any) -> Any:
    """Predictors drawn at random in all their layers.

    They start with a last layer of zeros, so those that never learn would be silent.
    """
    leaves, tree = jax.tree.flatten(state.sg.params.predictors)
    keys = jax.random.split(key, len(leaves))
    drawn = [_normal(*each) for each in zip(keys, leaves, strict=True)]
    params = state.sg.params._replace(predictors=jax.tree.unflatten(tree, drawn))
    return state._replace(sg=state.sg._replace(params=params))


def _normal(key: jax.Array, leaf: jax.Array) -> jax.Array:
    """Of a scale that keeps that of the input: N(0, 1/inputs)."""
    inputs = leaf.shape[0] if leaf.ndim > 1 else 1
    return jax.random.normal(key, leaf.shape, leaf.dtype) / jnp.sqrt(float(inputs))


def _still(before: Any, after: Any) -> Any:
    """Predictors as they were; the scale goes on, which gives them their units."""
    return after._replace(sg=before.sg)


SHARINGS: dict[str, Sharing] = {
    "separate": Sharing(),
    "shared": Sharing(hand=hand_predictors),
    # Controls: predictors that say something, the same to both, and never learn; and a
    # second network that starts where the first has come to, with its own predictors.
    "frozen": Sharing(begin=random_predictors, learn=_still, hand=hand_predictors),
    "warm": Sharing(enter=hand_network),
}

# `(state, turns taken) -> (state, metrics)` of one network on its own tracks
Step = Callable[[Any], tuple[Any, dict[str, jax.Array]]]


def turn(step: int, *, lead: int, period: int) -> bool:
    """Whether the second network has a step after so many of the first; from 0 on.

    Steps count from 1: the first turn is the first multiple of `period` above `lead`.
    """
    return step + 1 > lead and (step + 1) % period == 0


def advance(
    sharing: Sharing, pair: Pair, steps: tuple[Step, Step], *, has_turn: bool
) -> tuple[Pair, dict[str, jax.Array]]:
    """One step of the first network and, if it has its turn, one of the second.

    Returns the pair and the metrics of both, under `first/` and `second/`.
    """
    first, told = _learned(sharing, pair.first, steps[0])
    metrics = {f"first/{name}": each for name, each in told.items()}
    second = pair.second
    if has_turn:
        second = sharing.hand(first, second)
        second, told = _learned(sharing, second, steps[1])
        metrics |= {f"second/{name}": each for name, each in told.items()}
        first = sharing.hand(second, first)
    return Pair(first, second, pair.step + 1), metrics


def _learned(sharing: Sharing, state: Any, step: Step) -> tuple[Any, dict]:
    after, metrics = step(state)
    return sharing.learn(state, after), metrics
