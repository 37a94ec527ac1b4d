"""From settings to a model: strings become functions, sizes become parts."""

from __future__ import annotations

from typing import Any

from nmn_jax import cell as cell_lib
from nmn_jax import controllers as controllers_lib
from nmn_jax import memory as memory_lib
from nmn_jax import model as model_lib
from nmn_jax import networks
from nmn_jax.settings import ModelSettings
from nmn_jax.types import Network, PerController


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
        _check_keyed(settings)
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


def _check_keyed(settings: ModelSettings) -> None:
    # The output controller's kernel takes the key from q; `mem_only` gives it no q.
    if settings.compose == "mem_only":
        raise ValueError(
            f"model.key_width={settings.key_width} with compose='mem_only': the output "
            "controller would read keys where it expects the query; choose compose "
            "'query_mem' or 'query_mem_weights', or key_width=0"
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
