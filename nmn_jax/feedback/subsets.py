"""Which gradients reach which parameters, for gradient steps at test time (A10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nmn_jax.model import ModelParams

# What a step listens to, as a rule of `plumbing.combine`.
SOURCES = {"true": "backprop", "sg": "replace", "both": "add"}

Subset = Callable[[ModelParams], ModelParams]


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)


def _memory_fixed(grads: ModelParams) -> ModelParams:
    """Controllers and decoder: encoder and memory stay."""
    still = _zeros(grads.cell)._replace(controllers=grads.cell.controllers)
    return ModelParams(_zeros(grads.encoder), still, grads.decoder)


SUBSETS: dict[str, Subset] = {
    "all": lambda grads: grads,
    "controllers": lambda grads: _memory_fixed(grads)._replace(
        decoder=_zeros(grads.decoder)
    ),
    "controllers+decoder": _memory_fixed,
    "decoder": lambda grads: _zeros(grads)._replace(decoder=grads.decoder),
}
# Synthetic gradients concern the controllers alone.
REACHED: dict[str, Subset] = {
    "true": lambda grads: grads,
    "sg": SUBSETS["controllers"],
    "both": lambda grads: grads,
}
