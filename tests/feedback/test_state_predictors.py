"""Predictors of a state's future: silent at first, and what they look at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax.feedback import state_predictors
from nmn_jax.feedback.state_predictors import STATE_PREDICTORS
from nmn_jax.settings.records import StreamSettings

ROWS, D, C = 4, 3, 2
GIVEN = tiny.normal(1, ROWS, D), tiny.normal(2, ROWS, C)


def trained(name):
    """A predictor with parameters nowhere near their start."""
    predictor = STATE_PREDICTORS[name]()
    return predictor, tiny.drawn(3, predictor.init, D, C)


@pytest.mark.parametrize("name", STATE_PREDICTORS)
def test_an_untrained_predictor_says_nothing(name, key):
    predictor = STATE_PREDICTORS[name]()
    said = predictor.predict(predictor.init(key, D, C), *GIVEN)
    np.testing.assert_array_equal(said.now, jnp.zeros((ROWS, D)))
    np.testing.assert_array_equal(said.next, jnp.zeros((ROWS, D)))


@tiny.float64
def test_a_linear_one_is_linear_and_a_hidden_layer_stays_bounded():
    rows, context = tiny.normal(1, ROWS, D), tiny.normal(2, ROWS, C)
    linear, params = trained("linear")
    said = linear.predict(params, rows, context).now
    expected = jnp.concatenate([rows, context], 1) @ params["kernel"]
    np.testing.assert_allclose(said, expected + params["bias"][None], rtol=1e-12)
    mlp, params = trained("mlp")
    most = jnp.sum(jnp.abs(params["last"]["kernel"]), 0) + jnp.abs(
        params["last"]["bias"]
    )
    for size in (1.0, 1e6):
        said = mlp.predict(params, size * rows, context).now
        assert np.all(np.abs(said) <= most[None])


@tiny.float64
def test_a_linear_mlp_is_the_sum_of_both():
    rows, context = tiny.normal(1, ROWS, D), tiny.normal(2, ROWS, C)
    both, params = trained("linear_mlp")
    said = both.predict(params, rows, context)
    parts = [
        STATE_PREDICTORS[name]().predict(params[name], rows, context)
        for name in ("linear", "mlp")
    ]
    np.testing.assert_allclose(said.now, parts[0].now + parts[1].now, rtol=1e-12)
    np.testing.assert_array_equal(said.next, parts[1].next)
    assert np.any(parts[0].now) and np.any(parts[1].now)


@tiny.float64
def test_least_squares_are_solved_over_all_pairs_that_count_the_newest_most():
    """Three windows of pairs against one weighted problem, solved another way."""
    keep, ridge = 0.5, 1e-2
    made = state_predictors.make_least_squares_state_predictor(keep, ridge, every=3)
    assert made.fit is not None
    params = made.init(jax.random.key(0), D, C)
    fit = tiny.jit(made.fit)
    left, right = [], []
    for window, weight in enumerate((0.25, 0.5, 1.0)):
        rows, context, goal = (
            tiny.normal(10 * window + at, ROWS, width)
            for at, width in enumerate((D, C, D))
        )
        counts = jnp.arange(ROWS) != window
        params = fit(params, state_predictors.Pairs(rows, context, goal, counts))
        # Between solutions the last one stays.
        assert bool(jnp.any(params["kernel"])) == (window == 2)
        inputs = np.concatenate([rows, context, np.ones((ROWS, 1))], 1)
        scale = np.sqrt(weight / 3)
        left.append(scale * inputs[np.asarray(counts)])
        right.append(scale * np.asarray(goal)[np.asarray(counts)])
    inputs, goals = np.concatenate(left), np.concatenate(right)
    width = inputs.shape[1]
    size = ridge * np.mean(np.sum(inputs**2, 0))
    inputs = np.concatenate([inputs, np.sqrt(size) * np.eye(width)])
    goals = np.concatenate([goals, np.zeros((width, D))])
    expected = np.linalg.lstsq(inputs, goals, rcond=None)[0]
    np.testing.assert_allclose(params["kernel"], expected, rtol=1e-8)
    said = made.predict(params, *GIVEN).now
    asked = np.concatenate([*GIVEN, np.ones((ROWS, 1))], 1)
    np.testing.assert_allclose(said, asked @ expected, rtol=1e-6)
    # Where nothing counts, nothing is forgotten either.
    nothing = state_predictors.Pairs(rows, context, goal, jnp.zeros(ROWS, bool))
    same = fit(params, nothing)
    np.testing.assert_array_equal(same["seen"], params["seen"])


def test_an_auxiliary_guess_needs_a_layer_to_share():
    for name, predictor in STATE_PREDICTORS.items():
        given = {"target": "bootstrap", "predictor": name, "auxiliary": 0.1}
        if predictor().shares:
            assert StreamSettings(**given).auxiliary == 0.1
        else:
            with pytest.raises(ValueError, match="share nothing"):
                StreamSettings(**given)
