"""From settings to parts: strings become functions, sizes become networks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nmn_jax import cell as cell_lib
from nmn_jax import controllers as controllers_lib
from nmn_jax import memory as memory_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import (
    controls,
    fast,
    future,
    predictors,
    state_predictors,
    targets,
)
from nmn_jax.feedback import sg as sg_lib
from nmn_jax.memory.addressing import SIMILARITIES, keyed
from nmn_jax.memory.search import SEARCHES
from nmn_jax.memory.write_rules import WRITE_RULES, WriteRule, make_same_value_write
from nmn_jax.nets import convolution, leaves, per_task
from nmn_jax.nets import encoder as encoder_lib
from nmn_jax.nets import kernels as kernels_lib
from nmn_jax.settings.records import (
    SAME_VALUE,
    ModelSettings,
    OptimSettings,
    SGSettings,
    StreamSettings,
)
from nmn_jax.tasks.base import Spec
from nmn_jax.types import Network, PerController
from nmn_jax.unrolling import UNROLLINGS


def make_memory(settings: ModelSettings) -> memory_lib.Memory:
    """Slots, addressed by their key part where there is one (Eqs. 3, 4, 7), all of them
    or a few."""
    similarity = SIMILARITIES[settings.similarity]
    if settings.key_width:
        similarity = keyed(similarity, width=settings.key_width)
    options: dict[str, Any] = {
        "slots": settings.slots,
        "width": settings.width,
        "memory_scale": settings.memory_scale,
        "similarity": similarity,
        "scale": settings.scale,
        "write_rule": _write_rule(settings),
    }
    if not settings.reads:
        return memory_lib.slots(**options)
    search = SEARCHES[settings.search](similarity, settings.key_width or settings.width)
    return memory_lib.sparse_slots(**options, reads=settings.reads, search=search)


def _write_rule(settings: ModelSettings) -> WriteRule:
    if settings.write_rule == SAME_VALUE:
        return make_same_value_write(key_width=settings.key_width)
    return WRITE_RULES[settings.write_rule]


def make_cell(settings: ModelSettings) -> cell_lib.Cell:
    """Three controllers around the memory the settings describe (Fig. 2)."""
    factory = controllers_lib.CONTROLLERS[settings.controller]
    kernels: tuple[kernels_lib.Kernel, ...] = (
        kernels_lib.random_kernel,
        kernels_lib.identity_kernel,
        kernels_lib.identity_kernel,
    )
    if settings.key_width:
        kernels = (
            kernels_lib.random_kernel,
            kernels_lib.make_output_kernel(settings.key_width),
            kernels_lib.make_write_kernel(settings.key_width),
        )
    if settings.write_kernel == "random":
        kernels = (*kernels[:2], _random_write_kernel(settings.key_width))
    return cell_lib.make_cell(
        PerController(*(factory(settings.width, kernel) for kernel in kernels)),
        make_memory(settings),
        compose=controllers_lib.COMPOSE[settings.compose],
        label_input=controllers_lib.LABEL_INPUTS[settings.label_input],
        unrolling=UNROLLINGS[settings.gradients],
    )


def _random_write_kernel(key_width: int) -> kernels_lib.Kernel:
    if key_width:
        return kernels_lib.make_random_write_kernel(key_width)
    return kernels_lib.random_kernel


def make_encoder(
    settings: ModelSettings,
    input_shape: tuple[int, ...],
    formulation: convolution.Formulation | None = None,
) -> encoder_lib.Encoder:
    """The paper's convolutional encoder for images, one dense layer for vectors.

    Args:
      formulation: how a convolution is computed; None is the fastest known.

    Raises:
      ValueError: for inputs of another rank, images too small for the layers, or a
        precision of convolutions where there are none.
    """
    if len(input_shape) == 1:
        if settings.precision != ModelSettings.precision:
            raise ValueError(
                f"model.precision={settings.precision!r} has no effect on vectors "
                f"{input_shape}: it is that of convolutions, and vectors pass one "
                "dense layer; leave it out"
            )
        return encoder_lib.make_dense_encoder(settings.width, input_shape[0])
    if len(input_shape) != 2:
        raise ValueError(
            f"no encoder for inputs of shape {input_shape}; give images [H, W] or "
            "vectors [D]"
        )
    return encoder_lib.make_conv_encoder(
        channels=settings.channels,
        layers=settings.layers,
        norm=settings.norm,  # type: ignore[arg-type]
        image_shape=input_shape,
        precision=settings.precision,  # type: ignore[arg-type]
        formulation=formulation,
    )


def make_task_encoder(
    settings: ModelSettings, input_shape: tuple[int, ...]
) -> encoder_lib.Encoder:
    """The same encoder where every task has parameters of its own.

    `init` as ever; `apply` takes parameters with an axis of tasks, `[E, ...]` each.

    Raises:
      ValueError: as `make_encoder`.
    """
    if len(input_shape) != 1:
        formulation = per_task.default_formulation(settings.channels)
        return make_encoder(settings, input_shape, formulation)
    shared = make_encoder(settings, input_shape)

    def apply(params: Any, stats: Any, inputs: jax.Array, **options: Any) -> tuple:
        def one(params: Any, inputs: jax.Array) -> jax.Array:
            features, _ = shared.apply(params, stats, inputs[None], **options)
            return features[0]

        return jax.vmap(one)(params, inputs), stats

    return shared._replace(apply=apply)


def make_decoder(settings: ModelSettings, targets: int) -> Network:
    """Dense layer on the output; with a key part it starts by reading the label part.

    Raises:
      ValueError: if the slot has no room for a key and a label.
    """
    if not settings.key_width:
        return leaves.make_dense(targets)
    if settings.key_width + targets > settings.width:
        raise ValueError(
            f"model.width={settings.width} has no room for a key of model.key_width="
            f"{settings.key_width} and {targets} classes; widen it or narrow the key"
        )
    kernel = kernels_lib.make_decoder_kernel(settings.key_width)
    return leaves.make_dense(targets, kernel_init=kernel)


def make_model(settings: ModelSettings, spec: Spec) -> model_lib.Model:
    """Encoder, cell and decoder for the inputs and targets of a task.

    Raises:
      ValueError: if the settings do not fit the task.
    """
    return model_lib.Model(
        make_encoder(settings, spec.input_shape),
        make_cell(settings),
        make_decoder(settings, spec.targets),
        spec.targets,
        settings.presentations,
    )


def make_sg(settings: SGSettings) -> sg_lib.SG:
    """The second feedback path; `off` is a path that is silent and unheard."""
    if settings.use == "off":
        return sg_lib.SG(predictors.make_silent_predictor(), train="regress")
    decoupled = settings.use in ("decoupled", "both")
    return sg_lib.SG(
        predictors.PREDICTORS[settings.predictor](),
        rule=settings.rule if decoupled else "backprop",
        weight=settings.weight,
        scale=targets.SCALES[settings.scale],
        train=settings.train,
        fast=_make_fast(settings) if settings.use in ("fast", "both") else None,
        fast_rate=settings.rate,
        warmup=settings.warmup,
        control=controls.CONTROLS[settings.control],
    )


def _make_fast(settings: SGSettings) -> fast.FastPath:
    return fast.make_fast_path(
        settings.controllers,
        tensors=settings.tensors,
        step_size=settings.step_size,
        order=settings.order,
        writer=settings.writer,
        keep=settings.keep,
    )


def make_future(settings: StreamSettings) -> future.Future | None:
    """What predicts the future of a stream's state, where that is the target."""
    if settings.target != "bootstrap":
        return None
    return future.Future(
        state_predictors.STATE_PREDICTORS[settings.predictor](),
        control=settings.control,
        weight=settings.weight,
        trace=settings.trace,
        windows=settings.horizon,
        auxiliary=settings.auxiliary,
    )


def make_optimizer(
    settings: OptimSettings, lr: float, *, steps: int
) -> optax.GradientTransformation:
    """Adam with the chosen schedule and clipping.

    Args:
      lr: at the start.
      steps: length of training, where `cosine` reaches zero.
    """
    schedules = {
        "constant": lambda: optax.constant_schedule(lr),
        "cosine": lambda: optax.cosine_decay_schedule(lr, steps),
    }
    parts = [optax.adam(schedules[settings.schedule]())]
    if settings.clip:
        parts.insert(0, optax.clip_by_global_norm(settings.clip))
    return optax.chain(*parts)


def scale_controllers(factor: float) -> optax.GradientTransformation:
    """Multiply the updates of the controllers' parameters, leave the others alone."""

    def update(updates: Any, params: Any = None) -> Any:
        del params
        cell = updates.cell
        scaled = optax.tree.scale(factor, cell.controllers)
        return updates._replace(cell=cell._replace(controllers=scaled))

    return optax.stateless(update)


def freeze_controllers(names: Collection[str]) -> optax.GradientTransformation:
    """No updates of the parameters of these controllers."""

    def update(updates: Any, params: Any = None) -> Any:
        del params
        cell = updates.cell
        still = {
            name: jax.tree.map(jnp.zeros_like, getattr(cell.controllers, name))
            for name in names
        }
        moved = cell._replace(controllers=cell.controllers._replace(**still))
        return updates._replace(cell=moved)

    return optax.stateless(update)


def make_optimizers(
    optim: OptimSettings, *, steps: int
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Of the network (`model.ModelParams`) and of the predictors."""
    network = make_optimizer(optim, optim.lr, steps=steps)
    if optim.controller_factor != 1.0:
        network = optax.chain(network, scale_controllers(optim.controller_factor))
    if optim.frozen:
        network = optax.chain(network, freeze_controllers(optim.frozen))
    return network, make_optimizer(optim, optim.predictor_lr, steps=steps)
