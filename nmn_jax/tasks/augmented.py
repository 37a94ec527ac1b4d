"""A task of images, shown a little distorted while it is trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from nmn_jax.tasks.base import Batch, Task
from nmn_jax.tasks.distortion import Distort

# Folded into the run's key, so that distortions are drawn apart from episodes.
DISTORTIONS = 0xD1


def with_distortions(task: Task, distort: Distort) -> Task:
    """The task with all images of its batches distorted, each on its own.

    Episodes are those of the task itself: the same key and step draw the same
    characters. What is fixed outside `sample` (validation, test) is left as it is.

    Raises:
      ValueError: for a task that has no episodes of images.
    """
    if task.spec.form != "episodes" or len(task.spec.input_shape) != 2:
        raise ValueError(
            f"distortions are for episodes of images [H, W]; this task has inputs "
            f"{task.spec.input_shape} as {task.spec.form}"
        )
    return task._replace(
        sample=_distorted(task.sample, distort),
        shapes=tuple(_distorted(sample, distort) for sample in task.shapes),
    )


def _distorted(sample: Callable[..., Batch], distort: Distort) -> Callable[..., Batch]:
    def drawn(key: jax.Array, step: jax.Array, source: Any) -> Batch:
        batch = sample(key, step, source)
        own = jax.random.fold_in(jax.random.fold_in(key, DISTORTIONS), step)
        support, query = jax.random.split(own)
        return batch._replace(
            context=batch.context._replace(
                inputs=distort(support, batch.context.inputs)
            ),
            queries=distort(query, batch.queries),
        )

    return drawn
