"""Prototypes against the closed form."""

import numpy as np
import tiny

from nmn_jax.methods import prototype


@tiny.float64
def test_logits_are_distances_to_class_means():
    stored, asked = tiny.normal(0, 4, 5), tiny.normal(1, 3, 5)
    labels = np.array([0, 1, 1, 2])
    found = prototype.logits(np.log(3.0), stored, tiny.one_hot(labels), asked).output
    for query, logits in zip(np.asarray(asked), found, strict=True):
        means = [np.asarray(stored)[labels == kind].mean(0) for kind in range(3)]
        expected = [-3.0 * np.mean((query - mean) ** 2) for mean in means]
        np.testing.assert_allclose(logits, expected, rtol=1e-10)
