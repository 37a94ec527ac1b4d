"""Fast weights: which tensors adapt, where they start, and how far they have moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax.feedback.adapting import Order, StepSize
from nmn_jax.feedback.sources import CotangentSource
from nmn_jax.types import PerController


class FastPath(NamedTuple):
    """Which controllers adapt, and how.

    controllers: names out of `types.CONTROLLERS`
    tensors: names out of the controllers' parameter dictionaries, empty for all; a skip
      alone is a fast-weight outer product, and costs a fraction of a whole LSTM
    step_size: see `adapting.STEP_SIZES`
    order: see `adapting.ORDERS`; `first` treats the Jacobian and the SG's view of the
      controller as constants, so only ĝ and α carry the gradient of the query loss
    writer: whose weights write the memory, see `fast.WRITERS`
    keep: on a stream, the share of what was learned fast that outlives a window
    """

    controllers: tuple[str, ...]
    tensors: tuple[str, ...]
    step_size: StepSize
    order: Order
    writer: Callable[..., Any]
    keep: float = 0.0


class FastWeights(NamedTuple):
    """Adapted parameters (None for controllers that do not adapt), and what the source
    of cotangents carries on for those that do."""

    controllers: PerController
    carries: Any


def init_rates(
    path: FastPath, controllers: PerController, *, rate: float
) -> PerController:
    """log α, one scalar per parameter tensor of each adapting controller.

    Raises:
      ValueError: if `rate` is not positive.
    """
    if rate <= 0:
        raise ValueError(f"the fast rate must be positive, got {rate}")
    # One array each: a donated state must not hold the same buffer twice.
    return jax.tree.map(
        lambda _: jnp.log(jnp.asarray(rate)), _chosen(path, controllers)
    )


def _chosen(path: FastPath, each: PerController) -> PerController:
    """The parameters that adapt, None for controllers that do not.

    Raises:
      ValueError: if an adapting controller has none of the tensors the path names.
    """
    return PerController(
        *(
            _tensors(path, name, params) if name in path.controllers else None
            for name, params in each._asdict().items()
        )
    )


def _tensors(path: FastPath, name: str, params: dict[str, Any]) -> dict[str, Any]:
    missing = set(path.tensors) - set(params)
    if missing:
        raise ValueError(
            f"fast path for tensors {path.tensors}, but the {name} controller has only "
            f"{sorted(params)}; name some of these, or none for all"
        )
    return {key: params[key] for key in path.tensors or params}


def merge(slow: PerController, fast: PerController) -> PerController:
    """Fast weights where there are any, slow ones elsewhere."""
    return PerController(
        *(s if f is None else {**s, **f} for s, f in zip(slow, fast, strict=True))
    )


def zero_delta(path: FastPath, controllers: PerController) -> PerController:
    """Zeros like the parameters that adapt, None for controllers that do not."""
    return jax.tree.map(jnp.zeros_like, _chosen(path, controllers))


def delta(
    path: FastPath, controllers: PerController, weights: FastWeights
) -> PerController:
    """By how much fast weights differ from the slow ones they began as."""
    slow = _chosen(path, controllers)
    return jax.tree.map(jnp.subtract, weights.controllers, slow)


def apply_delta(
    path: FastPath, controllers: PerController, change: PerController
) -> PerController:
    """The parameters that adapt, moved by what was learned earlier."""
    return jax.tree.map(jnp.add, _chosen(path, controllers), change)


def start(
    path: FastPath, controllers: PerController, source: CotangentSource
) -> FastWeights:
    """Fast weights at the start of an episode: the slow ones."""
    return FastWeights(_chosen(path, controllers), source.init())
