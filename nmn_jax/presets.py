"""Named settings, and the learner they describe.

`paper` is the text to the letter, `paper_fast_lr` the same allowed to move,
`recommended` what we found best. Each comes with every use of synthetic gradients
(`SG`) and the controls that decide whether an effect is real (`CONTROL`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import optax

from nmn_jax import cell as cell_lib
from nmn_jax import controllers as controllers_lib
from nmn_jax import fast as fast_lib
from nmn_jax import feedback as feedback_lib
from nmn_jax import learner as learner_lib
from nmn_jax import memory as memory_lib
from nmn_jax import model as model_lib
from nmn_jax import networks, synthetic
from nmn_jax import stream as stream_lib
from nmn_jax.settings import (
    ModelSettings,
    OptimSettings,
    Settings,
    SyntheticSettings,
)
from nmn_jax.types import Network, PerController


def _paper(ways: int, shots: int) -> Settings:
    del ways, shots
    return Settings()


def _paper_fast_lr(ways: int, shots: int) -> Settings:
    del ways, shots
    return Settings(
        preset="paper_fast_lr", optim=OptimSettings(lr=1e-3, predictor_lr=1e-3)
    )


def _recommended(ways: int, shots: int) -> Settings:
    return Settings(
        preset="recommended",
        model=ModelSettings(
            slots=ways * shots,
            width=128,
            key_width=64,
            controller="skip_lstm",
            compose="query_mem_weights",
            label_input="write",
            similarity="cosine",
            scale=10.0,
            write_rule="least_used",
            presentations=2,
            norm="running",
        ),
        sg=SyntheticSettings(
            core="residual",
            scale="rms",
            train="both",
            controllers=("output",),
            tensors=("skip",),
            rate=1.0,
            step_size="normalised",
            order="second",
            writer="slow",
        ),
        optim=OptimSettings(lr=1e-3, predictor_lr=5e-3, schedule="cosine", clip=10.0),
    )


PRESETS = {
    "paper": _paper,
    "paper_fast_lr": _paper_fast_lr,
    "recommended": _recommended,
}
SG = ("off", "decoupled", "fast", "both")
CONTROL = ("none", "zeroed", "oracle", "shuffled", "double_rate")


def preset(
    name: str, *, ways: int, shots: int, sg: str = "off", control: str = "none"
) -> Settings:
    """Settings by name, for N ways and S shots.

    Raises:
      ValueError: for an unknown preset, use of synthetic gradients or control.
    """
    for kind, given, known in (
        ("preset", name, tuple(PRESETS)),
        ("sg", sg, SG),
        ("control", control, CONTROL),
    ):
        if given not in known:
            raise ValueError(f"unknown {kind} {given!r}; choose one of {known}")
    settings = PRESETS[name](ways, shots)
    factor = 2.0 if control == "double_rate" else 1.0
    return dataclasses.replace(
        settings,
        sg=dataclasses.replace(settings.sg, use=sg, control=control),
        optim=dataclasses.replace(settings.optim, controller_factor=factor),
    )


def override(settings: Settings, **changes: dict[str, Any]) -> Settings:
    """Settings with fields replaced, by record (`model`, `sg`, `optim`); None is left.

    Raises:
      TypeError: for a field that there is not.
    """
    records = {
        name: dataclasses.replace(
            getattr(settings, name),
            **{field: value for field, value in given.items() if value is not None},
        )
        for name, given in changes.items()
    }
    return dataclasses.replace(settings, **records)


def pick(table: dict[str, Any], name: str, what: str) -> Any:
    """The entry of a table of choices.

    Raises:
      ValueError: if there is none of that name.
    """
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}; choose one of {sorted(table)}")
    return table[name]


def make_cell(settings: ModelSettings) -> cell_lib.Cell:
    """The memory cell the settings describe."""
    factory = pick(controllers_lib.CONTROLLERS, settings.controller, "controller")
    similarity = pick(memory_lib.SIMILARITIES, settings.similarity, "similarity")
    kernels: tuple[controllers_lib.Kernel, ...] = (
        controllers_lib.random_kernel,
        controllers_lib.identity_kernel,
        controllers_lib.identity_kernel,
    )
    if settings.key_width:
        similarity = memory_lib.keyed(similarity, width=settings.key_width)
        kernels = (
            controllers_lib.random_kernel,
            controllers_lib.make_output_kernel(settings.key_width),
            controllers_lib.make_write_kernel(settings.key_width),
        )
    return cell_lib.make_cell(
        PerController(*(factory(settings.width, kernel) for kernel in kernels)),
        slots=settings.slots,
        memory_scale=settings.memory_scale,
        similarity=similarity,
        scale=settings.scale,
        write_rule=make_write_rule(settings),
        compose=pick(controllers_lib.COMPOSE, settings.compose, "compose"),
        label_input=pick(
            controllers_lib.LABEL_INPUTS, settings.label_input, "label input"
        ),
    )


def make_write_rule(settings: ModelSettings) -> memory_lib.WriteRule:
    """A rule of `memory.WRITE_RULES`; with a key part also `same_value`."""
    rules = dict(memory_lib.WRITE_RULES)
    if settings.key_width:
        rules["same_value"] = memory_lib.make_same_value_write(
            key_width=settings.key_width
        )
    return pick(rules, settings.write_rule, "write rule")


def make_encoder(settings: ModelSettings) -> networks.Encoder:
    """The paper's convolutional encoder."""
    norm = pick({each: each for each in networks.NORMS}, settings.norm, "norm")
    return networks.make_conv_encoder(
        channels=settings.channels, layers=settings.layers, norm=norm
    )


def make_decoder(settings: ModelSettings, *, classes: int) -> Network:
    """Dense layer on the output; with a key part it starts by reading the label part.

    Raises:
      ValueError: if the slot has no room for a key and a label.
    """
    if not settings.key_width:
        return networks.make_dense(classes)
    if settings.key_width + classes > settings.width:
        raise ValueError(
            f"model.width={settings.width} has no room for a key of key_width="
            f"{settings.key_width} and {classes} classes; widen it or narrow the key"
        )
    kernel = controllers_lib.make_decoder_kernel(settings.key_width)
    return networks.make_dense(classes, kernel_init=kernel)


def make_model(settings: ModelSettings, *, classes: int) -> model_lib.Model:
    """Encoder, cell and decoder for `classes` ways."""
    return model_lib.Model(
        make_encoder(settings),
        make_cell(settings),
        make_decoder(settings, classes=classes),
        classes,
        settings.presentations,
    )


def make_feedback(settings: SyntheticSettings) -> feedback_lib.Feedback:
    """The second feedback path; `off` is a path that is silent and unheard."""
    pick(dict.fromkeys(SG), settings.use, "sg")
    if settings.use == "off":
        silent = synthetic.make_silent_predictor()
        return feedback_lib.Feedback(silent, train="regress")
    path = None
    if settings.use in ("fast", "both"):
        path = fast_lib.make_fast_path(
            settings.controllers,
            tensors=settings.tensors,
            step_size=settings.step_size,
            order=settings.order,
            writer=settings.writer,
        )
    control = "none" if settings.control == "double_rate" else settings.control
    return feedback_lib.Feedback(
        pick(synthetic.PREDICTORS, settings.core, "core")(),
        rule=settings.rule if settings.use in ("decoupled", "both") else "backprop",
        weight=settings.weight,
        scale=pick(synthetic.SCALES, settings.scale, "scale"),
        train=settings.train,
        fast=path,
        fast_rate=settings.rate,
        warmup=settings.warmup,
        control=pick(feedback_lib.CONTROLS, control, "control"),
    )


def make_optimizer(
    settings: OptimSettings, lr: float, *, steps: int
) -> optax.GradientTransformation:
    """Adam with the chosen schedule and clipping."""
    schedules = {
        "constant": lambda: optax.constant_schedule(lr),
        "cosine": lambda: optax.cosine_decay_schedule(lr, steps),
    }
    parts = [optax.adam(pick(schedules, settings.schedule, "schedule")())]
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


def make_optimizers(
    optim: OptimSettings, *, steps: int
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Of the network and of the predictors."""
    network = make_optimizer(optim, optim.lr, steps=steps)
    if optim.controller_factor != 1.0:
        network = optax.chain(network, scale_controllers(optim.controller_factor))
    return network, make_optimizer(optim, optim.predictor_lr, steps=steps)


def make_learner(
    settings: Settings, *, classes: int, steps: int
) -> tuple[model_lib.Model, learner_lib.Learner]:
    """The model and its learner for `classes` ways and `steps` training steps."""
    model = make_model(settings.model, classes=classes)
    optimizers = make_optimizers(settings.optim, steps=steps)
    return model, learner_lib.make_learner(
        model, make_feedback(settings.sg), *optimizers
    )


def make_stream_learner(
    settings: Settings, *, classes: int, steps: int, target: str, carry: str
) -> tuple[model_lib.Model, stream_lib.StreamLearner]:
    """The same for a stream; `target` and `carry` as in `stream`."""
    model = make_model(settings.model, classes=classes)
    optimizers = make_optimizers(settings.optim, steps=steps)
    return model, stream_lib.make_stream_learner(
        model, make_feedback(settings.sg), *optimizers, target=target, carry=carry
    )
