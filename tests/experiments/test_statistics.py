"""Intervals against published tables, against SciPy's own, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from experiments.common import statistics

# 97.5 % points of Student's t, from the table in NIST/SEMATECH's handbook (1.3.6.7.2).
PUBLISHED = {1: 12.706, 2: 4.303, 4: 2.776, 10: 2.228, 12: 2.179, 29: 2.045, 99: 1.984}


@pytest.mark.parametrize(("freedom", "quantile"), PUBLISHED.items())
def test_the_interval_has_students_factor_at_any_number_of_values(freedom, quantile):
    values = np.random.default_rng(freedom).normal(size=freedom + 1)
    found = statistics.estimate(values)
    error = values.std(ddof=1) / math.sqrt(freedom + 1)
    assert found.n == freedom + 1
    assert found.mean == pytest.approx(values.mean())
    assert found.half / error == pytest.approx(quantile, abs=6e-4)


def test_two_values_by_hand():
    # 0.02 apart: deviation 0.01 √2, over √2, times 12.706.
    mean, half, count = statistics.estimate([0.9, 0.92])
    assert (mean, count) == (pytest.approx(0.91), 2)
    assert half == pytest.approx(0.12706, rel=1e-4)


def test_one_value_has_no_interval_and_equal_values_one_of_no_width():
    assert statistics.estimate([0.9]) == (0.9, None, 1)
    assert statistics.estimate([0.5, 0.5, 0.5]) == (0.5, 0.0, 3)


@pytest.mark.parametrize(
    ("values", "said"),
    [([], "no values"), ([1, math.nan], "value 1 is nan"), ([math.inf], "inf")],
)
def test_what_has_no_mean_is_refused(values, said):
    with pytest.raises(ValueError, match=said):
        statistics.estimate(values)


def test_a_difference_is_paired_by_seed_and_has_scipys_interval():
    first = {0: 0.5, 1: 0.7, 3: 0.9, 5: 0.4, 7: None}
    second = {1: 0.6, 0: 0.1, 2: 0.0, 5: 0.45, 7: 0.3}
    found = statistics.paired(first, second)
    pairs = [(0.5, 0.1), (0.7, 0.6), (0.4, 0.45)]
    expected = stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    assert found.n == 3
    assert found.mean - found.half == pytest.approx(expected.low)
    assert found.mean + found.half == pytest.approx(expected.high)


def test_without_a_common_seed_there_is_no_difference():
    assert statistics.paired({0: 0.5, 1: None}, {2: 0.5, 1: 0.1}) is None


def test_factors_are_averaged_as_logarithms():
    # Logarithms to ten 1, 3, 2; 4.303 is Student's t for two degrees of freedom.
    found = statistics.geometric([10.0, 1000.0, 0.0, 100.0])
    low, high = (10 ** (2 + sign * 4.303 / math.sqrt(3)) for sign in (-1, 1))
    assert (found.middle, found.n) == (pytest.approx(100.0), 3)
    assert (found.low, found.high) == (
        pytest.approx(low, 1e-3),
        pytest.approx(high, 1e-3),
    )
    assert statistics.geometric([5.0]) == (pytest.approx(5.0), None, None, 1)
    assert statistics.geometric([0.0]) is None
    with pytest.raises(ValueError, match="at least 0"):
        statistics.geometric([-1.0])
