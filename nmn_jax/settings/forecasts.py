"""Decodings, heads and models of forecasts, built from settings."""

from __future__ import annotations

import jax

from nmn_jax import model as model_lib
from nmn_jax.nets import leaves
from nmn_jax.nets.recurrent import ENCODERS
from nmn_jax.settings.builders import make_cell
from nmn_jax.settings.records import ForecastSettings, Settings
from nmn_jax.tasks.base import Spec
from nmn_jax.tasks.decoding import DECODINGS, FRAMES, Decoding, Frame
from nmn_jax.types import Network


def make_frame(settings: ForecastSettings, spec: Spec) -> Frame:
    """What the sequences of a forecast are told relative to."""
    return FRAMES[settings.frame](spec.horizon, settings.velocity_frames)


def make_decoding(settings: ForecastSettings, spec: Spec) -> Decoding:
    """How sequences are seen and continued.

    Raises:
      ValueError: for a decoding that cannot be of so many steps.
    """
    return DECODINGS[settings.decode](spec, make_frame(settings, spec))


def make_forecast_head(settings: ForecastSettings, width: int) -> Network:
    """A dense layer; it starts at zero where answers are relative, so that an untrained
    network says what they are relative to."""
    if settings.frame == "absolute":
        dense = leaves.make_dense(width)
    else:
        dense = leaves.make_dense(width, kernel_init=jax.nn.initializers.zeros)
    act = {"linear": lambda outputs: outputs, "relu": jax.nn.relu}[settings.activation]
    return Network(dense.init, lambda params, inputs: act(dense.apply(params, inputs)))


def make_forecast_model(settings: Settings, spec: Spec) -> model_lib.Model:
    """Encoder of single steps, cell and decoder for the forecasts of a task.

    Raises:
      ValueError: if the settings do not fit the task.
    """
    forecast, size = settings.forecast, spec.input_shape[-1]
    width = make_decoding(forecast, spec).width
    return model_lib.Model(
        ENCODERS[forecast.encoder](forecast.units, size),
        make_cell(settings.model),
        make_forecast_head(forecast, width),
        width,
    )
