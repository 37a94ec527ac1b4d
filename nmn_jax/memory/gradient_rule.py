"""One write by a gradient, and a chunk of writes at once.

    s ← η s - α · pull_{f,θ'}(c(f_θ'(k), v))        θ ← ρ θ + T(s)

θ' are the weights at the start of the chunk, θ itself in chunks of one. The gradient is
taken by the `pull` that is passed in; nothing is stopped, so slow learning sees through
every write.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.memory.cotangents import Cotangent
from nmn_jax.memory.gates import Pair
from nmn_jax.types import Network

Pull = Callable[[Callable[..., jax.Array], Any, jax.Array, jax.Array], Any]


class Schedule(NamedTuple):
    """When gradients are taken, and where weights decay.

    chunk: b, how many writes in a row take their gradients at the same weights θ',
      those before the first of them; 1 is plain sequential learning
    retain_first: whether the error is formed at weights that have already decayed
      (gated delta rules; within a chunk θ' decays as θ does) or not yet (Titans)
    """

    chunk: int = 1
    retain_first: bool = False


class Transform(NamedTuple):
    """T, in the shape of an optax transformation, and any of optax's will do.

    init: `(weights) -> state`
    update: `(s, state) -> (T(s), state)`
    """

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


class Gates(NamedTuple):
    """α, η and ρ: gates, their parameters, or their values."""

    rate: Any
    momentum: Any
    retention: Any


class FunctionState(NamedTuple):
    """A network in the midst of learning.

    weights: θ
    momentum: s, like the weights
    anchor: θ', like the weights; set by the first write of a chunk
    transform: the state of T
    position: `[]`, how many writes there were
    """

    weights: Any
    momentum: Any
    anchor: Any
    transform: Any
    position: jax.Array


class GradientRule(NamedTuple):
    """What a write by a gradient is made of; see `function`."""

    network: Network
    pull: Pull
    cotangent: Cotangent
    gates: Gates
    transform: Transform
    schedule: Schedule


def stateless(function: Callable[[Any], Any]) -> Transform:
    """A function of s as a transform without state."""
    return Transform(lambda weights: (), lambda s, state: (function(s), state))


def start(rule: GradientRule, weights: Any) -> FunctionState:
    """Before the first write."""
    return FunctionState(
        weights,
        jax.tree.map(jnp.zeros_like, weights),
        jax.tree.map(jnp.zeros_like, weights),
        rule.transform.init(weights),
        jnp.zeros((), jnp.int32),
    )


def gradient(rule: GradientRule, weights: Any, pair: Pair) -> Any:
    """pull_{f,θ}(c(f_θ(k), v)), like the weights."""
    output = rule.network.apply(weights, pair.key)
    cotangent = rule.cotangent(output, pair.value)
    return rule.pull(rule.network.apply, weights, pair.key, cotangent)


def values(rule: GradientRule, params: Gates, pair: Pair) -> Gates:
    """α, η and ρ of one write."""
    return Gates(
        *(gate.value(p, pair) for gate, p in zip(rule.gates, params, strict=True))
    )


def write(
    rule: GradientRule, params: Gates, state: FunctionState, pair: Pair
) -> FunctionState:
    """One write; `params` are the gates'."""
    gates = values(rule, params, pair)
    anchor = _anchor(rule.schedule.chunk, state)
    if rule.schedule.retain_first:
        anchor = jax.tree.map(lambda leaf: gates.retention * leaf, anchor)
    push = gradient(rule, anchor, pair)
    return _moved(rule, state._replace(anchor=anchor), gates, push)


def _anchor(chunk: int, state: FunctionState) -> Any:
    """θ' of the next write, before any decay of its own."""
    if chunk == 1:
        return state.weights
    first = state.position % chunk == 0
    return jax.tree.map(
        lambda now, then: jnp.where(first, now, then), state.weights, state.anchor
    )


def write_chunk(
    rule: GradientRule,
    params: Gates,
    state: FunctionState,
    pairs: Pair,
    *,
    read: Callable[[Any, jax.Array], Any],
) -> tuple[FunctionState, Any]:
    """All writes of one chunk, their gradients taken at once; the rest is elementwise.

    Args:
      rule: `rule.schedule.chunk` is at least the number of pairs.
      params: the gates'.
      state: at the border of a chunk.
      pairs: leading axis T, `position` that of each.
      read: `(weights, t) -> anything`, of the weights after write t.

    Returns:
      The state after the last write, and what was read, leading axis T.
    """
    gates = jax.vmap(lambda pair: values(rule, params, pair))(pairs)
    anchor, gradients = _gradients(rule, state.weights, pairs, gates.retention)

    def body(now: FunctionState, given: tuple) -> tuple[FunctionState, Any]:
        after = _moved(rule, now, *given[:2])
        return after, read(after.weights, given[2])

    steps = jnp.arange(len(pairs.position))
    started = state._replace(anchor=anchor)
    return jax.lax.scan(body, started, (gates, gradients, steps))


def _moved(
    rule: GradientRule, state: FunctionState, gates: Gates, gradient: Any
) -> FunctionState:
    """s and θ after one write whose gradient is known."""
    moving = jax.tree.map(
        lambda s, g: gates.momentum * s - gates.rate * g, state.momentum, gradient
    )
    moved, transform = rule.transform.update(moving, state.transform)
    weights = jax.tree.map(lambda w, m: gates.retention * w + m, state.weights, moved)
    return FunctionState(weights, moving, state.anchor, transform, state.position + 1)


def _gradients(
    rule: GradientRule, weights: Any, pairs: Pair, retention: jax.Array
) -> tuple[Any, Any]:
    """θ' as the last write of a chunk sees it, and the gradient of every write."""
    if not rule.schedule.retain_first:
        return weights, jax.vmap(lambda pair: gradient(rule, weights, pair))(pairs)
    kept = jnp.cumprod(retention)
    anchors = jax.tree.map(
        lambda leaf: _times(kept, _repeated(leaf, len(kept))), weights
    )
    gradients = jax.vmap(lambda w, pair: gradient(rule, w, pair))(anchors, pairs)
    return jax.tree.map(lambda leaf: leaf[-1], anchors), gradients


def _times(factors: jax.Array, leaf: jax.Array) -> jax.Array:
    """One factor for each entry of the leading axis."""
    return factors.reshape(factors.shape + (1,) * (leaf.ndim - 1)) * leaf


def _repeated(leaf: jax.Array, times: int) -> jax.Array:
    return jnp.broadcast_to(leaf[None], (times, *leaf.shape))
