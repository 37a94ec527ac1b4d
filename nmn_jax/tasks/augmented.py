"""A task of images, shown a little distorted while it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nmn_jax.tasks.base import Batch, Task
from nmn_jax.tasks.distortion import Recast

# Folded into the run's key, so that distortions are drawn apart from episodes.
DISTORTIONS = 0xD1


def with_distortions(task: Task, recast: Recast) -> Task:
    """The task with the images of its batches distorted, episode by episode.

    Episodes are those of the task itself: the same key and step draw the same
    characters. What is fixed outside `sample` (validation, test) is left as it is.

    Args:
      task: of classification by episodes of images.
      recast: changes the images of an episode, supports and queries together.

    Raises:
      ValueError: for another task.
    """
    spec = task.spec
    kind = spec.form, spec.kind, len(spec.input_shape)
    if kind != ("episodes", "classification", 2):
        raise ValueError(
            f"distortions are for classification by episodes of images [H, W]; this "
            f"task is {spec.kind} of inputs {spec.input_shape} as {spec.form}"
        )
    return task._replace(
        sample=_distorted(task.sample, recast),
        shapes=tuple(_distorted(sample, recast) for sample in task.shapes),
    )


def _distorted(sample: Callable[..., Batch], recast: Recast) -> Callable[..., Batch]:
    def drawn(key: jax.Array, step: jax.Array, source: Any) -> Batch:
        batch = sample(key, step, source)
        context, (episodes, supports) = batch.context, batch.context.inputs.shape[:2]
        own = jax.random.fold_in(jax.random.fold_in(key, DISTORTIONS), step)
        images = jnp.concatenate([context.inputs, batch.queries], axis=1)
        targets = jnp.concatenate([context.targets, batch.answers], axis=1)
        seen = jax.vmap(recast)(
            jax.random.split(own, episodes), images, jnp.argmax(targets, axis=-1)
        )
        return batch._replace(
            context=context._replace(inputs=seen[:, :supports]),
            queries=seen[:, supports:],
        )

    return drawn
