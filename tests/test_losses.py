"""Losses and scores by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from nmn_jax import losses


def test_cross_entropy_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])) + 3.0
    found = losses.cross_entropy(logits, tiny.one_hot([1, 2]))
    np.testing.assert_allclose(found, [np.log(4), -np.log(0.8)], rtol=1e-6)


def test_cross_entropy_of_soft_targets_and_large_logits():
    logits = jnp.array([1e4, 0.0])
    found = losses.cross_entropy(logits, jnp.array([0.5, 0.5]))
    np.testing.assert_allclose(found, 5e3)


def test_squared_error_is_a_mean_over_the_width():
    found = losses.squared_error(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 5.0]]))
    np.testing.assert_allclose(found, [(1 + 9) / 2])


def test_a_distance_is_a_mean_over_positions():
    """Of positions missed by 5 and 1; it has a slope where nothing is missed."""
    said = jnp.array([[3.0, 4.0, 1.0, 1.0]])
    asked = jnp.array([[0.0, 0.0, 1.0, 2.0]])
    np.testing.assert_allclose(losses.distance(said, asked), [3.0], rtol=1e-6)
    slope = jax.grad(lambda at: losses.distance(at, asked).sum())
    np.testing.assert_allclose(slope(said), [[0.3, 0.4, 0.0, -0.5]], atol=1e-6)
    np.testing.assert_array_equal(slope(asked), 0 * asked)


def test_accuracy_by_hand():
    logits = jnp.array([[[0.1, 0.9], [0.6, 0.4]], [[3.0, 2.0], [-1.0, 0.0]]])
    targets = jnp.array(tiny.one_hot([[1, 1], [0, 0]], 2))
    found = losses.accuracy(logits, targets)
    np.testing.assert_array_equal(found, [[1, 0], [1, 0]])
    assert found.dtype == logits.dtype
