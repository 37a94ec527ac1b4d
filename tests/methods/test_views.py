"""Answers averaged over views, against a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_method

from nmn_jax.methods.base import Answer
from nmn_jax.methods.views import SEED, with_views
from nmn_jax.tasks import episodes

TASK = episodes.classification(
    ways=2, shots=2, queries=3, episodes=4, image_shape=(3, 3)
)
SOURCE = jnp.asarray(
    np.random.default_rng(0).integers(0, 256, (5, 6, 3, 3), dtype=np.uint8)
)
BATCH = TASK.sample(jax.random.key(1), jnp.asarray(0), SOURCE)
TOY = toy_method.make(None, TASK, steps=9)


def shaken(key, images):
    return images + 0.3 * jax.random.normal(key, images.shape)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_answer_is_the_mean_over_views_the_first_of_which_is_plain(count):
    state = TOY.init(jax.random.key(0))
    outputs = [toy_method.logits(state.scale, BATCH.context, BATCH.queries)]
    for key in jax.random.split(jax.random.key(SEED), count - 1):
        support, query = jax.random.split(key)
        inputs = jnp.stack([shaken(support, each) for each in BATCH.context.inputs])
        queries = jnp.stack([shaken(query, each) for each in BATCH.queries])
        context = BATCH.context._replace(inputs=inputs)
        outputs.append(toy_method.logits(state.scale, context, queries))
    method = with_views(TOY, shaken, count)
    found = method.predict(state, BATCH.context, BATCH.queries).output
    np.testing.assert_allclose(found, np.mean(outputs, axis=0), rtol=1e-5)
    again = method.predict(state, BATCH.context, BATCH.queries).output
    np.testing.assert_array_equal(found, again)
    if count > 1:
        assert np.abs(found - outputs[0]).max() > 1e-2


def test_an_episode_is_answered_alike_in_any_batch():
    state, method = TOY.init(jax.random.key(0)), with_views(TOY, shaken, 3)
    whole = method.predict(state, BATCH.context, BATCH.queries).output
    turned = jax.tree.map(lambda each: each[::-1][:2], BATCH)
    part = method.predict(state, turned.context, turned.queries).output
    np.testing.assert_allclose(part, whole[::-1][:2], rtol=1e-5)


def test_evidence_is_that_of_the_images_as_they_are():
    def predict(state, context, queries):
        return Answer(toy_method.logits(1.0, context, queries), {"seen": queries})

    method = with_views(TOY._replace(predict=predict), shaken, 3)
    found = method.predict(None, BATCH.context, BATCH.queries)
    np.testing.assert_array_equal(found.evidence["seen"], BATCH.queries)


def test_there_is_at_least_one_view():
    with pytest.raises(ValueError, match="at least one view"):
        with_views(TOY, shaken, 0)
