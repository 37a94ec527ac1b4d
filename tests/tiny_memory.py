"""Small memories that learn, and streams of queries and updates for them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import tiny

from nmn_jax import memory
from nmn_jax.feedback import plumbing

T, A, V = 7, 4, 3
WIDTH = A + V


def make(network: Any, **options: Any) -> memory.Memory:
    """A memory with keys of its own: updates are `[key; value]`."""
    pairing = options.pop("pairing", memory.pairing.own_keys(WIDTH, key_width=A))
    return memory.function(
        network, pull=plumbing.pull_params, pairing=pairing, **options
    )


def deep() -> Any:
    """A memory of two layers."""
    return memory.networks.mlp(V, hidden=(5,))


def linear() -> Any:
    """A matrix `[A, V]` as a memory."""
    return memory.networks.linear(V)


def stream(seed: int, steps: int = T) -> tuple[jax.Array, jax.Array]:
    """Queries and updates `[T, WIDTH]`."""
    return tiny.normal(seed, steps, WIDTH), tiny.normal(seed + 1, steps, WIDTH)


def parts(given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
    """What is asked, the keys and the values of a stream."""
    queries, updates = given
    return queries[:, :A], updates[:, :A], updates[:, A:]


def start(seed: int, made: memory.Memory) -> tuple[Any, Any]:
    """Parameters nowhere near their start, and the state before the first write."""
    params = tiny.drawn(seed, made.init)
    return params, made.start(params)


def write_all(
    made: memory.Memory, params: Any, state: Any, given: tuple[jax.Array, jax.Array]
) -> tuple[Any, jax.Array]:
    """One write after another; what each query reads after its write, `[T, WIDTH]`."""

    def body(state: Any, pair: tuple[jax.Array, jax.Array]) -> tuple[Any, jax.Array]:
        query, update = pair
        reading = made.read(params, state, query)
        after = made.write(params, state, reading, update).state
        return after, made.read(params, after, query).recalled

    return jax.lax.scan(body, state, given)


def run(made: memory.Memory, *, seed: int = 1, steps: int = T) -> tuple[Any, ...]:
    """`(params, stream, final state, recalled [T, V])` of a memory on a stream."""
    params, state = start(seed, made)
    given = stream(seed + 1, steps)
    final, recalled = tiny.jit(lambda: write_all(made, params, state, given))()
    return params, given, final, jnp.asarray(recalled)[:, A:]
