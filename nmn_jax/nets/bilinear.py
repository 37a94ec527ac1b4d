"""Bilinear maps whose derivatives of every order are the map and its two adjoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Map = Callable[[Any, Any, Any], Any]


class Family(NamedTuple):
    """Three maps with <apply(a, b), c> = <a, left(c, b)> = <b, right(a, c)>.

    Each takes a last argument that decides the map and is not differentiated, a tree of
    floating-point arrays (or `()`).

    apply: `(a, b, given) -> c`
    left: `(c, b, given) -> a`
    right: `(a, c, given) -> b`
    """

    apply: Map
    left: Map
    right: Map


def close(family: Family) -> Family:
    """The same maps, each with a derivative rule in terms of the other two.

    Reverse mode of any order then runs these three maps and nothing else: the compiler
    never transposes what is inside them. No forward mode.
    """
    apply, left, right = (jax.custom_vjp(_plain(each)) for each in family)

    def apply_back(kept: tuple, c: Any) -> tuple:
        a, b, given = kept
        return left(c, b, given), right(a, c, given), _zeros(given)

    def left_back(kept: tuple, a: Any) -> tuple:
        c, b, given = kept
        return apply(a, b, given), right(a, c, given), _zeros(given)

    def right_back(kept: tuple, b: Any) -> tuple:
        a, c, given = kept
        return left(c, b, given), apply(a, b, given), _zeros(given)

    apply.defvjp(_keeping(apply), apply_back)
    left.defvjp(_keeping(left), left_back)
    right.defvjp(_keeping(right), right_back)
    return Family(apply, left, right)


def _plain(function: Map) -> Map:
    """A function of its own, since a rule is attached to it."""
    return lambda first, second, given: function(first, second, given)


def _keeping(function: Map) -> Callable[..., tuple[Any, tuple]]:
    def forward(first: Any, second: Any, given: Any) -> tuple[Any, tuple]:
        return function(first, second, given), (first, second, given)

    return forward


def _zeros(tree: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, tree)
