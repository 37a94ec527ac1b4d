"""What several methods do alike: descend, score, name themselves."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from nmn_jax.settings.records import ModelSettings, Settings
from nmn_jax.tasks.base import Task
from nmn_jax.types import TrainState

Tree = TypeVar("Tree")

# The settings that reach a method of an encoder and one optimiser, without controllers.
ENCODER_AND_OPTIMIZER = (
    "model.channels", "model.layers", "model.norm", "model.precision",
    "optim.lr", "optim.schedule", "optim.clip",
)  # fmt: skip


def descend(
    optimizer: optax.GradientTransformation, state: TrainState, grads: Any
) -> TrainState:
    """One step of an optimiser."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    return TrainState(optax.apply_updates(state.params, updates), opt_state)


def slim(state: Any) -> Any:
    """A state whose only optimiser is that of its `network`, without it."""
    return state._replace(network=state.network._replace(opt_state=()))


def own_buffers(state: Tree) -> Tree:
    """The state with a buffer of its own for every leaf, and no weak types.

    A donated state must not hold one buffer twice, and a weak type would become a
    strong one in the first step: another type, so another compilation.
    """

    def one(leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.copy(leaf)
        return jnp.array(leaf, dtype=leaf.dtype, copy=True)

    return jax.tree.map(one, state)


def mean_scores(
    task: Task, outputs: jax.Array, answers: jax.Array
) -> dict[str, jax.Array]:
    """Every score of the task, mean over all leading axes of `[..., C]`."""
    width = outputs.shape[-1]
    flat = jax.vmap(task.score)(outputs.reshape(-1, width), answers.reshape(-1, width))
    return {name: jnp.mean(each) for name, each in flat.items()}


def columns(settings: Settings) -> dict[str, str]:
    """How tables name a neural memory network."""
    named = {
        "method": f"nmn {settings.preset}",
        "synthetic gradients": sg_name(settings),
        "label input": settings.model.label_input,
        **encoder_columns(settings.model),
    }
    frozen = settings.optim.frozen
    return {**named, "frozen": ", ".join(frozen)} if frozen else named


def encoder_columns(settings: ModelSettings) -> dict[str, str]:
    """How tables name an encoder; of its precision, where it is not the usual one."""
    told = {"norm": settings.norm}
    if settings.precision != ModelSettings.precision:
        told["precision"] = settings.precision
    return told


def sg_name(settings: Settings) -> str:
    """Use of synthetic gradients with its control, e.g. `both (shuffled)`."""
    factor = settings.optim.controller_factor
    notes = [] if settings.sg.control == "none" else [settings.sg.control]
    notes += [] if factor == 1 else [f"controllers' rate x {factor:g}"]
    return settings.sg.use + (f" ({', '.join(notes)})" if notes else "")
