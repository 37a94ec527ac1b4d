"""Rings of old examples, and the learner that is shown them again."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmn_jax import replay, stream
from nmn_jax.window import Window
from tests import tiny


def window(labels, first=0.0):
    """Images that are told apart by their number."""
    numbers = first + jnp.arange(float(len(labels)))
    images = jnp.broadcast_to(numbers[:, None, None], (len(labels), 2, 2))
    return Window(images, tiny.one_hot(labels))


def test_a_ring_holds_the_last_images_of_its_class():
    buffer = replay.init_buffer(3, 2, (2, 2))
    for part in (window([0, 0, 1]), window([0, 0, 0], first=10.0)):
        buffer = replay.remember(buffer, part)
    np.testing.assert_array_equal(buffer.seen, [5, 1, 0])
    # Images 0, 1, 10, 11, 12 of class 0 in a ring of two: the last two, in their place.
    np.testing.assert_array_equal(buffer.images[0, :, 0, 0], [12.0, 11.0])
    assert buffer.images[1, 0, 0, 0] == 2.0


def test_classes_seen_are_recalled_evenly_and_unseen_ones_never(key):
    buffer = replay.remember(replay.init_buffer(3, 4, (2, 2)), window([0] * 9 + [2]))
    recalled = replay.recall(buffer, key, 3_000)
    share = np.mean(recalled.labels, axis=0)
    np.testing.assert_allclose(share, [0.5, 0.0, 0.5], atol=0.03)
    numbers = np.asarray(recalled.images[:, 0, 0])
    kinds = np.argmax(recalled.labels, axis=1)
    # Of class 2 only the one image there is, never an empty place of the ring.
    assert set(numbers[kinds == 2]) == {9.0}
    assert set(numbers[kinds == 0]) == {5.0, 6.0, 7.0, 8.0}


@tiny.float64
def test_a_step_is_the_learners_on_recalled_and_new_examples():
    model = tiny.make_model("stateless")
    inner = stream.make_stream_learner(
        model, tiny.make_feedback(), optax.sgd(0.1), optax.sgd(0.1)
    )
    learner = replay.with_replay(
        inner, classes=tiny.C, count=2, kept=3, image_shape=(2, 2)
    )
    state = tiny.blank(jax.eval_shape(learner.init, jax.random.key(0)))
    start = tiny.filled(0, state.learner)
    start = start._replace(scale=state.learner.scale, step=state.learner.step)
    state = state._replace(learner=start, key=jax.random.key(3))
    given = window([0, 1, 1], first=0.1)
    after, _ = learner.step(state, given)
    buffer = replay.remember(state.buffer, given)
    old = replay.recall(buffer, jax.random.fold_in(state.key, 0), 2)
    longer = Window(*(jnp.concatenate(p) for p in zip(old, given, strict=True)))
    expected, _ = inner.step(start, longer)
    chex.assert_trees_all_close(after.learner.network, expected.network, atol=1e-12)
    chex.assert_trees_all_equal(after.buffer, buffer)
    assert after.step == 1


def test_nothing_to_replay_is_refused():
    with pytest.raises(ValueError, match="replay of 0 examples"):
        replay.with_replay(stream.StreamLearner(*[len] * 3), classes=3, count=0)
    with pytest.raises(ValueError, match="replay keeps 0 images"):
        replay.init_buffer(3, 0, (2, 2))
