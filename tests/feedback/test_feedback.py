"""The second feedback path and the four controls that test it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tiny
from tiny import C, K, float64

from nmn_jax import fast, feedback, synthetic
from nmn_jax import learner as learner_lib
from nmn_jax.types import PerController, Stages

ALL = PerController._fields


def plain_path():
    return fast.make_fast_path(ALL, step_size="plain")


def step_gradients(model, chosen, *, seed=3, batch=None):
    """Gradients of a first step with predictors that speak."""
    learner = learner_lib.make_learner(model, chosen, optax.sgd(1.0), optax.sgd(1.0))
    state = tiny.learner_state(seed, learner, model)
    batch = tiny.make_batch(2) if batch is None else batch
    run = functools.partial(learner_lib.two_speeds, model, chosen, phase="train")
    return tiny.jit(run)(state, batch)


def logits(model, chosen, batch, *, seed=3, scale=0.3):
    learner = learner_lib.make_learner(model, chosen, optax.sgd(1.0), optax.sgd(1.0))
    state = tiny.learner_state(seed, learner, model, scale)
    return tiny.jit(learner.predict)(state, batch).logits


def controlled(control, **options):
    return tiny.make_feedback(control=feedback.CONTROLS[control], **options)


@float64
def test_zeroed_decoupled_feedback_is_no_injection():
    model = tiny.make_model("linear", label_input="write")
    found = step_gradients(model, controlled("zeroed", rule="add"))
    true = found.back.params[0].cell.controllers
    chex.assert_trees_all_equal(found.network.cell.controllers, true)


@float64
def test_oracle_that_replaces_is_back_propagation():
    model = tiny.make_model(tiny.KINDS[2], label_input="write", presentations=2)
    found = step_gradients(model, controlled("oracle", rule="replace"))
    true = found.back.params[0].cell.controllers
    chex.assert_trees_all_close(
        found.network.cell.controllers, true, rtol=0, atol=1e-12
    )


@float64
def test_oracle_that_adds_doubles_the_controllers_gradient_alone():
    model = tiny.make_model("linear", label_input="write")
    found = step_gradients(model, controlled("oracle", rule="add"))
    true = found.back.params[0]
    doubled = jax.tree.map(lambda g: 2 * g, true.cell.controllers)
    chex.assert_trees_all_close(
        found.network.cell.controllers, doubled, rtol=0, atol=1e-12
    )
    chex.assert_trees_all_equal(found.network.decoder, true.decoder)
    chex.assert_trees_all_equal(found.network.cell.memory, true.cell.memory)


@float64
def test_what_predictors_say_reaches_the_controllers_of_their_episode_or_shuffled():
    """For h = x W: Σ x ĝᵀ over episodes and steps, ĝ of this or another episode."""
    model, batch = tiny.make_model("linear"), tiny.make_batch(2, episodes=3)
    straight = step_gradients(model, tiny.make_feedback(rule="replace"), batch=batch)
    shuffled = step_gradients(
        model, controlled("shuffled", rule="replace"), batch=batch
    )
    run, said = straight.back.aux, straight.regression.predicted
    given = feedback.joined(Stages(run.support.trace.inputs, run.query.inputs))
    count = run.logits.shape[0] * run.logits.shape[1]
    for found, roll in ((straight, 0), (shuffled, 1)):
        for name in ALL:
            told = jnp.roll(getattr(said, name), roll, axis=0)
            expected = jnp.einsum("bti,btk->ik", getattr(given, name), told) / count
            kernel = getattr(found.network.cell.controllers, name)["kernel"]
            np.testing.assert_allclose(kernel, expected, rtol=1e-10)


@float64
def test_shuffled_fast_path_learns_the_labels_of_another_episode():
    model, batch = tiny.make_model("linear"), tiny.make_batch(2, episodes=3)
    shuffled = controlled("shuffled", fast=plain_path())
    rolled = batch._replace(support=jnp.roll(batch.support, 1, axis=0))
    found = logits(model, shuffled, batch)
    # Without a label input the labels reach the answers by the fast path alone.
    expected = logits(model, tiny.make_feedback(fast=plain_path()), rolled)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    straight = logits(model, tiny.make_feedback(fast=plain_path()), batch)
    assert np.any(np.abs(found - straight) > 1e-6)


@float64
def test_zeroed_fast_path_answers_as_without_one():
    model, batch = tiny.make_model("linear"), tiny.make_batch(2)
    without = logits(model, tiny.make_feedback(), batch)
    zeroed = logits(model, controlled("zeroed", fast=plain_path()), batch)
    np.testing.assert_allclose(zeroed, without, rtol=1e-12)
    speaking = logits(model, tiny.make_feedback(fast=plain_path()), batch)
    assert np.all(np.abs(speaking - without) > 1e-6)


def test_labels_reach_the_answers_by_the_fast_path_alone():
    """No label input: chance without SG, another answer with it."""
    model, batch = tiny.make_model(), tiny.make_batch(2)
    other = batch._replace(support=jnp.roll(batch.support, 1, axis=-1))
    off = tiny.make_feedback("silent", train="regress")
    np.testing.assert_array_equal(logits(model, off, batch), logits(model, off, other))
    decoupled = tiny.make_feedback(rule="add")
    np.testing.assert_array_equal(
        logits(model, decoupled, batch), logits(model, decoupled, other)
    )
    path = tiny.make_feedback(fast=plain_path())
    assert np.all(logits(model, path, batch) != logits(model, path, other))


@float64
def test_during_warm_up_true_gradients_are_used_alone():
    model = tiny.make_model("linear")
    chosen = tiny.make_feedback(rule="replace", warmup=2)
    learner = learner_lib.make_learner(model, chosen, optax.sgd(1.0), optax.sgd(1.0))
    state = tiny.learner_state(3, learner, model)
    run = functools.partial(learner_lib.two_speeds, model, chosen, phase="train")
    run = tiny.jit(run)
    for step in range(4):
        found = run(state._replace(step=jnp.asarray(step)), tiny.make_batch(2))
        true = found.back.params[0].cell.controllers
        same = jax.tree.map(
            lambda a, b: bool(jnp.all(a == b)), found.network.cell.controllers, true
        )
        assert all(jax.tree.leaves(same)) is (step < 2)


def test_joined_stages_can_be_parted_again():
    support = PerController(*(tiny.normal(seed, 2, 3, K) for seed in range(3)))
    query = PerController(*(tiny.normal(seed, 2, 5, K) for seed in range(3, 6)))
    whole = feedback.joined(Stages(support, query))
    assert [leaf.shape[1] for leaf in whole] == [8, 8, 3]
    parted = feedback.parted(whole, Stages(support, query))
    chex.assert_trees_all_equal(parted.support, support)
    expected = query._replace(write=jnp.zeros_like(query.write))
    chex.assert_trees_all_equal(parted.query, expected)


@float64
def test_predictors_walk_the_support_and_answer_each_query_from_there():
    model = tiny.make_model(presentations=2)
    chosen, batch = tiny.make_feedback("lstm"), tiny.make_batch(2)
    one = tiny.drawn(1, chosen.predictor.init, K, C)
    predictors = PerController(*(tiny.filled(seed, one) for seed in range(3)))
    outputs = tiny.filled(5, feedback.batch_taps(model, batch))
    found = tiny.jit(
        lambda: feedback.predict_cotangents(model, chosen, predictors, outputs, batch)
    )()
    step = tiny.jit(chosen.predictor.step)
    for index, name in ((0, "output"), (1, "input")):
        carry = chosen.predictor.carry(K)
        hidden = getattr(outputs.support, name)[index]
        labels = np.concatenate([batch.support[index]] * 2)
        said = []
        for t in range(len(hidden)):
            carry, told = step(getattr(predictors, name), carry, hidden[t], labels[t])
            said.append(told)
        for asked, label in zip(
            getattr(outputs.query, name)[index], batch.query[index], strict=True
        ):
            said.append(step(getattr(predictors, name), carry, asked, label)[1])
        np.testing.assert_allclose(getattr(found, name)[index], said, rtol=1e-10)


def test_off_is_silent_and_without_parameters():
    predictor = synthetic.make_silent_predictor()
    params = synthetic.init(predictor, jax.random.key(0), width=K, classes=C)
    assert not jax.tree.leaves(params)
