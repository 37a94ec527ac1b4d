"""SNAIL against one sequence after the other, step by step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from experiments.omniglot import records
from nmn_jax.methods import snail, table
from nmn_jax.methods.snail import Sequence
from nmn_jax.settings.rivals import SnailSettings

SUPPORTS, QUERIES, WIDTH, CLASSES = 5, 3, 4, 3
SMALL = SnailSettings(keys=3, values=2, filters=2, reach=3)


def sequence():
    return Sequence(tiny.normal(0, SUPPORTS, WIDTH), tiny.normal(1, QUERIES, WIDTH))


def attended(params, steps):
    """What every step of one sequence reads, by loops over steps."""
    asked, value = (
        steps @ params[name]["kernel"] + params[name]["bias"]
        for name in ("query", "value")
    )
    key = steps @ params["key"]
    read = []
    for now in range(len(steps)):
        alike = np.array(
            [asked[now] @ key[then] / np.sqrt(len(key[0])) for then in range(now + 1)]
        )
        shares = np.exp(alike) / np.exp(alike).sum()
        read.append(sum(s * v for s, v in zip(shares, value, strict=False)))
    return np.concatenate([steps, np.stack(read)], axis=1)


def convolved(back):
    def apply(params, steps):
        found = []
        for now in range(len(steps)):
            before = steps[now - back] if now >= back else np.zeros_like(steps[0])
            both = np.concatenate([steps[now], before])
            raw, gate = np.split(both @ params["kernel"] + params["bias"], 2)
            found.append(np.tanh(raw) / (1 + np.exp(-gate)))
        return np.concatenate([steps, np.stack(found)], axis=1)

    return apply


@pytest.mark.parametrize(
    ("layer", "by_hand"),
    [
        (snail.attention(3, 2), attended),
        *((snail.dense_block(2, back), convolved(back)) for back in (1, 4, 8)),
    ],
)
@tiny.float64
def test_a_layer_is_that_of_each_querys_own_sequence(layer, by_hand):
    given = sequence()
    params = tiny.drawn(3, layer.init, WIDTH, scale=0.8)
    found = tiny.jit(layer.apply)(params, given)
    numbers = jax.tree.map(np.asarray, params)
    for number, query in enumerate(given.queries):
        steps = np.concatenate([given.supports, query[None]])
        expected = by_hand(numbers, steps)
        assert expected.shape[1] == WIDTH + layer.wider
        np.testing.assert_allclose(found.supports, expected[:-1], rtol=1e-8)
        np.testing.assert_allclose(found.queries[number], expected[-1], rtol=1e-8)


def test_no_step_sees_a_later_one():
    given = sequence()
    layers = [snail.attention(3, 2), *snail.convolutions(2, 3)]
    for layer in layers:
        params = tiny.drawn(3, layer.init, WIDTH, scale=0.8)
        apply = jax.jit(layer.apply)
        before = apply(params, given).supports
        changed = given._replace(supports=given.supports.at[2].add(1.0))
        after = apply(params, changed).supports
        np.testing.assert_array_equal(after[:2], before[:2])
        assert np.any(after[2] != before[2])


def test_every_support_and_its_label_reach_an_answer():
    readout = snail.make_readout(SMALL, CLASSES)
    params = tiny.drawn(2, readout.init, WIDTH, scale=0.8)
    labels = tiny.one_hot([0, 1, 2, 1, 0])
    answer = tiny.jit(
        jax.jacrev(lambda *given: readout.answer(params, *given).output, argnums=(0, 1))
    )
    features, targets = answer(sequence().supports, labels, sequence().queries)
    for slope in (features, targets):
        # [Q, C, S, width]: nothing is blind to a support.
        assert np.all(jnp.abs(slope).sum((1, 3)) > 0)


@pytest.mark.parametrize(
    ("ways", "shots", "reach"), [(5, 1, 3), (5, 5, 5), (20, 1, 5), (20, 5, 7)]
)
def test_convolutions_reach_over_an_episode(ways, shots, reach):
    line = table.METHODS["snail"]
    run = records.Run(method="snail", ways=ways, shots=shots)
    settings = records.resolve(run, line.uses, line.published(ways, shots))
    given = settings.snail
    assert (given.keys, given.values, given.filters) == (64, 32, 128)
    assert given.reach == reach
    # The farthest look back is beyond the first support and the steps between.
    assert sum(2**number for number in range(reach)) >= ways * shots
