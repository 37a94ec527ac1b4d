"""Rules of the literature that a memory written by a gradient contains.

Each is written down a second time as its paper has it, in loops over NumPy arrays or
with gradients of its own, and must agree to 1e-12 in float64.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_memory
from tiny import float64
from tiny_memory import A, T, V, deep, linear, make

from nmn_jax import memory

RATE, MOMENTUM, RETENTION = 0.3, 0.6, 0.9
close = {"rtol": 1e-12, "atol": 1e-12}


def numpy_parts(given):
    return (np.asarray(each) for each in tiny_memory.parts(given))


def loop(matrix, given, write):
    """Reads after every write of a matrix memory, `write(S, key, value) -> S`."""
    recalled = []
    for query, key, value in zip(*numpy_parts(given), strict=True):
        matrix = write(matrix, key, value)
        recalled.append(query @ matrix)
    return matrix, np.stack(recalled)


def check_matrix_rule(write, **options):
    params, given, final, recalled = tiny_memory.run(make(linear(), **options))
    (matrix,) = (np.asarray(each) for each in params.weights)
    expected, reads = loop(matrix, given, write)
    np.testing.assert_allclose(final.weights[0], expected, **close)
    np.testing.assert_allclose(recalled, reads, **close)


@float64
def test_delta_rule():
    """S ← S - β k (kS - v)ᵀ (Schlag et al., 2021; Yang et al., 2024)."""
    check_matrix_rule(lambda S, k, v: S - RATE * np.outer(k, k @ S - v), rate=RATE)


@float64
def test_hebbian_outer_product():
    """S ← S + β k vᵀ: fast weight programmers without a normaliser."""
    check_matrix_rule(
        lambda S, k, v: S + RATE * np.outer(k, v),
        rate=RATE,
        cotangent=memory.cotangents.hebb,
    )


@float64
def test_gated_delta_rule_forms_the_error_after_the_decay():
    """S ← ρS; S ← S - β k (kS - v)ᵀ (Gated DeltaNet)."""

    def write(S, k, v):
        S = RETENTION * S
        return S - RATE * np.outer(k, k @ S - v)

    schedule = memory.Schedule(retain_first=True)
    check_matrix_rule(write, rate=RATE, retention=RETENTION, schedule=schedule)


@float64
def test_linear_titans_forms_the_error_before_the_decay():
    """S ← ρS - β k (kS - v)ᵀ with the S of before."""
    check_matrix_rule(
        lambda S, k, v: RETENTION * S - RATE * np.outer(k, k @ S - v),
        rate=RATE,
        retention=RETENTION,
    )


@float64
def test_the_two_places_of_the_decay_are_two_rules():
    finals = [
        tiny_memory.run(
            make(
                linear(),
                rate=RATE,
                retention=RETENTION,
                schedule=memory.Schedule(retain_first=first),
            )
        )[2].weights[0]
        for first in (False, True)
    ]
    assert float(jnp.linalg.norm(finals[0] - finals[1])) > 0.01


@float64
def test_delta_rule_in_the_exact_parallel_form():
    """U = (I + tril(β K Kᵀ, -1))⁻¹ β (V - K S₀); S_T = S₀ + Kᵀ U."""
    made = make(linear(), rate=RATE)
    params, given, final, recalled = tiny_memory.run(made)
    queries, keys, values = numpy_parts(given)
    (first,) = (np.asarray(each) for each in params.weights)
    triangle = np.eye(T) + np.tril(RATE * keys @ keys.T, -1)
    pushes = np.linalg.solve(triangle, RATE * (values - keys @ first))
    np.testing.assert_allclose(final.weights[0], first + keys.T @ pushes, **close)
    seen = np.tril(queries @ keys.T)
    np.testing.assert_allclose(recalled, queries @ first + seen @ pushes, **close)


def titans(weights, given, *, rate, momentum, retention, chunk):
    """Titans eqs. 10-14 with gradients of ‖f - v‖² at the start of each chunk."""
    network, (_, keys, values) = deep(), tiny_memory.parts(given)

    @jax.grad
    def surprise(weights, key, value):
        return jnp.sum((network.apply(weights, key) - value) ** 2)

    speed, anchor = jax.tree.map(jnp.zeros_like, weights), weights
    for t, (key, value) in enumerate(zip(keys, values, strict=True)):
        anchor = weights if t % chunk == 0 else anchor
        push = surprise(anchor, key, value)
        speed = jax.tree.map(lambda s, g: momentum * s - rate * g, speed, push)
        weights = jax.tree.map(lambda w, s: retention * w + s, weights, speed)
    return weights


@pytest.mark.parametrize("chunk", [1, 3])
@float64
def test_titans_with_momentum_forgetting_and_chunks(chunk):
    made = make(
        deep(),
        rate=2 * RATE,  # Ours is the gradient of half the square.
        momentum=MOMENTUM,
        retention=RETENTION,
        schedule=memory.Schedule(chunk),
    )
    params, given, final, _ = tiny_memory.run(made)
    expected = titans(
        params.weights, given,
        rate=RATE, momentum=MOMENTUM, retention=RETENTION, chunk=chunk,
    )  # fmt: skip
    chex.assert_trees_all_close(final.weights, expected, **close)


@float64
def test_titans_without_momentum_forgetting_and_chunks_is_metalearned_memory():
    """MNM-g: θ ← θ - β ∇‖f_θ(k) - v‖² after every step (Munkhdalai et al., 2019)."""
    params, given, final, _ = tiny_memory.run(make(deep(), rate=2 * RATE))
    weights, (_, keys, values) = params.weights, tiny_memory.parts(given)
    for key, value in zip(keys, values, strict=True):
        push = jax.grad(
            lambda w, k=key, v=value: jnp.sum((deep().apply(w, k) - v) ** 2)
        )(weights)
        weights = jax.tree.map(lambda w, g: w - RATE * g, weights, push)
    chex.assert_trees_all_close(final.weights, weights, **close)
    same = titans(
        params.weights, given, rate=RATE, momentum=0.0, retention=1.0, chunk=1
    )
    chex.assert_trees_all_close(final.weights, same, **close)


@float64
def test_without_momentum_and_retention_a_write_is_a_step_down_the_squared_loss():
    """Against finite differences of ½‖f_θ(k) - v‖²."""
    made = make(deep(), rate=RATE)
    params, given, final, _ = tiny_memory.run(made, steps=1)
    _, keys, values = tiny_memory.parts(given)
    slope = tiny.finite_differences(
        lambda w: jnp.sum((deep().apply(w, keys[0]) - values[0]) ** 2) / 2,
        params.weights,
    )
    expected = jax.tree.map(lambda w, g: w - RATE * g, params.weights, slope)
    chex.assert_trees_all_close(final.weights, expected, rtol=1e-8, atol=1e-9)


SCHEDULES = [
    (linear, 1, False), (linear, 3, False), (linear, 3, True), (deep, 3, True),
    (deep, T, False), (deep, 2 * T, True),
]  # fmt: skip


@pytest.mark.parametrize(("network", "chunk", "retain_first"), SCHEDULES)
@float64
def test_a_chunk_at_once_is_the_sequence_of_its_writes(network, chunk, retain_first):
    """State and reads; the last chunk of the stream may be cut short."""
    made = make(
        network(),
        rate=memory.gates.dependent(RATE, scale="log"),
        momentum=memory.gates.dependent(MOMENTUM, scale="logit"),
        retention=memory.gates.learned(RETENTION, scale="logit"),
        transform=lambda s: jax.tree.map(jnp.tanh, s),
        schedule=memory.Schedule(chunk, retain_first),
    )
    params, state = tiny_memory.start(1, made)
    given = tiny_memory.stream(2)
    one_by_one = tiny_memory.write_all
    expected = tiny.jit(lambda: one_by_one(made, params, state, given))()
    found = tiny.jit(lambda: made.write_many(params, state, *given))()
    chex.assert_trees_all_close(found, expected, **close)
    assert int(found[0].position) == T


def hebbian_softmax(rows, classes, hidden, *, floor):
    """θ[i] ← λ h + (1 - λ) θ[i], λ = max(1 / c[i], γ), c[i] counting this one too."""
    rows, counts = rows.copy(), np.zeros(len(rows))
    for label, h in zip(classes, hidden, strict=True):
        counts[label] += 1
        share = max(1 / counts[label], floor)
        rows[label] = share * h + (1 - share) * rows[label]
    return rows, counts


@float64
def test_hebbian_softmax_is_a_convex_write_to_the_row_of_the_class():
    """Rae et al. (2018), without the step of gradient descent between the writes."""
    rows, hidden = tiny.normal(1, 3, V), tiny.normal(2, 9, V)
    classes, floor = [0, 1, 0, 0, 2, 0, 1, 0, 0], 0.25
    expected, counts = hebbian_softmax(
        np.asarray(rows), classes, np.asarray(hidden), floor=floor
    )
    rule, usage, by_rule = memory.make_hebbian_write(floor=floor), jnp.zeros(3), rows
    for label, h in zip(classes, hidden, strict=True):
        chosen = jax.nn.one_hot(label, 3, dtype=rows.dtype)
        share = jnp.maximum(1 / (usage[label] + 1), floor)
        rows = memory.convex_write(rows, usage, share * chosen, h).memory
        by_rule, usage, _ = rule(by_rule, usage, chosen, h)
    np.testing.assert_allclose(rows, expected, **close)
    np.testing.assert_allclose(by_rule, expected, **close)
    np.testing.assert_array_equal(usage, counts)


@float64
def test_without_a_floor_a_row_is_the_mean_of_what_was_written():
    hidden = tiny.normal(3, 5, A)
    rule, rows, usage = memory.make_hebbian_write(), jnp.ones((1, A)), jnp.zeros(1)
    for h in hidden:
        rows, usage, _ = rule(rows, usage, jnp.ones(1), h)
    np.testing.assert_allclose(rows[0], np.mean(hidden, axis=0), **close)
