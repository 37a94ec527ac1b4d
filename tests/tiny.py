"""Small memories and cells, streams for them, and a second route to gradients.

Numbers are drawn by NumPy into the shapes `init` would give: the initialisers take
seconds to compile and are tested where they matter.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from nmn_jax import cell as cell_lib
from nmn_jax import controllers, memory
from nmn_jax.nets import kernels
from nmn_jax.types import Inputs, PerController

T, L, K, D, C = 5, 4, 6, 3, 3

# Every kind of controller in every one of the three places.
KINDS = (
    ("lstm", "skip_lstm", "stateless"),
    ("skip_lstm", "stateless", "lstm"),
    ("stateless", "lstm", "skip_lstm"),
)


# Every choice at least once; every kind of controller with every label input, and with
# every compose but the last.
CHOICES = ("kinds", "compose", "label_input", "similarity", "write_rule")
COVER = tuple(
    dict(zip(CHOICES, row, strict=True))
    for row in (
        (KINDS[0], "mem_only", "none", "dot", "convex"),
        (KINDS[1], "mem_only", "offset", "cosine", "additive"),
        (KINDS[2], "mem_only", "write", "scaled_dot", "least_used"),
        (KINDS[1], "query_mem", "none", "euclidean", "mann"),
        (KINDS[2], "query_mem", "offset", "euclidean", "convex"),
        (KINDS[0], "query_mem", "write", "cosine", "least_used"),
        (KINDS[1], "query_mem_weights", "write", "scaled_dot", "mann"),
    )
)


# Most of a test's time is the compiler's; these programs run once.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def float64(test):
    """Run a test with 64-bit numbers."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        with jax.enable_x64(True):
            return test(*args, **kwargs)

    return run


def normal(seed: int, *shape: int) -> jax.Array:
    """Standard normal numbers."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), float)


def filled(seed: int, tree: Any, scale: float = 0.4) -> Any:
    """Normal numbers in the shape of a tree of arrays or shapes."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(scale * draw.normal(size=leaf.shape), leaf.dtype), tree
    )


def blank(tree: Any) -> Any:
    """Zeros in the shape of a tree."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), tree)


def first(tree: Any) -> Any:
    """The first of everything along the leading axis."""
    return jax.tree.map(lambda leaf: leaf[0], tree)


def drawn(seed: int, init: Any, *args: Any, scale: float = 0.4, **kwargs: Any) -> Any:
    """Normal numbers in the shape of what `init(key, ...)` returns."""
    make = functools.partial(init, **kwargs)
    shapes = jax.eval_shape(lambda key: make(key, *args), jax.random.key(0))
    return filled(seed, shapes, scale)


def make_cell(
    kinds: Any = "stateless", *, compose="query_mem", label_input="none", **options: Any
) -> cell_lib.Cell:
    """A cell by names; one kind for all controllers or one each."""
    kinds = (kinds,) * 3 if isinstance(kinds, str) else kinds
    known = {**controllers.CONTROLLERS, "linear": linear_controller}
    made = (known[kind](K, kernels.identity_kernel) for kind in kinds)
    return cell_lib.make_cell(
        PerController(*made),
        make_slots(**options),
        compose=controllers.COMPOSE[compose],
        label_input=controllers.LABEL_INPUTS[label_input],
    )


def make_slots(
    *, slots: int = L, similarity: str = "dot", write_rule: str = "convex", **options
) -> memory.Memory:
    """A memory of slots by names."""
    return memory.slots(
        slots=slots,
        width=K,
        similarity=memory.SIMILARITIES[similarity],
        write_rule=memory.WRITE_RULES[write_rule],
        **options,
    )


def linear_controller(width: int = K, kernel: Any = None) -> controllers.Controller:
    """h = x W: the controller whose fast update is an outer product."""
    kernel = kernel or kernels.random_kernel

    def init(key, inputs):
        return {"kernel": kernel(key, (inputs, width))}

    def step(params, carry, inputs):
        return carry, inputs @ params["kernel"]

    return controllers.Controller(init, lambda: (), step, width, linear=("kernel",))


def one_hot(labels: Any, classes: int = C) -> jax.Array:
    return jnp.asarray(np.eye(classes)[np.asarray(labels)], float)


def stream(seed: int, steps: int = T) -> Inputs:
    """A stream with labels, each step told the label before."""
    labels = one_hot(np.random.default_rng(seed).integers(C, size=steps))
    previous = jnp.concatenate([jnp.zeros_like(labels[:1]), labels[:-1]])
    return Inputs(normal(seed + 1, steps, D), labels, previous)


class Case(NamedTuple):
    """A cell with parameters, a state that is not the initial one, and a stream."""

    cell: cell_lib.Cell
    params: cell_lib.CellParams
    state: Any
    inputs: Inputs


def make_case(kinds: Any = "stateless", *, steps: int = T, **options: Any) -> Case:
    """A case of the precision in force; equal arguments share one and its programs."""
    wide = jax.config.jax_enable_x64
    return _make_case(wide, kinds, steps, tuple(sorted(options.items())))


@functools.cache
def _make_case(wide: bool, kinds: Any, steps: int, options: tuple) -> Case:
    cell = make_cell(kinds, **dict(options))
    params = drawn(1, cell.init, features=D, classes=C)
    params = with_rows(params, filled(2, params.memory.rows, 1.0))
    state = filled(3, jax.eval_shape(cell.initial_state, params), 0.5)
    return Case(cell, params, state, stream(4, steps))


def with_rows(params: cell_lib.CellParams, rows: jax.Array) -> cell_lib.CellParams:
    """The same parameters with other rows in the initial memory."""
    return params._replace(memory=params.memory._replace(rows=rows))


unroll = jit(cell_lib.unroll, static_argnums=0)
ask = jit(cell_lib.ask, static_argnums=0)


def finite_differences(function: Any, at: Any, *, step: float = 1e-5) -> Any:
    """Central differences of a scalar function of a tree, one number at a time."""
    flat, unravel = ravel_pytree(at)

    def difference(direction: jax.Array) -> jax.Array:
        ahead = function(unravel(flat + step * direction))
        return (ahead - function(unravel(flat - step * direction))) / (2 * step)

    each = jit(lambda all: jax.lax.map(difference, all))
    return unravel(each(jnp.eye(len(flat), dtype=flat.dtype)))
