"""Replay beside a stream: the last examples of every class, some of them in every step.

The usual remedy for classes that come seldom, here around any learner of a stream: a
ring of the last M images per class (so that what is frequent does not push out what is
rare; Chaudhry et al., 2019), and with every window as many recalled examples as asked
for, their classes drawn evenly.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.stream import StreamLearner
from nmn_jax.window import Window


class Buffer(NamedTuple):
    """Rings of the last M images of every class, and how many a class ever had."""

    images: jax.Array  # [C, M, H, W]
    seen: jax.Array  # [C]


class ReplayState(NamedTuple):
    """The learner's state, and what it may be shown again."""

    learner: Any
    buffer: Buffer
    key: jax.Array
    step: jax.Array  # []


def init_buffer(classes: int, kept: int, image_shape: tuple[int, int]) -> Buffer:
    """Empty rings of `kept` images.

    Raises:
      ValueError: if `kept` is not positive.
    """
    if kept < 1:
        raise ValueError(f"replay keeps {kept} images a class: must be at least 1")
    rings = jnp.zeros((classes, kept, *image_shape))
    return Buffer(rings, jnp.zeros((classes,), jnp.int32))


def remember(buffer: Buffer, window: Window) -> Buffer:
    """Put the examples of a window into their rings, one after the other."""

    def put(buffer: Buffer, example: Window) -> tuple[Buffer, None]:
        kind = jnp.argmax(example.labels)
        place = buffer.seen[kind] % buffer.images.shape[1]
        images = buffer.images.at[kind, place].set(example.images)
        return Buffer(images, buffer.seen.at[kind].add(1)), None

    return jax.lax.scan(put, buffer, window)[0]


def recall(buffer: Buffer, key: jax.Array, count: int) -> Window:
    """`count` examples: a class drawn evenly from those seen, then one of its ring."""
    kind_key, place_key = jax.random.split(key)
    known = jnp.where(buffer.seen > 0, 0.0, -jnp.inf)
    kinds = jax.random.categorical(kind_key, known, shape=(count,))
    filled = jnp.minimum(buffer.seen[kinds], buffer.images.shape[1])
    places = jax.random.randint(place_key, (count,), 0, filled)
    labels = jax.nn.one_hot(kinds, buffer.images.shape[0])
    return Window(buffer.images[kinds, places], labels)


def with_replay(
    learner: StreamLearner,
    *,
    classes: int,
    count: int,
    kept: int = 20,
    image_shape: tuple[int, int] = (28, 28),
) -> StreamLearner:
    """The learner, shown `count` recalled examples before those of every window.

    Args:
      kept: M, images kept of every class; memory is `classes * kept` images.

    Its metrics are those of the longer window, recalled examples included.

    Raises:
      ValueError: if `count` or `kept` is not positive.
    """
    if count < 1:
        raise ValueError(f"replay of {count} examples a window: must be at least 1")

    def init(key: jax.Array) -> ReplayState:
        own, inner = jax.random.split(key)
        buffer = init_buffer(classes, kept, image_shape)
        return ReplayState(learner.init(inner), buffer, own, jnp.zeros((), jnp.int32))

    def predict(state: ReplayState, images: jax.Array) -> jax.Array:
        return learner.predict(state.learner, images)

    return StreamLearner(init, functools.partial(_step, learner, count), predict)


def _step(
    learner: StreamLearner, count: int, state: ReplayState, window: Window
) -> tuple[ReplayState, dict]:
    # Remembered first: there is something to recall from the first step on.
    buffer = remember(state.buffer, window)
    recalled = recall(buffer, jax.random.fold_in(state.key, state.step), count)
    joined = Window(
        *(jnp.concatenate(parts) for parts in zip(recalled, window, strict=True))
    )
    after, metrics = learner.step(state.learner, joined)
    return ReplayState(after, buffer, state.key, state.step + 1), metrics
