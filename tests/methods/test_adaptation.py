"""Gradient steps on the support set, and what they leave alone."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmn_jax import adaptation, losses
from nmn_jax import learner as learner_lib
from tests import tiny


def make(source="true", subset="all", lr=0.1, episodes=2):
    model, feedback = tiny.make_model("skip_lstm"), tiny.make_feedback()
    still = optax.set_to_zero()
    learner = learner_lib.make_learner(model, feedback, still, still)
    state = tiny.learner_state(0, learner, model)
    adapter = adaptation.make_adapter(
        model, feedback, source=source, subset=subset, lr=lr
    )
    return learner, state, tiny.make_batch(5, episodes=episodes), adapter


def asked_back(batch):
    """The batch with every support set as its own queries."""
    support = batch.images[:, : batch.support.shape[1]]
    images = jnp.concatenate([support, support], axis=1)
    return batch._replace(images=images, query=batch.support)


def of_episode(params, number, subset):
    """One episode's parameters; the encoder is shared unless all of them move."""
    taken = jax.tree.map(lambda leaf: leaf[number], params._replace(encoder=()))
    encoder = params.encoder
    if subset == "all":
        encoder = jax.tree.map(lambda leaf: leaf[number], encoder)
    return taken._replace(encoder=encoder)


@tiny.float64
@pytest.mark.parametrize("subset", sorted(adaptation.SUBSETS))
def test_a_true_step_is_gradient_descent_on_the_support_loss(subset):
    learner, state, batch, adapter = make(subset=subset)
    adapted = adapter.update(state, batch, adapter.start(state, batch))
    asked = asked_back(batch)

    def loss(params, number):
        held = state._replace(network=state.network._replace(params=params))
        one = jax.tree.map(lambda leaf: leaf[number : number + 1], asked)
        answered = learner.predict(held, one)
        return jnp.mean(losses.cross_entropy(answered.logits, one.query))

    before = state.network.params
    for number in range(2):
        grads = adaptation.SUBSETS[subset](jax.grad(loss)(before, number))
        expected = jax.tree.map(lambda p, g: p - 0.1 * g, before, grads)
        chex.assert_trees_all_close(
            of_episode(adapted, number, subset), expected, atol=1e-12
        )


@tiny.float64
def test_synthetic_steps_move_the_controllers_alone():
    _, state, batch, adapter = make(source="sg")
    adapted = of_episode(
        adapter.update(state, batch, adapter.start(state, batch)), 0, "all"
    )
    before = state.network.params
    chex.assert_trees_all_equal(adapted.encoder, before.encoder)
    chex.assert_trees_all_equal(adapted.decoder, before.decoder)
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()),
        adapted.cell.controllers,
        before.cell.controllers,
    )
    assert max(jax.tree.leaves(moved)) > 0


@tiny.float64
def test_both_is_the_sum_of_true_and_synthetic():
    steps = {}
    for source in adaptation.SOURCES:
        _, state, batch, adapter = make(source=source)
        start = adapter.start(state, batch)
        adapted = adapter.update(state, batch, start)
        steps[source] = jax.tree.map(jnp.subtract, adapted, start)
    expected = jax.tree.map(jnp.add, steps["true"], steps["sg"])
    chex.assert_trees_all_close(steps["both"], expected, atol=1e-12)


def test_no_step_answers_as_the_learner_does_and_many_fit_the_support():
    learner, state, batch, adapter = make(lr=0.3)
    params = adapter.start(state, batch)
    np.testing.assert_allclose(
        adapter.predict(state, batch, params),
        learner.predict(state, batch).logits,
        atol=1e-5,
    )
    asked = asked_back(batch)

    def support_loss(params):
        logits = adapter.predict(state, asked, params)
        return float(jnp.mean(losses.cross_entropy(logits, asked.query)))

    before = support_loss(params)
    for _ in range(5):
        params = adapter.update(state, batch, params)
    assert support_loss(params) < before


def test_unknown_choices_are_refused_with_the_list():
    with pytest.raises(ValueError, match=r"unknown source 'false'.*'true'"):
        make(source="false")
    with pytest.raises(ValueError, match=r"unknown subset 'some'.*'decoder'"):
        make(subset="some")
