"""Steps inside a loss: closed forms, finite differences and a detached reference."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax.feedback import inner_loop as inner


def bowl(at, curvature):
    """½ k p², whose inner loop has a closed form."""
    return 0.5 * jnp.sum(curvature * at**2)


def network(params, inputs):
    hidden = jnp.tanh(inputs @ params["in"] + params["bias"][None])
    return hidden @ params["out"]


def regression(params, context):
    """A small network on a sine, as MAML's first experiment has it."""
    inputs, targets = context
    return jnp.mean((network(params, inputs) - targets) ** 2)


def sine():
    params = {
        "in": tiny.normal(0, 1, 4),
        "bias": tiny.normal(1, 4),
        "out": tiny.normal(2, 4, 1),
    }
    inputs = tiny.normal(3, 5, 1)
    later = tiny.normal(4, 6, 1)
    return params, (inputs, jnp.sin(inputs)), (later, jnp.sin(later))


def outer(params, rates, **options):
    """The loss of later examples after the inner loop."""
    _, context, later = sine()
    after = inner.inner_loop(regression, params, context, rates=rates, **options)
    return regression(after, later)


@pytest.mark.parametrize("steps", [0, 1, 3])
@tiny.float64
def test_a_bowl_has_a_closed_form(steps):
    start, curvature, rate = jnp.asarray([1.0, -2.0]), jnp.asarray([0.5, 3.0]), 0.1

    def after(start, rate, order):
        return inner.inner_loop(
            bowl, start, curvature, rates=rate, steps=steps, order=order
        )

    shrinks = (1 - rate * curvature) ** steps
    np.testing.assert_allclose(after(start, rate, "second"), shrinks * start)
    slopes = jax.jacobian(after)
    np.testing.assert_allclose(slopes(start, rate, "second"), np.diag(shrinks))
    np.testing.assert_allclose(slopes(start, rate, "first"), np.eye(2))


@pytest.mark.parametrize("keep", sorted(inner.KEEPS))
@tiny.float64
def test_second_order_is_finite_differences(keep):
    params, _, _ = sine()
    options = {"rates": 0.3, "steps": 2, "keep": keep}
    found = jax.grad(lambda at: outer(at, **options))(params)
    numbers = tiny.finite_differences(lambda at: outer(at, **options), params)
    chex.assert_trees_all_close(found, numbers, rtol=1e-6, atol=1e-8)


@tiny.float64
def test_first_order_is_the_gradient_at_the_adapted_parameters():
    params, context, later = sine()
    detached = params
    for _ in range(2):
        grads = jax.grad(regression)(detached, context)
        detached = jax.tree.map(lambda p, g: p - 0.3 * g, detached, grads)
    found = jax.grad(lambda at: outer(at, 0.3, steps=2, order="first"))(params)
    chex.assert_trees_all_close(found, jax.grad(regression)(detached, later))
    second = jax.grad(lambda at: outer(at, 0.3, steps=2))(params)
    apart = max(
        float(jnp.abs(a - b).max())
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(second), strict=True)
    )
    assert apart > 1e-3


@pytest.mark.parametrize("order", ["first", "second"])
@tiny.float64
def test_a_rate_for_every_number_has_a_gradient_in_both_orders(order):
    """One step: ∂L/∂α = -∇L(θ; D) ⊙ ∇L(θ'; D')."""
    params, context, later = sine()
    rates = jax.tree.map(lambda leaf: 0.1 + 0.05 * leaf**2, params)
    found = jax.grad(lambda at: outer(params, at, steps=1, order=order))(rates)
    slope = jax.grad(regression)(params, context)
    after = jax.tree.map(lambda p, r, g: p - r * g, params, rates, slope)
    ahead = jax.grad(regression)(after, later)
    expected = jax.tree.map(lambda a, b: -a * b, slope, ahead)
    chex.assert_trees_all_close(found, expected)


@tiny.float64
def test_a_rate_may_be_shared_by_a_branch():
    params, context, _ = sine()
    rates = {"in": 0.0, "bias": 0.1, "out": 0.2}
    after = inner.inner_step(regression, params, context, rates=rates)
    slope = jax.grad(regression)(params, context)
    expected = {name: params[name] - rates[name] * slope[name] for name in params}
    chex.assert_trees_all_close(after, expected)
    np.testing.assert_array_equal(after["in"], params["in"])


@tiny.float64
def test_tasks_side_by_side_have_gradients_of_their_own():
    starts, curvatures = jnp.asarray([[1.0], [2.0]]), jnp.asarray([[0.5], [3.0]])
    found = inner.inner_loop(bowl, starts, curvatures, rates=0.1, steps=2)
    np.testing.assert_allclose(found, starts * (1 - 0.1 * curvatures) ** 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": -1}, "steps=-1"),
        ({"steps": 1, "order": "third"}, "order='third'.*first.*second"),
        ({"steps": 1, "keep": "some"}, "keep='some'.*all.*params"),
    ],
)
def test_what_is_not_allowed_is_told(given, message):
    with pytest.raises(ValueError, match=message):
        inner.inner_loop(bowl, jnp.ones(2), jnp.ones(2), rates=0.1, **given)
