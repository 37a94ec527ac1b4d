"""Predictors of a state's future: silent at first, and what they look at."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny

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


def test_an_auxiliary_guess_needs_a_layer_to_share():
    for name, predictor in STATE_PREDICTORS.items():
        given = {"target": "bootstrap", "predictor": name, "auxiliary": 0.1}
        if predictor().shares:
            assert StreamSettings(**given).auxiliary == 0.1
        else:
            with pytest.raises(ValueError, match="share nothing"):
                StreamSettings(**given)
