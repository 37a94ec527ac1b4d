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
    rate, momentum, retention = values(rule, params, pair)
    anchor = _anchor(rule.schedule.chunk, state)
    if rule.schedule.retain_first:
        anchor = jax.tree.map(lambda leaf: retention * leaf, anchor)
    moving = jax.tree.map(
        lambda s, g: momentum * s - rate * g,
        state.momentum,
        gradient(rule, anchor, pair),
    )
    moved, transform = rule.transform.update(moving, state.transform)
    weights = jax.tree.map(lambda w, m: retention * w + m, state.weights, moved)
    return FunctionState(weights, moving, anchor, transform, state.position + 1)


def _anchor(chunk: int, state: FunctionState) -> Any:
    """θ' of the next write, before any decay of its own."""
    if chunk == 1:
        return state.weights
    first = state.position % chunk == 0
    return jax.tree.map(
        lambda now, then: jnp.where(first, now, then), state.weights, state.anchor
    )


def write_chunk(
    rule: GradientRule, params: Gates, state: FunctionState, pairs: Pair
) -> tuple[FunctionState, Any]:
    """All writes of one chunk at once: gradients at θ', then two linear recurrences.

    Args:
      rule: `rule.schedule.chunk` is at least the number of pairs.
      params: the gates'.
      state: at the border of a chunk.
      pairs: leading axis T, `position` that of each.

    Returns:
      The state after the last write, and the weights after each, leading axis T.
    """
    rate, momentum, retention = jax.vmap(lambda p: values(rule, params, p))(pairs)
    anchors = jax.tree.map(lambda leaf: _repeated(leaf, len(rate)), state.weights)
    if rule.schedule.retain_first:
        kept = jnp.cumprod(retention)
        anchors = jax.tree.map(lambda leaf: _times(kept, leaf), anchors)
    gradients = jax.vmap(lambda w, p: gradient(rule, w, p))(anchors, pairs)
    pushes = jax.tree.map(lambda leaf: _times(-rate, leaf), gradients)
    moving = _accumulate(momentum, pushes, state.momentum)
    moved, transform = _transformed(rule.transform, moving, state.transform)
    weights = _accumulate(retention, moved, state.weights)
    after, pace, anchor = jax.tree.map(lambda x: x[-1], (weights, moving, anchors))
    written = pairs.position[-1] + 1
    return FunctionState(after, pace, anchor, transform, written), weights


def _accumulate(decay: jax.Array, added: Any, first: Any) -> Any:
    """x_t = d_t x_{t-1} + a_t for all t, with leading axis T, from x_0 = `first`."""

    def combine(one: tuple, other: tuple) -> tuple:
        both = jax.tree.map(lambda a, b: _times(other[0], a) + b, one[1], other[1])
        return one[0] * other[0], both

    kept, sums = jax.lax.associative_scan(combine, (decay, added))
    return jax.tree.map(
        lambda leaf, x: _times(kept, _repeated(x, len(kept))) + leaf, sums, first
    )


def _transformed(transform: Transform, moving: Any, state: Any) -> tuple[Any, Any]:
    """T of every step; at once if T has no state."""
    if not jax.tree.leaves(state):
        return jax.vmap(lambda s: transform.update(s, state)[0])(moving), state

    def body(state: Any, s: Any) -> tuple[Any, Any]:
        moved, state = transform.update(s, state)
        return state, moved

    state, moved = jax.lax.scan(body, state, moving)
    return moved, state


def _times(factors: jax.Array, leaf: jax.Array) -> jax.Array:
    """One factor for each entry of the leading axis."""
    return factors.reshape(factors.shape + (1,) * (leaf.ndim - 1)) * leaf


def _repeated(leaf: jax.Array, times: int) -> jax.Array:
    return jnp.broadcast_to(leaf[None], (times, *leaf.shape))
