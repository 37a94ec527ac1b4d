"""A state with all that a checkpoint has to hold, and how two are compared."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nmn_jax.run import checkpoint


class State(NamedTuple):
    params: dict[str, Any]
    optimizer: Any
    empty: tuple
    key: jax.Array
    step: jax.Array


def make_state(seed: int = 0, *, width: int = 6) -> State:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "kernel": jax.random.normal(keys[0], (4, width)),
        "half": jax.random.normal(keys[1], (5,)).astype(jnp.bfloat16),
    }
    return State(params, optax.adam(1e-3).init(params), (), keys[2], jnp.int32(seed))


def raw(leaf: jax.Array) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def assert_same(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        assert raw(a).tobytes() == raw(b).tobytes()


def save_steps(directory: pathlib.Path, *steps: int) -> None:
    with checkpoint.Checkpoints(directory) as saved:
        for step in steps:
            saved.save(step, make_state(step), extra={"seen": step})
