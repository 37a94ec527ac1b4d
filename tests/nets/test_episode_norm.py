"""The norm that keeps an average of every episode's own statistics."""

from __future__ import annotations

import jax
import numpy as np
import tiny

from nmn_jax import nets
from nmn_jax.nets import convolution

SIDE, CHANNELS = 4, 3


def make(norm):
    return nets.make_conv_encoder(
        channels=CHANNELS, layers=1, norm=norm, image_shape=(SIDE, SIDE),
        formulation=convolution.direct,
    )  # fmt: skip


@tiny.float64
def test_it_trains_on_an_episodes_own_and_tests_on_their_average():
    encoder, images = make("episode"), tiny.normal(0, 2, 3, SIDE, SIDE)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0))
    params = tiny.filled(1, shapes[0], 1.0)
    start = jax.tree.map(np.ones, [leaf.shape for leaf in jax.tree.leaves(shapes[1])],
                         is_leaf=lambda each: isinstance(each, tuple))  # fmt: skip
    stats = jax.tree.unflatten(jax.tree.structure(shapes[1]), start)
    features, after = encoder.apply(params, stats, images, supports=2, phase="train")
    same, _ = make("batch").apply(params, (), images, supports=2, phase="train")
    np.testing.assert_array_equal(features, same)
    values = jax.lax.conv_general_dilated(
        images.reshape(-1, SIDE, SIDE, 1), params[0].kernel, (1, 1), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    ).reshape(2, -1, CHANNELS)  # fmt: skip
    mean, variance = values.mean(1).mean(0), values.var(1).mean(0)
    np.testing.assert_allclose(after[0].mean, 0.9 + 0.1 * mean)
    np.testing.assert_allclose(after[0].variance, 0.9 + 0.1 * variance)
    tested, kept = encoder.apply(params, after, images, supports=2, phase="test")
    alone, _ = encoder.apply(params, after, images[:, :1], supports=1, phase="test")
    np.testing.assert_allclose(tested[:, :1], alone)
    assert not np.allclose(tested, features)
    np.testing.assert_array_equal(kept[0].mean, after[0].mean)
