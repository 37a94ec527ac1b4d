"""Predictors by hand: silent at first, right in form, scaled as they should be."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import C, K, T, float64

from nmn_jax import losses
from nmn_jax.feedback import predictors, targets
from nmn_jax.types import PerController

CORES = tuple(predictors.PREDICTORS)
OUTPUTS = PerController(
    *(np.random.default_rng(s).normal(size=(T, K)) for s in range(3))
)
LABELS = np.eye(C)[[0, 2, 1, 1, 0]]


def outputs():
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, float), OUTPUTS)


def labels():
    return jnp.asarray(LABELS, float)


def trained(core, seed=1):
    """A predictor with one set of parameters per controller."""
    predictor = predictors.PREDICTORS[core]()
    params = tiny.drawn(seed, predictor.init, K, C)
    each = (tiny.filled(seed + index, params) for index in range(3))
    return predictor, PerController(*each)


@pytest.mark.parametrize("core", CORES)
def test_every_core_is_silent_before_it_learns(key, core):
    predictor = predictors.PREDICTORS[core]()
    params = predictors.init(predictor, key, width=K, classes=C)
    start = predictors.carries(predictor, K)
    carries, predicted = predictors.predict(
        predictor, params, outputs(), labels(), start=start
    )
    chex.assert_trees_all_equal(predicted, tiny.blank(outputs()))
    chex.assert_trees_all_equal_shapes(carries, start)
    asked = predictors.predict_ask(predictor, params, outputs(), labels(), start=start)
    chex.assert_trees_all_equal(asked, predicted)


@pytest.mark.parametrize("core", CORES)
@float64
def test_predict_is_a_loop_and_a_question_is_asked_once(core):
    predictor, params = trained(core)
    start = predictors.carries(predictor, K)
    found = predictors.predict(predictor, params, outputs(), labels(), start=start)
    asked = predictors.predict_ask(predictor, params, outputs(), labels(), start=start)
    step = tiny.jit(predictor.step)
    for name, carry in start._asdict().items():
        fresh, hidden = carry, getattr(outputs(), name)
        weights = getattr(params, name)
        for t in range(T):
            _, alone = step(weights, fresh, hidden[t], labels()[t])
            carry, expected = step(weights, carry, hidden[t], labels()[t])
            close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10)  # noqa: E731
            close(getattr(found[1], name)[t], expected)
            close(getattr(asked, name)[t], alone)
        chex.assert_trees_all_close(getattr(found[0], name), carry, rtol=1e-10)


def test_only_the_lstm_core_remembers():
    for core in CORES:
        predictor, _ = trained(core)
        assert bool(jax.tree.leaves(predictor.carry(K))) is (core == "lstm")


@float64
def test_stateless_cores_by_hand():
    hidden, label = tiny.normal(1, K), tiny.one_hot(2)
    given = np.concatenate([hidden, label])
    predictor, params = trained("linear")
    weights = params.input
    found = predictor.step(weights, (), hidden, label)[1]
    np.testing.assert_allclose(
        found, given @ weights["kernel"] + weights["bias"], rtol=1e-12
    )
    predictor, params = trained("mlp")
    first, last = params.input["first"], params.input["last"]
    found = predictor.step(params.input, (), hidden, label)[1]
    inside = np.tanh(given @ first["kernel"] + first["bias"])
    np.testing.assert_allclose(
        found, inside @ last["kernel"] + last["bias"], rtol=1e-12
    )
    predictor, params = trained("residual")
    guess, last = params.input["guess"], params.input["last"]
    found = predictor.step(params.input, (), hidden, label)[1]
    powers = np.exp(hidden @ guess["kernel"] + guess["bias"])
    np.testing.assert_allclose(
        found, (powers / powers.sum() - label) @ last, rtol=1e-12
    )


@float64
def test_residual_core_contains_the_gradient_of_a_linear_softmax_decoder():
    kernel, bias = tiny.normal(1, K, C), tiny.normal(2, C)
    params = {"guess": {"kernel": kernel, "bias": bias}, "last": kernel.T}
    predictor = predictors.make_residual_predictor()

    def loss(output, label):
        return losses.cross_entropy(output @ kernel + bias, label)

    for output, label in zip(outputs().output, labels(), strict=True):
        expected = jax.grad(loss)(output, label)
        _, found = predictor.step(params, (), output, label)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_width_of_the_mlp_is_an_argument():
    predictor = predictors.make_mlp_predictor(hidden=7)
    params = tiny.drawn(1, predictor.init, K, C)
    assert params["first"]["kernel"].shape == (K + C, 7)
    assert params["last"]["kernel"].shape == (7, K)


def test_regression_loss_by_hand():
    predicted = PerController(*(jnp.array([[1.0, 2.0], [0.0, 0.0]]),) * 3)
    true = PerController(
        jnp.zeros((2, 2)), jnp.array([[1.0, 2.0], [3.0, 4.0]]), predicted.write
    )
    found = targets.regression_loss(predicted, true)
    # Summed over the width, averaged over the steps.
    assert tuple(map(float, found)) == ((5 + 0) / 2, (0 + 25) / 2, 0)
    batched = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), (predicted, true))
    assert targets.regression_loss(*batched) == found


def test_running_scale_is_bias_corrected():
    first = PerController(*(jnp.full((4, K), value) for value in (3.0, 0.5, 0.0)))
    second = PerController(*(jnp.full((4, K), value) for value in (1.0, 0.5, 0.0)))
    scale = targets.update_scale(targets.init_scale(), first, decay=0.9)
    # After one batch the root mean square is that of the batch, not a tenth of it.
    found = targets.rms_scale(scale)
    np.testing.assert_allclose(found, [3.0, 0.5, 1e-8], rtol=1e-5)
    scale = targets.update_scale(scale, second, decay=0.9)
    mean_square = (0.9 * 0.1 * 9 + 0.1 * 1) / (0.9 * 0.1 + 0.1)
    found = targets.rms_scale(scale)
    np.testing.assert_allclose(found, [np.sqrt(mean_square), 0.5, 1e-8], rtol=1e-5)


def test_without_a_scale_cotangents_are_predicted_as_they_are():
    true = PerController(*(jnp.full((4, K), 3.0),) * 3)
    scale = targets.update_scale(targets.init_scale(), true)
    assert tuple(map(float, targets.no_scale(scale))) == (1, 1, 1)


def test_unseen_scale_is_harmless():
    found = targets.rms_scale(targets.init_scale())
    assert all(np.isfinite(value) and value > 0 for value in found)
