"""The encoder of vectors: one dense layer that keeps the encoders' contract."""

import inspect

import jax
import numpy as np
import pytest

from nmn_jax import nets


def test_a_vector_encoder_is_one_rectified_layer(key):
    encoder = nets.make_dense_encoder(4, 3)
    params, stats = encoder.init(key)
    params = {**params, "bias": np.array([0.5, -0.5, 0.0, 2.0], np.float32)}
    inputs = jax.random.normal(jax.random.key(1), (2, 5, 3))
    features, after = encoder.apply(params, stats, inputs, supports=2, phase="train")
    expected = np.zeros((2, 5, 4))
    for e in range(2):
        for i in range(5):
            for d in range(4):
                total = sum(
                    float(inputs[e, i, k]) * float(params["kernel"][k, d])
                    for k in range(3)
                )
                expected[e, i, d] = max(0.0, total + float(params["bias"][d]))
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert (expected == 0).any() and (expected > 0).any()
    assert after == stats == ()
    assert encoder.width == 4


def test_a_vector_encoder_refuses_what_it_was_not_made_for(key):
    encoder = nets.make_dense_encoder(4, 3)
    params, stats = encoder.init(key)
    apply = inspect.unwrap(encoder.apply)
    with pytest.raises(ValueError, match="made for"):
        encoder.init(key, (2,))
    with pytest.raises(ValueError, match=r"inputs have shape \(2, 5, 2\); .* 3\]"):
        apply(params, stats, np.ones((2, 5, 2)), supports=2, phase="train")
    with pytest.raises(ValueError, match="inputs have shape"):
        apply(params, stats, np.ones((3,)), supports=2, phase="train")
    with pytest.raises(ValueError, match="supports is 6"):
        apply(params, stats, np.ones((2, 5, 3)), supports=6, phase="train")
    with pytest.raises(ValueError, match="phase is 'fit'"):
        apply(params, stats, np.ones((2, 5, 3)), supports=2, phase="fit")
