"""Distorted tasks draw the same episodes, and distort every batch anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmn_jax import losses
from nmn_jax.tasks import augmented, episodes, mixture
from nmn_jax.tasks.base import Spec, Task

KEY, SIDE = jax.random.key(5), 3
SOURCE = jnp.arange(6 * 4 * SIDE * SIDE, dtype=jnp.uint8).reshape(6, 4, SIDE, SIDE)


def told(key, images):
    """The key in place of pixel [0, 0]; the rest as it is."""
    number = jax.random.uniform(key, images.shape[:2], minval=2, maxval=3)
    return images.at[..., 0, 0].set(number)


def few(**changes):
    return episodes.classification(
        ways=3, shots=1, queries=2, episodes=4, image_shape=(SIDE, SIDE), **changes
    )


def test_episodes_are_those_of_the_task_and_distortions_those_of_the_step():
    plain, task = few(), augmented.with_distortions(few(), told)
    numbers = []
    for step in (0, 1, 1):
        before = plain.sample(KEY, jnp.asarray(step), SOURCE)
        after = task.sample(KEY, jnp.asarray(step), SOURCE)
        np.testing.assert_array_equal(before.context.targets, after.context.targets)
        np.testing.assert_array_equal(before.answers, after.answers)
        for old, new in (
            (before.context.inputs, after.context.inputs),
            (before.queries, after.queries),
        ):
            np.testing.assert_array_equal(old[..., 1:, :], new[..., 1:, :])
            assert np.all(np.asarray(new[..., 0, 0]) >= 2)
            numbers.append(set(np.asarray(new[..., 0, 0]).ravel().tolist()))
    assert numbers[2:4] == numbers[4:6]
    # Supports and queries, this step and the next: all distorted apart.
    assert len(set.union(*numbers[:4])) == sum(map(len, numbers[:4])) == 2 * 4 * 9


def test_every_shape_of_a_mixture_is_distorted():
    kinds = [mixture.Kind(2, 1), mixture.Kind(3, 2)]
    task = mixture.classification(
        kinds, names=4, queries=1, episodes=2, image_shape=(SIDE, SIDE)
    )
    task = augmented.with_distortions(task, told)
    assert len(task.shapes) == 2
    for sample in (task.sample, *task.shapes):
        batch = sample(KEY, jnp.asarray(0), SOURCE)
        for images in (batch.context.inputs, batch.queries):
            assert np.all(np.asarray(images[..., 0, 0]) >= 2)


def test_only_episodes_of_images_can_be_distorted():
    for form, shape in (("stream", (SIDE, SIDE)), ("episodes", (SIDE,))):
        spec = Spec(form, "classification", shape, 2)
        task = Task(spec, few().sample, losses.cross_entropy, losses.class_scores)
        with pytest.raises(ValueError, match=r"episodes of images \[H, W\]"):
            augmented.with_distortions(task, told)
