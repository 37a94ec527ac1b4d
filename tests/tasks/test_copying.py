"""Copying: what is given is what is to be said, window by window."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmn_jax.tasks import copying
from nmn_jax.tasks.copying import Copying, Place

KEY = jax.random.key(1)


def place(length, repeats, window=0, number=0):
    return Place(*(jnp.asarray(each) for each in (number, window, length, repeats)))


def whole(length, repeats, steps, number=0):
    """Inputs and targets of all windows of a sequence, and where it ends."""
    kind = Copying(streams=2, window=steps, bits=3, beyond=1)
    task = copying.copying(kind)
    sample = jax.jit(functools.partial(task.sample, KEY, jnp.asarray(0)))
    count = -(-(length * (1 + repeats) + 1) // steps)
    found = [sample(place(length, repeats, at, number)) for at in range(count)]
    for now, after in itertools.pairwise(found):
        np.testing.assert_array_equal(now.beyond.inputs[0], after.inputs)
    ends = [bool(each.ends.all()) for each in found]
    assert ends == [False] * (count - 1) + [True]
    assert all(bool(each.ends.any()) == bool(each.ends.all()) for each in found)
    return (np.concatenate([getattr(each, name) for each in found], axis=1)
            for name in ("inputs", "targets"))  # fmt: skip


@pytest.mark.parametrize(("length", "repeats", "steps"), [(4, 1, 2), (2, 3, 5)])
def test_what_is_given_is_to_be_said_as_often_as_it_says(length, repeats, steps):
    inputs, targets = whole(length, repeats, steps)
    vectors = inputs[:, :length, :3]
    assert set(np.unique(vectors)) == {0.0, 1.0}
    assert np.any(vectors[0] != vectors[1])
    mark = np.zeros(inputs.shape[1])
    mark[length] = 1
    np.testing.assert_array_equal(inputs[:, :, 3], np.stack([mark, mark]))
    np.testing.assert_allclose(inputs[:, length, 4], repeats / 10)
    np.testing.assert_array_equal(inputs[:, length + 1 :], 0.0)
    said = slice(length + 1, length + 1 + length * repeats)
    np.testing.assert_array_equal(
        targets[:, said, :3], np.tile(vectors, (1, repeats, 1))
    )
    counts = np.zeros(inputs.shape[1])
    counts[said] = 1
    np.testing.assert_array_equal(targets[:, :, 3], np.stack([counts, counts]))
    other, _ = whole(length, repeats, steps, number=1)
    assert np.any(other != inputs)


def test_the_loss_is_in_bits_and_of_steps_that_count():
    task = copying.copying(Copying(bits=2))
    output, target = jnp.asarray([0.0, 0.0, 5.0]), jnp.asarray([1.0, 0.0, 1.0])
    np.testing.assert_allclose(task.loss(output, target), 1.0, rtol=1e-6)
    sure = jnp.asarray([3.0, -3.0, 0.0])
    expected = -np.log2(1 / (1 + np.exp(-3)))
    np.testing.assert_allclose(task.loss(sure, target), expected, rtol=1e-5)
    assert task.loss(sure, target.at[-1].set(0.0)) == 0.0
    assert task.score(output, target)["counts"] == 1.0


def test_sequences_grow_when_they_may_and_repeats_by_turns():
    yes, no = jnp.asarray(True), jnp.asarray(False)
    at = place(2, 2, window=3)
    told = lambda found: tuple(map(int, found))  # noqa: E731
    assert told(copying.moved(at, no, yes, repeat=True)) == (0, 4, 2, 2)
    assert told(copying.moved(at, yes, no, repeat=True)) == (1, 0, 2, 2)
    longer = copying.moved(at, yes, yes, repeat=True)
    assert told(longer) == (1, 0, 3, 2)
    assert told(copying.moved(longer, yes, yes, repeat=True)) == (2, 0, 3, 3)
    assert told(copying.moved(at, yes, yes, repeat=False)) == (1, 0, 3, 2)


def test_sequences_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="must be at least 1"):
        copying.copying(Copying(window=0))
