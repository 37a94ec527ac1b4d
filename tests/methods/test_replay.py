"""Rings of old examples, and the method that is shown them again."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
import tiny_model

from nmn_jax.methods import replay
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.tasks.base import StreamBatch


def window(labels, first=0.0):
    """Images that are told apart by their number."""
    numbers = first + jnp.arange(float(len(labels)))
    images = jnp.broadcast_to(numbers[:, None, None], (len(labels), 2, 2))
    return StreamBatch(images, tiny.one_hot(labels))


def test_a_ring_holds_the_last_images_of_its_class():
    buffer = replay.init_buffer(3, 2, (2, 2))
    for part in (window([0, 0, 1]), window([0, 0, 0], first=10.0)):
        buffer = replay.remember(buffer, part)
    np.testing.assert_array_equal(buffer.seen, [5, 1, 0])
    # Images 0, 1, 10, 11, 12 of class 0 in a ring of two: the last two, in their place.
    np.testing.assert_array_equal(buffer.inputs[0, :, 0, 0], [12.0, 11.0])
    assert buffer.inputs[1, 0, 0, 0] == 2.0


def test_classes_seen_are_recalled_evenly_and_unseen_ones_never(key):
    buffer = replay.remember(replay.init_buffer(3, 4, (2, 2)), window([0] * 9 + [2]))
    recalled = replay.recall(buffer, key, 3_000)
    share = np.mean(recalled.targets, axis=0)
    np.testing.assert_allclose(share, [0.5, 0.0, 0.5], atol=0.03)
    numbers = np.asarray(recalled.inputs[:, 0, 0])
    kinds = np.argmax(recalled.targets, axis=1)
    # Of class 2 only the one image there is, never an empty place of the ring.
    assert set(numbers[kinds == 2]) == {9.0}
    assert set(numbers[kinds == 0]) == {5.0, 6.0, 7.0, 8.0}


def make(*, count=2, kept=3, kind="classification"):
    """A method of a stream, and the same with replay beside it."""
    task = tiny_model.make_task("stream", kind=kind)
    design = StreamDesign(
        tiny_model.make_model("stateless"), tiny_model.make_sg(), task.loss, "window",
        "stream",
    )  # fmt: skip
    tenth = optax.sgd(0.1)
    inner = tiny_model.make_stream_method(design, tenth, tenth, task=task)
    return inner, replay.with_replay(inner, task.spec, count=count, kept=kept)


@tiny.float64
def test_a_step_is_the_methods_on_recalled_and_new_examples():
    inner, method = make(kept=3)
    state = tiny.blank(jax.eval_shape(method.init, jax.random.key(0)))
    start = tiny.filled(0, state.inner)
    start = start._replace(scale=state.inner.scale, step=state.inner.step)
    state = state._replace(inner=start, key=jax.random.key(3))
    given = window([0, 1, 1], first=0.1)
    after, _ = method.step(state, given)
    buffer = replay.remember(state.buffer, given)
    old = replay.recall(buffer, jax.random.fold_in(state.key, 0), 2)
    longer = jax.tree.map(lambda *pair: jnp.concatenate(pair), old, given)
    expected, _ = inner.step(start, longer)
    chex.assert_trees_all_close(after.inner.network, expected.network, atol=1e-12)
    chex.assert_trees_all_equal(after.buffer, buffer)
    assert after.step == 1


def test_nothing_to_replay_is_refused():
    with pytest.raises(ValueError, match="replay of 0 examples"):
        make(count=0)
    with pytest.raises(ValueError, match="replay keeps 0 inputs"):
        make(kept=0)
    with pytest.raises(ValueError, match="replay keeps 0 inputs"):
        replay.init_buffer(3, 0, (2, 2))


def test_what_has_no_classes_is_refused():
    with pytest.raises(ValueError, match="by class, but this task is a regression"):
        make(kind="regression")


def test_the_slim_state_is_smaller_and_answers_the_same(key):
    _, method = make()
    state, _ = method.step(method.init(key), window([0, 1, 1]))
    slim = method.slim(state)
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    assert size(slim) <= size(state) - state.buffer.inputs.size
    assert not jax.tree.leaves(slim.buffer)
    inputs = window([0, 2]).inputs
    chex.assert_trees_all_equal(
        method.predict(slim, inputs), method.predict(state, inputs)
    )
    chex.assert_trees_all_equal(method.slim(slim), slim)
