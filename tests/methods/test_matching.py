"""Matching networks against a loop over supports, and what their settings do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import tiny

from experiments.omniglot import records
from nmn_jax import losses
from nmn_jax.methods import matching, table

SUPPORTS, QUERIES, WIDTH = 4, 3, 5


def episode():
    """Class 2 has no support."""
    stored, asked = tiny.normal(0, SUPPORTS, WIDTH), tiny.normal(1, QUERIES, WIDTH)
    return stored, tiny.one_hot([0, 1, 1, 0]), asked


@tiny.float64
def test_an_answer_is_the_label_of_what_is_alike():
    stored, targets, asked = episode()
    for scale in (1.0, 7.0):
        found = matching.make_readout(scale).answer((), stored, targets, asked)
        for query, logits in zip(asked, found.output, strict=True):
            alike = [
                query @ each / (np.linalg.norm(query) * np.linalg.norm(each))
                for each in stored
            ]
            share = np.exp(scale * np.array(alike))
            expected = share / share.sum() @ np.asarray(targets)
            np.testing.assert_allclose(jax.nn.softmax(logits), expected, atol=1e-10)
            # Cross-entropy is the negative logarithm of what was said of the class.
            loss = losses.cross_entropy(logits, targets[0])
            np.testing.assert_allclose(loss, -np.log(expected[0]), rtol=1e-8)
            assert np.isfinite(logits[2])


def test_a_class_without_supports_gives_finite_gradients():
    stored, targets, asked = episode()

    def loss(stored):
        output = matching.make_readout().answer((), stored, targets, asked).output
        return jnp.sum(losses.cross_entropy(output, tiny.one_hot([2, 1, 0])))

    assert np.all(np.isfinite(tiny.jit(jax.grad(loss))(stored)))


def test_published_settings_are_the_defaults():
    line = table.METHODS["matching"]
    run = records.Run(method="matching")
    settings = records.resolve(run, line.uses, line.published(5, 1))
    assert (settings.model.layers, settings.model.channels) == (4, 64)
    assert (settings.matching.scale, settings.optim.lr) == (1.0, 1e-3)
    other = dataclasses.replace(run, matching={"scale": 10.0})
    settings = records.resolve(other, line.uses, line.published(5, 1))
    assert settings.matching.scale == 10
