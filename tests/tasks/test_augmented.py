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


def told(key, images, labels):
    """The key in place of pixel [0, 0], the label in that of [0, 1]."""
    number = jax.random.uniform(key, images.shape[:1], minval=2, maxval=3)
    return images.at[:, 0, 0].set(number).at[:, 0, 1].set(labels + 10)


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
        for labels, new in (
            (before.context.targets, after.context.inputs),
            (before.answers, after.queries),
        ):
            np.testing.assert_array_equal(new[..., 0, 1], labels.argmax(-1) + 10)
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
        for images, labels in (
            (batch.context.inputs, batch.context.targets),
            (batch.queries, batch.answers),
        ):
            assert np.all(np.asarray(images[..., 0, 0]) >= 2)
            # Names that are absent, -1 in the answers, are nobody's label.
            right = np.argwhere(np.asarray(labels) == 1)[:, -1].reshape(2, -1)
            np.testing.assert_array_equal(images[..., 0, 1], right + 10)


@pytest.mark.parametrize(("form", "kind", "shape"), [
    ("stream", "classification", (SIDE, SIDE)),
    ("episodes", "regression", (SIDE, SIDE)),
    ("episodes", "classification", (SIDE,)),
])  # fmt: skip
def test_only_classes_of_images_in_episodes_can_be_distorted(form, kind, shape):
    spec = Spec(form, kind, shape, 2)
    task = Task(spec, few().sample, losses.cross_entropy, losses.class_scores)
    with pytest.raises(ValueError, match=r"episodes of images \[H, W\]"):
        augmented.with_distortions(task, told)
