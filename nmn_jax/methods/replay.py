"""Replay beside a stream: the last examples of every class, some of them in every step.

The usual remedy for classes that come seldom, here around any method of a stream: a
ring of the last M images per class (so that what is frequent does not push out what is
rare; Chaudhry et al., 2019), and with every window as many recalled examples as asked
for, their classes drawn evenly.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Spec, StreamBatch, Task


class Buffer(NamedTuple):
    """Rings of the last M inputs of every class, and how many a class ever had."""

    inputs: jax.Array  # [C, M, ...]
    seen: jax.Array  # [C]


class ReplayState(NamedTuple):
    """The method's own state, and what it may be shown again."""

    inner: Any
    buffer: Any  # Buffer; () once slim
    key: Any  # jax.Array; () once slim
    step: jax.Array  # []


def init_buffer(classes: int, kept: int, input_shape: tuple[int, ...]) -> Buffer:
    """Empty rings of `kept` inputs.

    Raises:
      ValueError: if `kept` is not positive.
    """
    if kept < 1:
        raise ValueError(f"replay keeps {kept} inputs a class: must be at least 1")
    rings = jnp.zeros((classes, kept, *input_shape))
    return Buffer(rings, jnp.zeros((classes,), jnp.int32))


def remember(buffer: Buffer, window: StreamBatch) -> Buffer:
    """Put the examples of a window into their rings, one after the other."""

    def put(buffer: Buffer, example: StreamBatch) -> tuple[Buffer, None]:
        kind = jnp.argmax(example.targets)
        place = buffer.seen[kind] % buffer.inputs.shape[1]
        inputs = buffer.inputs.at[kind, place].set(example.inputs)
        return Buffer(inputs, buffer.seen.at[kind].add(1)), None

    return jax.lax.scan(put, buffer, window)[0]


def recall(buffer: Buffer, key: jax.Array, count: int) -> StreamBatch:
    """`count` examples: a class drawn evenly from those seen, then one of its ring."""
    kind_key, place_key = jax.random.split(key)
    known = jnp.where(buffer.seen > 0, 0.0, -jnp.inf)
    kinds = jax.random.categorical(kind_key, known, shape=(count,))
    filled = jnp.minimum(buffer.seen[kinds], buffer.inputs.shape[1])
    places = jax.random.randint(place_key, (count,), 0, filled)
    labels = jax.nn.one_hot(kinds, buffer.inputs.shape[0])
    return StreamBatch(buffer.inputs[kinds, places], labels)


def with_replay(method: Method, spec: Spec, *, count: int, kept: int = 20) -> Method:
    """The method, shown `count` recalled examples before those of every window.

    Its metrics are those of the longer window, recalled examples included.

    Args:
      spec: of the task, which has classes.
      kept: M, inputs kept of every class; memory is `spec.targets * kept` inputs.

    Raises:
      ValueError: if `count` or `kept` is not positive, or the task has no classes.
    """
    if count < 1:
        raise ValueError(f"replay of {count} examples a window: must be at least 1")
    if spec.kind != "classification":
        raise ValueError(
            f"replay keeps examples by class, but this task is a {spec.kind}"
        )
    empty = init_buffer(spec.targets, kept, spec.input_shape)

    def init(key: jax.Array) -> ReplayState:
        own, inner = jax.random.split(key)
        buffer = jax.tree.map(jnp.copy, empty)
        return ReplayState(method.init(inner), buffer, own, jnp.zeros((), jnp.int32))

    def predict(state: ReplayState, inputs: jax.Array) -> Answer:
        return method.predict(state.inner, inputs)

    def slim(state: ReplayState) -> ReplayState:
        return ReplayState(method.slim(state.inner), (), (), state.step)

    return method._replace(
        init=init,
        step=functools.partial(_step, method, count),
        predict=predict,
        slim=slim,
        columns={**method.columns, "replay": f"{count} a window"},
    )


def _step(
    method: Method, count: int, state: ReplayState, window: StreamBatch
) -> tuple[ReplayState, dict]:
    # Remembered first: there is something to recall from the first step on.
    buffer = remember(state.buffer, window)
    recalled = recall(buffer, jax.random.fold_in(state.key, state.step), count)
    joined = StreamBatch(
        jnp.concatenate([recalled.inputs, window.inputs]),
        jnp.concatenate([recalled.targets, window.targets]),
    )
    after, metrics = method.step(state.inner, joined)
    return ReplayState(after, buffer, state.key, state.step + 1), metrics


def around(entry: Entry) -> Entry:
    """The line of a method of a stream, with replay beside it."""

    def make(settings: Settings, task: Task, *, steps: int) -> Method:
        count = settings.replay.count
        longer = task.spec.window and task.spec.window + count
        shown = task._replace(spec=task.spec._replace(window=longer))
        inner = entry.make(settings, shown, steps=steps)
        return with_replay(inner, task.spec, count=count, kept=settings.replay.kept)

    return entry._replace(make=make, uses=(*entry.uses, "replay"))
