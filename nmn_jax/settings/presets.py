"""Named settings, and the learner they describe.

`paper` is the text to the letter, `paper_fast_lr` the same allowed to move,
`recommended` what we found best. Each comes with every use of synthetic gradients
(`SG`) and the controls that decide whether an effect is real (`CONTROL`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import optax

from nmn_jax import builders, synthetic
from nmn_jax import fast as fast_lib
from nmn_jax import feedback as feedback_lib
from nmn_jax import learner as learner_lib
from nmn_jax import model as model_lib
from nmn_jax import stream as stream_lib
from nmn_jax.settings import (
    ModelSettings,
    OptimSettings,
    Settings,
    SyntheticSettings,
)


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


def make_feedback(settings: SyntheticSettings) -> feedback_lib.Feedback:
    """The second feedback path; `off` is a path that is silent and unheard."""
    builders.pick(dict.fromkeys(SG), settings.use, "sg")
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
            keep=settings.keep,
        )
    control = "none" if settings.control == "double_rate" else settings.control
    return feedback_lib.Feedback(
        builders.pick(synthetic.PREDICTORS, settings.core, "core")(),
        rule=settings.rule if settings.use in ("decoupled", "both") else "backprop",
        weight=settings.weight,
        scale=builders.pick(synthetic.SCALES, settings.scale, "scale"),
        train=settings.train,
        fast=path,
        fast_rate=settings.rate,
        warmup=settings.warmup,
        control=builders.pick(feedback_lib.CONTROLS, control, "control"),
    )


def make_optimizer(
    settings: OptimSettings, lr: float, *, steps: int
) -> optax.GradientTransformation:
    """Adam with the chosen schedule and clipping."""
    schedules = {
        "constant": lambda: optax.constant_schedule(lr),
        "cosine": lambda: optax.cosine_decay_schedule(lr, steps),
    }
    parts = [optax.adam(builders.pick(schedules, settings.schedule, "schedule")())]
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
    model = builders.make_model(settings.model, classes=classes)
    optimizers = make_optimizers(settings.optim, steps=steps)
    return model, learner_lib.make_learner(
        model, make_feedback(settings.sg), *optimizers
    )


def make_stream_learner(
    settings: Settings, *, classes: int, steps: int, target: str, carry: str
) -> tuple[model_lib.Model, stream_lib.StreamLearner]:
    """The same for a stream; `target` and `carry` as in `stream`."""
    model = builders.make_model(settings.model, classes=classes)
    optimizers = make_optimizers(settings.optim, steps=steps)
    return model, stream_lib.make_stream_learner(
        model, make_feedback(settings.sg), *optimizers, target=target, carry=carry
    )
