"""Nearest prototypes on the same encoder, trained end to end.

Prototypical networks (Snell et al., 2017): logits are -scale · ‖f(x) - c_k‖² / D with
c_k the mean feature of class k; the scale is learned.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nmn_jax.methods import end_to_end, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.end_to_end import Readout
from nmn_jax.settings.records import Settings
from nmn_jax.tasks.base import Task

SCALE = 10.0


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """Prototypes with the encoder and optimiser of `settings`.

    Raises:
      ValueError: for a task that is no classification: there are no classes to average.
    """
    return end_to_end.make("prototype", READOUT, settings, task, steps=steps)


ENTRY = Entry(make, "episodes", parts.ENCODER_AND_OPTIMIZER)


def _init(key: jax.Array, width: int) -> jax.Array:
    """The logarithm of the scale."""
    del key, width
    return jnp.log(jnp.asarray(SCALE))


def logits(
    log_scale: Any, supports: jax.Array, targets: jax.Array, queries: jax.Array
) -> Answer:
    """`[Q, C]` for one episode: features `[S, D]`, labels `[S, C]`, and `[Q, D]`."""
    # A class without supports is at the origin.
    counts = jnp.maximum(jnp.sum(targets, axis=0), 1)
    # Not `targets.T @ supports`, whose gradient ends the process for sixty classes: the
    # product of jaxlib 0.10.2 on CPUs reads beyond its left factor's last page.
    totals = jnp.sum(targets[:, :, None] * supports[:, None], axis=0)
    prototypes = totals / counts[:, None]
    apart = jnp.mean((queries[:, None] - prototypes[None]) ** 2, axis=-1)
    return Answer(-jnp.exp(log_scale) * apart, {})


READOUT = Readout(_init, logits)
