"""Rate, momentum and retention of a write: constant, learned, or said by each write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Pair(NamedTuple):
    """What one write teaches: `value` `[V]` at `key` `[A]`.

    position: `[]`, how many writes went before
    """

    key: jax.Array
    value: jax.Array
    position: jax.Array


class Gate(NamedTuple):
    """A number for every write.

    init: `(key, width) -> params`, `width` is A + V
    value: `(params, Pair) -> []`, never negative
    most: no value exceeds it
    """

    init: Callable[[jax.Array, int], Any]
    value: Callable[[Any, Pair], Any]
    most: float


class _Scale(NamedTuple):
    """From the number that is learned to the gate's value, and back."""

    forward: Callable[[Any], Any]
    backward: Callable[[float], float]
    most: float


SCALES: dict[str, _Scale] = {
    "log": _Scale(jnp.exp, math.log, math.inf),
    "logit": _Scale(jax.nn.sigmoid, lambda x: math.log(x / (1 - x)), 1.0),
}


def constant(value: float) -> Gate:
    """The same number for ever; it has no parameters.

    Raises:
      ValueError: if `value` is negative or not finite.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"gate of {value}: must be finite and not negative")

    def at(params: Any, pair: Pair) -> jax.Array:
        del params
        return jnp.asarray(value, pair.value.dtype)

    return Gate(lambda key, width: (), at, value)


def learned(start: float, *, scale: str) -> Gate:
    """One number per memory, `start` at first, learned slowly on a `log` or `logit`
    scale: rates on the first, shares (momentum, retention) on the second.

    Raises:
      ValueError: if the scale is unknown or `start` is not inside its range.
    """
    chosen, origin = _checked(start, scale)

    def init(key: jax.Array, width: int) -> jax.Array:
        del key, width
        return jnp.full((), origin)

    def at(params: jax.Array, pair: Pair) -> jax.Array:
        del pair
        return chosen.forward(params)

    return Gate(init, at, chosen.most)


def dependent(start: float, *, scale: str) -> Gate:
    """A number said by each write: the scale's inverse of b + w · [k; v].

    `w` is zero at first, so every write begins with `start` (the α_t, η_t and ρ_t of
    Titans, Behrouz et al., 2025, section 3, and of gated delta rules).

    Raises:
      ValueError: as `learned`.
    """
    chosen, origin = _checked(start, scale)

    def init(key: jax.Array, width: int) -> dict[str, jax.Array]:
        del key
        return {"bias": jnp.full((), origin), "kernel": jnp.zeros((width,))}

    def at(params: dict[str, jax.Array], pair: Pair) -> jax.Array:
        said = jnp.concatenate([pair.key, pair.value]) @ params["kernel"]
        return chosen.forward(params["bias"] + said)

    return Gate(init, at, chosen.most)


def as_gate(given: Gate | float) -> Gate:
    """A gate as it is, a number as a constant one."""
    return given if isinstance(given, Gate) else constant(given)


def _checked(start: float, scale: str) -> tuple[_Scale, float]:
    """The scale, and where `start` lies on it."""
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}; choose one of {sorted(SCALES)}")
    chosen = SCALES[scale]
    if not 0 < start < chosen.most:
        raise ValueError(
            f"gate that starts at {start} on a {scale} scale: must lie between 0 and "
            f"{chosen.most}, both excluded"
        )
    return chosen, chosen.backward(start)
