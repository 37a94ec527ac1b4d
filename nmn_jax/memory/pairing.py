"""How the query and the update of a step become key, value and what is recalled."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Pairing(NamedTuple):
    """Between a cell of width K and a network from keys `[A]` to values `[V]`.

    ask: `(query [K]) -> [A]`, the key that is read
    pair: `(query [K], update [K]) -> (key [A], value [V])`, what is written
    answer: `(query [K], output [V]) -> [K]`, what is recalled
    width, keys, values: K, A and V
    """

    ask: Callable[[jax.Array], jax.Array]
    pair: Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
    answer: Callable[[jax.Array, jax.Array], jax.Array]
    width: int
    keys: int
    values: int


def query_keys(width: int) -> Pairing:
    """The query is the key under which the whole update is stored: A = V = K.

    Raises:
      ValueError: if `width` is not positive.
    """
    if width < 1:
        raise ValueError(f"memory of width {width}: must be at least 1")
    return Pairing(
        ask=lambda query: query,
        pair=lambda query, update: (query, update),
        answer=lambda query, output: output,
        width=width,
        keys=width,
        values=width,
    )


def own_keys(width: int, *, key_width: int) -> Pairing:
    """The update brings its own key: its first `key_width` numbers, the rest is value.

    Of the query those first numbers are read, and they stand before the value in what
    is recalled, as in a slot of key and value: A = key_width, V = K - A.

    Raises:
      ValueError: if `key_width` leaves no room for a key or for a value.
    """
    if not 0 < key_width < width:
        raise ValueError(
            f"key_width={key_width} in a memory of width {width}: must lie between 1 "
            f"and {width - 1}"
        )
    return Pairing(
        ask=lambda query: query[:key_width],
        pair=lambda query, update: (update[:key_width], update[key_width:]),
        answer=lambda query, output: jnp.concatenate([query[:key_width], output]),
        width=width,
        keys=key_width,
        values=width - key_width,
    )


def unit_keys(pairing: Pairing) -> Pairing:
    """The same with keys of length one, as DeltaNet and Titans have them.

    With the squared cotangent and rates up to 2 a write to a linear memory then never
    amplifies what is stored already, whatever the scale of the features. Lengths are
    floored at 1e-6 under the root, so a zero key gives finite gradients.
    """

    def pair(query: jax.Array, update: jax.Array) -> tuple[jax.Array, jax.Array]:
        key, value = pairing.pair(query, update)
        return _unit(key), value

    return pairing._replace(ask=lambda query: _unit(pairing.ask(query)), pair=pair)


def _unit(key: Float[Array, " keys"]) -> Float[Array, " keys"]:
    return key * jax.lax.rsqrt(jnp.sum(key**2) + 1e-12)
