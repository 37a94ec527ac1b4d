"""MetaNet against loops over examples and coordinates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax import losses
from nmn_jax.methods import metanet, table
from nmn_jax.settings import override, preset
from nmn_jax.settings.rivals import MetaNetSettings

SUPPORTS, QUERIES, WIDTH, CLASSES = 4, 2, 3, 3
SMALL = MetaNetSettings(units=2, meta_units=3)


def relu(values):
    return np.maximum(values, 0)


def dense(params, inputs):
    return inputs @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


@functools.cache
def case():
    """Readout and parameters in double precision, and one episode."""
    readout = metanet.make_readout(SMALL, CLASSES)
    params = tiny.drawn(1, readout.init, WIDTH, scale=0.9)
    targets = tiny.one_hot([2, 0, 1, 0])
    return readout, params, (
        tiny.normal(2, SUPPORTS, WIDTH), targets, tiny.normal(3, QUERIES, WIDTH)
    )  # fmt: skip


def told(slope):
    """One number of a gradient as the networks are given it."""
    if abs(slope) >= np.exp(-7):
        return np.array([np.log(abs(slope)) / 7, np.sign(slope)])
    return np.array([-1.0, np.exp(7) * slope])


def slow(base, inputs):
    hidden = jax.nn.relu(inputs @ base["hidden"]["kernel"] + base["hidden"]["bias"])
    return hidden @ base["output"]["kernel"] + base["output"]["bias"]


@jax.jit
def example_gradient(base, inputs, target):
    return jax.grad(lambda at: losses.cross_entropy(slow(at, inputs), target))(base)


@jax.jit
def task_gradient(embed, base, features, target):
    def loss(embed):
        inputs = jax.nn.relu(features @ embed["kernel"] + embed["bias"])
        return losses.cross_entropy(slow(base, inputs), target)

    return jax.grad(loss)(embed)


def coordinates(function, *slopes):
    """A function of one coordinate of each gradient, over all coordinates."""
    return jax.tree.map(
        lambda *leaves: np.array(
            [function(each) for each in zip(*(x.ravel() for x in leaves), strict=True)]
        ).reshape(leaves[0].shape),
        *(jax.tree.map(np.asarray, each) for each in slopes),
    )


def lstm(params, steps):
    params = jax.tree.map(np.asarray, params)
    cell = hidden = np.zeros(3)
    for step in steps:
        gate = {
            g: step @ params[f"i{g}"]["kernel"]
            + hidden @ params[f"h{g}"]["kernel"] + params[f"h{g}"]["bias"]
            for g in "ifgo"
        }  # fmt: skip
        share = {g: 1 / (1 + np.exp(-gate[g])) for g in "ifo"}
        cell = share["f"] * cell + share["i"] * np.tanh(gate["g"])
        hidden = share["o"] * np.tanh(cell)
    return hidden


def by_hand(params, supports, targets, queries):
    """Answers to the queries, one thing after the other."""

    def example(one):
        hidden = told(one[0])
        for layer in params["example"][:-1]:
            hidden = relu(dense(layer, hidden))
        return dense(params["example"][-1], hidden)[0]

    def task(each):
        last = lstm(params["task"]["reader"], [told(one) for one in each])
        return dense(params["task"]["read"], last)[0]

    slopes = [
        task_gradient(params["embed"], params["base"], x, y)
        for x, y in zip(supports[:CLASSES], targets, strict=False)
    ]
    star = coordinates(task, *slopes)

    def embed(features):
        return relu(dense(params["embed"], features)) + relu(dense(star, features))

    keys = [embed(x) for x in np.asarray(supports)]
    fast = [
        coordinates(example, example_gradient(params["base"], key, target))
        for key, target in zip(keys, targets, strict=True)
    ]
    answers = []
    for query in map(embed, np.asarray(queries)):
        alike = [
            key @ query / (np.linalg.norm(key) * np.linalg.norm(query) + 1e-300)
            for key in keys
        ]
        share = np.exp(alike) / np.exp(alike).sum()
        both = jax.tree.map(
            lambda *e, share=share: sum(s * x for s, x in zip(share, e, strict=True)),
            *fast,
        )
        hidden = relu(dense(params["base"]["hidden"], query))
        hidden = hidden + relu(dense(both["hidden"], query))
        outputs = (dense(w["output"], hidden) for w in (params["base"], both))
        answers.append(sum(outputs))
    return np.stack(answers)


@tiny.float64
def test_answers_are_those_of_loops():
    readout, params, episode = case()
    found = tiny.jit(readout.answer)(params, *episode)
    np.testing.assert_allclose(
        found.output, by_hand(params, *episode), rtol=1e-6, atol=1e-8
    )
    # The units of every layer are awake, or the comparison would say little.
    assert np.ptp(np.asarray(found.output)) > 0.1


@tiny.float64
def test_small_gradients_are_told_as_they_are_and_large_ones_by_their_logarithm():
    slopes = np.array([0.0, 1e-5, -1e-4, np.exp(-7.0), -0.02, 30.0])
    found = metanet.preprocessed(jnp.asarray(slopes))
    np.testing.assert_allclose(found, [told(each) for each in slopes], rtol=1e-6)


@pytest.mark.parametrize("order", ["first", "second"])
@tiny.float64
def test_slow_learning_passes_gradients_or_takes_them_for_constants(order):
    """Fast weights depend on the base learner through gradients of the loss alone."""
    settings = MetaNetSettings(units=2, meta_units=3, order=order)
    made = metanet.make_parts(settings, CLASSES)
    _, params, (supports, targets, _) = case()

    def fast(base):
        given = {**params, "base": base}
        task = metanet.task_weights(made, given, supports, targets)
        example = metanet.example_weights(made, given, supports[:, :2], targets)
        return jnp.sum(task["kernel"]) + jnp.sum(example)

    slope = tiny.jit(jax.grad(fast))(params["base"])
    assert bool(np.any(slope["output"]["kernel"])) == (order == "second")


def test_published_settings_are_the_defaults():
    line = table.METHODS["metanet"]
    settings = override(preset("recommended", ways=5, shots=1), **line.published(5, 1))
    given = settings.metanet
    assert (given.units, given.meta_units, given.order) == (64, 20, "first")
    assert (settings.model.layers, settings.optim.lr) == (4, 1e-3)
