"""Every measure by hand, and the alarm."""

import warnings

import jax.numpy as jnp
import pytest
import tiny

from nmn_jax import diagnostics
from nmn_jax.types import PerController


def test_cosine_is_a_mean_over_steps():
    predicted = jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    true = jnp.array([[5.0, 0.0], [0.0, 1.0], [-6.0, -8.0], [1.0, 1.0]])
    found = diagnostics.cosine(predicted, true)
    assert float(found) == pytest.approx((1 + 0 - 1 + 0) / 4)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e8])
def test_cosine_and_r_squared_do_not_depend_on_the_size_of_gradients(scale):
    true = tiny.normal(1, 7, 4)
    predicted = true + tiny.normal(2, 7, 4)
    for measure in (diagnostics.cosine, diagnostics.r_squared):
        found = measure(scale * predicted, scale * true)
        assert float(found) == pytest.approx(float(measure(predicted, true)), rel=1e-4)


def test_r_squared_by_hand():
    true = jnp.array([[3.0, 4.0], [0.0, 5.0]])
    assert float(diagnostics.r_squared(true, true)) == 1
    assert float(diagnostics.r_squared(0 * true, true)) == 0
    assert float(diagnostics.r_squared(0.5 * true, true)) == pytest.approx(0.75)
    assert float(diagnostics.r_squared(-true, true)) == pytest.approx(-3)
    assert float(diagnostics.r_squared(true, 0 * true)) == 0


def test_mean_norm_by_hand():
    assert float(diagnostics.mean_norm(jnp.array([[3.0, 4.0], [0.0, 1.0]]))) == 3


def test_quality_names_every_controller_and_measure():
    true = PerController(*(tiny.normal(seed, 2, 3, 4) for seed in range(3)))
    wrong = true._replace(write=-true.write)
    found = diagnostics.synthetic_quality(wrong, true)
    assert set(found) == {
        f"sg/{name}/{measure}"
        for name in ("input", "output", "write")
        for measure in ("cosine", "r2", "norm", "true_norm")
    }
    assert float(found["sg/input/cosine"]) == pytest.approx(1)
    assert float(found["sg/write/cosine"]) == pytest.approx(-1)
    assert float(found["sg/write/norm"]) == float(found["sg/write/true_norm"])
    assert all(value.shape == () for value in found.values())


def test_collapse_gives_one_clear_warning():
    with pytest.warns(UserWarning, match="slot collapse at step 7") as caught:
        assert diagnostics.warn_on_collapse({"memory/spread": 1e-5}, step=7)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not diagnostics.warn_on_collapse({"memory/spread": 0.5}, step=8)
        assert not diagnostics.warn_on_collapse({"loss": 1.0}, step=9)
