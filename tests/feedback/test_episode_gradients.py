"""The learner's path in float64: episodes, replayed and differentiated two ways."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from tiny import float64

from nmn_jax import feedback as feedback_lib
from nmn_jax import gradients, losses
from nmn_jax import learner as learner_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import SyntheticParams
from nmn_jax.types import PerController

SILENT = tiny.make_feedback("silent", train="regress")
NO_PREDICTORS = SyntheticParams(PerController((), (), ()), None)


def encoded(model, params, batch):
    features, _ = model.encoder.apply(
        params.encoder, jnp.zeros(()), batch.images, supports=0, phase="train"
    )
    return features


def episode_loss(model, batch, params, features, taps):
    run = feedback_lib.run_batch(
        model, SILENT, params, NO_PREDICTORS, features, batch, taps
    )
    return jnp.mean(losses.cross_entropy(run.logits, batch.query)), run


def backprop(model, batch, params):
    def forward(params, features, taps):
        return episode_loss(model, batch, params, features, taps)

    taps = feedback_lib.batch_taps(model, batch)
    return gradients.backprop(forward, params, encoded(model, params, batch), taps)


def pull(model, params, back):
    def one(support, query, cotangents):
        replay = model_lib.replay_episode(model, support, query)
        return gradients.pull_controllers(replay, params.cell.controllers, cotangents)

    run = back.aux
    each = jax.vmap(one)(run.support.trace, run.query, back.cotangents)
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), each)


CASES = [(choices, 1 + index % 2) for index, choices in enumerate(tiny.COVER)]


@pytest.mark.parametrize(("choices", "presentations"), CASES)
@float64
def test_true_cotangents_pulled_back_are_back_propagation(choices, presentations):
    model = tiny.make_model(**choices, presentations=presentations)
    params, batch = tiny.model_params(1, model), tiny.make_batch(2)

    @tiny.jit
    def both():
        back = backprop(model, batch, params)
        return back.params.cell.controllers, pull(model, params, back)

    slow, pulled = both()
    chex.assert_trees_all_close(pulled, slow, rtol=0, atol=1e-12)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slow))


@float64
def test_episode_taps_are_finite_differences():
    model = tiny.make_model(tiny.KINDS[1], label_input="write", presentations=2)
    params = tiny.model_params(1, model)
    batch = tiny.make_batch(2, episodes=1, queries=1)
    found = tiny.jit(lambda: backprop(model, batch, params).cotangents)()
    features = encoded(model, params, batch)
    expected = tiny.finite_differences(
        lambda taps: episode_loss(model, batch, params, features, taps)[0],
        feedback_lib.batch_taps(model, batch),
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-9)
    # What a query would write is seen by nobody.
    np.testing.assert_array_equal(found.query.write, 0)


@float64
def test_in_an_episode_the_last_support_write_is_heard_by_the_queries():
    """A support set of one step is enough: its write is what the queries recall."""
    model = tiny.make_model("linear", label_input="write")
    params = tiny.model_params(1, model)
    batch = tiny.make_batch(2)
    alone = batch._replace(images=batch.images[:, 2:], support=batch.support[:, :1])
    back = backprop(model, alone, params)
    assert np.all(np.asarray(back.cotangents.support.write) != 0)


@float64
def test_every_gradient_of_a_step_is_a_finite_difference():
    """Encoder, initial memory, addressing scale, controllers and decoder at once."""
    model = tiny.make_model("linear", label_input="write", presentations=2)
    batch = tiny.make_batch(2)
    learner = learner_lib.make_learner(model, SILENT, optax.sgd(1.0), optax.sgd(1.0))
    state = tiny.learner_state(3, learner, model)
    found = tiny.jit(
        lambda: learner_lib.two_speeds(model, SILENT, state, batch, phase="train")
    )()
    taps = feedback_lib.batch_taps(model, batch)

    def loss(params):
        return episode_loss(model, batch, params, encoded(model, params, batch), taps)[
            0
        ]

    expected = tiny.finite_differences(loss, state.network.params)
    chex.assert_trees_all_close(found.network, expected, rtol=1e-6, atol=1e-9)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(found.network))
