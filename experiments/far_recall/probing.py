"""Is what is predicted of the future true? Measured beside training, on stored windows.

The true cotangent of every slot is back-propagated through all windows in which a
question could reach it, with the parameters of the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.feedback import future as future_lib
from nmn_jax.methods import stream_window
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.tasks import recall
from nmn_jax.tasks.recall import FarRecall


class Agreement(NamedTuple):
    """Sums over slots.

    inner, predicted, true, slots: ⟨ĝ, g⟩, ‖ĝ‖², ‖g‖² and how many slots, by the windows
      until their next use, `[farthest + 1]`; place 0 holds those that are not asked for
      again
    predicted_by_age, true_by_age: ‖ĝ‖² and ‖g‖² by the windows since they were written,
      `[ages]`; every age has as many slots
    """

    inner: jax.Array
    predicted: jax.Array
    true: jax.Array
    slots: jax.Array
    predicted_by_age: jax.Array
    true_by_age: jax.Array


def next_use(kind: FarRecall, slots: int, key: jax.Array, step: jax.Array) -> jax.Array:
    """Windows until each slot `[B, L]` is asked for next, 0 for never; a slot that is
    asked for in the window that comes has 1.

    The write to the least used slot goes round: write n of a stream is in slot n mod L.
    """

    def one(key: jax.Array) -> jax.Array:
        def asked(ahead: jax.Array) -> jax.Array:
            window = step + ahead
            question = recall.question(kind, key, window)
            written = window - question.gap
            number = written * kind.window + 1 + question.place
            kept = (number >= step * kind.window - slots) & (written < step)
            meant = question.counts & kept
            return jnp.where(meant, jax.nn.one_hot(number % slots, slots), 0.0)

        ahead = jnp.arange(kind.farthest)
        uses = jax.vmap(asked)(ahead)
        return jnp.where(jnp.any(uses > 0, axis=0), jnp.argmax(uses, axis=0) + 1, 0)

    return jax.vmap(one)(recall.stream_keys(kind, key))


def make_probe(
    design: StreamDesign, kind: FarRecall
) -> Callable[[Any, jax.Array], Agreement]:
    """`(the method's state, the key of the stream) -> Agreement` of predicted and true
    cotangents of all slots."""
    kind = kind._replace(beyond=0)

    @jax.jit
    def probe(state: Any, key: jax.Array) -> Agreement:
        steps = state.step + jnp.arange(kind.farthest)
        sample = recall.far_recall(kind).sample
        windows = jax.vmap(lambda step: sample(key, step, ()))(steps)
        run = stream_window.make_run(design, state)
        true = future_lib.look_ahead(run, state.cursor, windows)["slots"]
        guess = jnp.zeros_like(true)
        if design.future is not None:
            guess = future_lib.predict(
                design.future, state.future, state.carried, state.future.history
            )["slots"]
        distance = next_use(kind, true.shape[1], key, state.step)
        youngest = state.step * kind.window - 1
        return agreement(kind, (distance, youngest), guess, true)

    return probe


def agreement(
    kind: FarRecall,
    told: tuple[jax.Array, jax.Array],
    guess: jax.Array,
    true: jax.Array,
) -> Agreement:
    """The sums for cotangents `[B, L, K + 1]` of slots.

    Args:
      told: windows until the next use `[B, L]`, and the number `[]` of the last write.
    """
    distance, youngest = told
    at = jax.nn.one_hot(distance, kind.farthest + 1)

    def summed(each: jax.Array) -> jax.Array:
        return jnp.einsum("bl,bld->d", each, at)

    products = (guess * true, guess**2, true**2)
    inner, predicted, length = (summed(jnp.sum(p, axis=-1)) for p in products)
    slots = true.shape[1]
    order = (youngest - jnp.arange(slots)) % slots
    ages = slots // kind.window

    def by_age(each: jax.Array) -> jax.Array:
        sizes = jnp.sum(each[:, order] ** 2, axis=(0, 2))[: ages * kind.window]
        return jnp.sum(sizes.reshape(ages, kind.window), axis=1)

    count = summed(jnp.ones_like(distance, float))
    return Agreement(inner, predicted, length, count, by_age(guess), by_age(true))
