"""Gradient steps on the context at test time, and what they leave alone."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model

from nmn_jax import losses
from nmn_jax.feedback.subsets import SOURCES, SUBSETS
from nmn_jax.methods.adaptation import make_adapt
from nmn_jax.settings.records import AdaptSettings
from nmn_jax.tasks import episodes


def make(source="true", params="all", lr=0.1):
    """A method that adapts, its state, two episodes, and the adaptation compiled."""
    model = tiny_model.make_model("skip_lstm")
    design = tiny_model.make_design(model)
    method = tiny_model.make_method(design, tiny_model.STILL, tiny_model.STILL)
    settings = AdaptSettings(source=source, params=params, lr=lr)
    adapt = make_adapt(design, settings)
    state = tiny_model.method_state(0, method, model)
    return method._replace(adapt=adapt), state, tiny_model.make_batch(5)


def episode(batch, number):
    """One episode of a batch, alone."""
    return jax.tree.map(lambda leaf: leaf[number : number + 1], batch)


def context_loss(method, state, context):
    """The mean loss of a context asked back."""
    asked = episodes.ask_back(context)
    said = method.predict(state, asked.context, asked.queries).output
    return jnp.mean(losses.cross_entropy(said, asked.answers))


def moved(state, params):
    return state._replace(network=state.network._replace(params=params))


def adapted(method, state, context, steps=1):
    """Parameters of the network after a few steps on one episode's context."""
    run = tiny.jit(method.adapt, static_argnums=2)
    return run(state, context, steps).network.params


@pytest.mark.parametrize("params", sorted(SUBSETS))
@tiny.float64
def test_a_true_step_is_gradient_descent_on_the_context_loss(params):
    method, state, batch = make(params=params)
    before = state.network.params
    for number in range(2):
        context = episode(batch, number).context
        grads = tiny.jit(
            jax.grad(lambda at, c=context: context_loss(method, moved(state, at), c))
        )(before)
        expected = jax.tree.map(
            lambda p, g: p - 0.1 * g, before, SUBSETS[params](grads)
        )
        found = adapted(method, state, context)
        chex.assert_trees_all_close(found, expected, atol=1e-12)


@tiny.float64
def test_synthetic_steps_move_the_controllers_alone():
    method, state, batch = make(source="sg")
    found = adapted(method, state, episode(batch, 0).context)
    before = state.network.params
    chex.assert_trees_all_equal(found.encoder, before.encoder)
    chex.assert_trees_all_equal(found.decoder, before.decoder)
    chex.assert_trees_all_equal(found.cell.memory, before.cell.memory)
    distance = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()),
        found.cell.controllers, before.cell.controllers,
    )  # fmt: skip
    assert max(jax.tree.leaves(distance)) > 0


@tiny.float64
def test_both_is_the_sum_of_true_and_synthetic():
    steps = {}
    for source in SOURCES:
        method, state, batch = make(source=source)
        found = adapted(method, state, episode(batch, 0).context)
        steps[source] = jax.tree.map(jnp.subtract, found, state.network.params)
    expected = jax.tree.map(jnp.add, steps["true"], steps["sg"])
    chex.assert_trees_all_close(steps["both"], expected, atol=1e-12)


def test_no_step_changes_nothing_and_many_fit_the_context():
    method, state, batch = make(lr=0.3)
    context = episode(batch, 0).context
    chex.assert_trees_all_equal(method.adapt(state, context, 0), state)
    after = moved(state, adapted(method, state, context, 5))
    assert context_loss(method, after, context) < context_loss(method, state, context)
    # Nothing else of the state has moved.
    chex.assert_trees_all_equal(moved(after, state.network.params), state)


@tiny.float64
def test_mapped_over_episodes_what_does_not_move_stays_one_for_all():
    """An encoder of its own for every episode would be many times slower."""
    method, state, batch = make(params="controllers")
    shared = jax.tree.map(lambda leaf: None, state)
    cell = shared.network.params.cell._replace(controllers=0)
    axes = moved(shared, shared.network.params._replace(cell=cell))

    def one(context):
        alone = jax.tree.map(lambda leaf: leaf[None], context)
        return method.adapt(state, alone, 2)

    # vmap refuses to return as shared what differs between the episodes.
    found = tiny.jit(jax.vmap(one, out_axes=axes))(batch.context)
    expected = adapted(method, state, episode(batch, 1).context, 2)
    controllers = jax.tree.map(
        lambda leaf: leaf[1], found.network.params.cell.controllers
    )
    chex.assert_trees_all_close(controllers, expected.cell.controllers, rtol=1e-10)
    chex.assert_trees_all_equal(
        found.network.params.encoder, state.network.params.encoder
    )
    everything = make(params="all")[0]
    with pytest.raises(ValueError, match="vmap"):
        jax.eval_shape(
            jax.vmap(
                lambda c: everything.adapt(
                    state, jax.tree.map(lambda leaf: leaf[None], c), 1
                ),
                out_axes=axes,
            ),
            batch.context,
        )


def test_an_adapted_state_answers_every_query():
    """Adapted or not, a state is asked in the same way."""
    method, state, batch = make()
    one = episode(batch, 0)
    after = moved(state, adapted(method, state, one.context))
    before = method.predict(state, one.context, one.queries).output
    found = method.predict(after, one.context, one.queries).output
    assert found.shape == before.shape == one.answers.shape
    assert np.any(found != before)
