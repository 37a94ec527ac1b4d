"""The k likest slots: found without sorting all, and by codes that follow the rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax import memory
from nmn_jax.memory import search


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("length", [5, 256, 257, 1000, 5000])
def test_the_largest_are_found_without_sorting_all(length, count):
    values = tiny.normal(length, length)
    found = search.largest(values, count)
    np.testing.assert_array_equal(found, np.argsort(-values)[:count])


def test_equal_numbers_are_found_once_each():
    found = search.largest(jnp.zeros(2000), 6)
    assert len({*np.asarray(found).tolist()}) == 6 and np.all(found < 2000)
    padded = search.largest(jnp.full(300, -jnp.inf), 4)
    assert len({*np.asarray(padded).tolist()}) == 4


def test_exact_search_is_by_the_similarity():
    rows, query = tiny.normal(1, 700, 8), tiny.normal(2, 8)
    compare = memory.keyed(memory.cosine, width=5)
    made = search.exact(compare)
    found = made.find(made.start(rows), rows, query, 3)
    np.testing.assert_array_equal(found, np.argsort(-compare(rows, query))[:3])


WIDTH, KEYS = 24, 16


def signs(**options):
    compare = memory.keyed(memory.cosine, width=KEYS)
    return search.by_signs(compare, width=KEYS, **options)


def test_signs_find_what_a_noisy_key_belongs_to():
    """Ten candidates in a thousand: chance would find one in a hundred."""
    rows = tiny.normal(1, 2000, WIDTH)
    noisy = rows[:200] + 0.3 * tiny.normal(2, 200, WIDTH)
    made = signs(bits=256, candidates=20)
    find = jax.vmap(lambda query: made.find(made.start(rows), rows, query, 2))
    found = find(noisy)
    assert np.mean(found[:, 0] == np.arange(200)) > 0.97
    compare = jax.vmap(memory.cosine, (None, 0))(rows[:, :KEYS], noisy[:, :KEYS])
    likeness = np.take_along_axis(np.asarray(compare), np.asarray(found), axis=1)
    assert np.all(likeness[:, 0] >= likeness[:, 1])


def test_signs_compare_keys_alone_and_few_slots_exactly():
    rows, query = tiny.normal(1, 50, WIDTH), tiny.normal(2, WIDTH)
    made = signs()
    found = made.find(made.start(rows), rows, query, 50)
    compare = memory.cosine(rows[:, :KEYS], query[:KEYS])
    np.testing.assert_array_equal(found, np.argsort(-compare))
    other = made.start(rows.at[:, KEYS:].set(0))
    np.testing.assert_array_equal(made.start(rows), other)


def test_slots_that_fill_the_last_blocks_are_never_found():
    """1,001 slots in 20 blocks leave 19 places empty."""
    rows = -jnp.ones((1001, WIDTH))
    made = signs(candidates=20)
    found = made.find(made.start(rows), rows, jnp.ones(WIDTH), 20)
    assert np.all(np.asarray(found) < 1001)


def test_codes_follow_the_rows_that_are_written():
    rows, row = tiny.normal(1, 40, WIDTH), tiny.normal(2, WIDTH)
    made = signs()
    moved = made.moved(made.start(rows), jnp.asarray(7), row)
    np.testing.assert_array_equal(moved, made.start(rows.at[7].set(row)))
    assert np.any(moved != made.start(rows))


@pytest.mark.parametrize("wrong", [{"bits": 0}, {"bits": 48}, {"candidates": 0}])
def test_signs_refuse_what_makes_no_search(wrong):
    with pytest.raises(ValueError, match="search by signs with bits="):
        signs(**wrong)
