"""The second feedback path and the controls that test it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model
from tiny import C, K, float64

from nmn_jax.feedback import fast, predictors
from nmn_jax.feedback.controls import CONTROLS
from nmn_jax.methods import episode_pass
from nmn_jax.methods.episode_pass import concat_stages, split_stages
from nmn_jax.types import PerController, Stages

ALL = PerController._fields


def plain_path():
    return fast.make_fast_path(ALL, step_size="plain")


def step_gradients(model, chosen, *, seed=3, batch=None):
    """Gradients of a first step with predictors that speak."""
    design = tiny_model.make_design(model, chosen)
    state = tiny_model.method_state(seed, tiny_model.make_method(design), model)
    batch = tiny_model.make_batch(2) if batch is None else batch
    return tiny.jit(tiny_model.two_speeds(design))(state, batch)


def answers(model, chosen, batch, *, seed=3, scale=0.3):
    method = tiny_model.make_method(tiny_model.make_design(model, chosen))
    state = tiny_model.method_state(seed, method, model, scale)
    return tiny.jit(method.predict)(state, batch.context, batch.queries).output


def controlled(control, **options):
    return tiny_model.make_sg(control=CONTROLS[control], **options)


@float64
def test_zeroed_decoupled_feedback_is_no_injection():
    model = tiny_model.make_model("linear", label_input="write")
    found = step_gradients(model, controlled("zeroed", rule="add"))
    true = found.back.params[0].cell.controllers
    chex.assert_trees_all_equal(found.network.cell.controllers, true)


@pytest.mark.parametrize("oracle", ["oracle_step", "oracle_query"])
@float64
def test_oracle_that_replaces_is_back_propagation(oracle):
    model = tiny_model.make_model(tiny.KINDS[2], label_input="write", presentations=2)
    found = step_gradients(model, controlled(oracle, rule="replace"))
    true = found.back.params[0].cell.controllers
    chex.assert_trees_all_close(
        found.network.cell.controllers, true, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("oracle", ["oracle_step", "oracle_query"])
@float64
def test_oracle_that_adds_doubles_the_controllers_gradient_alone(oracle):
    model = tiny_model.make_model("linear", label_input="write")
    found = step_gradients(model, controlled(oracle, rule="add"))
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
    model, batch = tiny_model.make_model("linear"), tiny_model.make_batch(2, episodes=3)
    straight = step_gradients(model, tiny_model.make_sg(rule="replace"), batch=batch)
    shuffled = step_gradients(
        model, controlled("shuffled", rule="replace"), batch=batch
    )
    run, said = straight.back.aux, straight.regression.predicted
    given = concat_stages(Stages(run.support.trace.inputs, run.query.inputs))
    supports, queries = batch.context.targets.shape[1], batch.answers.shape[1]
    # A support's ĝ is of an episode's mean loss, a query's of that query's alone.
    share = np.array([1 / 3] * supports + [1 / (3 * queries)] * queries)
    for found, roll in ((straight, 0), (shuffled, 1)):
        for name in ALL:
            told = jnp.roll(getattr(said, name), roll, axis=0)
            inputs = getattr(given, name)
            weights = share[: inputs.shape[1]]
            expected = jnp.einsum("bti,btk,t->ik", inputs, told, weights)
            kernel = getattr(found.network.cell.controllers, name)["kernel"]
            np.testing.assert_allclose(kernel, expected, rtol=1e-10)


@float64
def test_shuffled_fast_path_learns_the_labels_of_another_episode():
    model, batch = tiny_model.make_model("linear"), tiny_model.make_batch(2, episodes=3)
    shuffled = controlled("shuffled", fast=plain_path())
    rolled = tiny_model.with_targets(batch, jnp.roll(batch.context.targets, 1, axis=0))
    found = answers(model, shuffled, batch)
    # Without a label input the labels reach the answers by the fast path alone.
    expected = answers(model, tiny_model.make_sg(fast=plain_path()), rolled)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    straight = answers(model, tiny_model.make_sg(fast=plain_path()), batch)
    assert np.any(np.abs(found - straight) > 1e-6)


@float64
def test_zeroed_fast_path_answers_as_without_one():
    model, batch = tiny_model.make_model("linear"), tiny_model.make_batch(2)
    without = answers(model, tiny_model.make_sg(), batch)
    zeroed = answers(model, controlled("zeroed", fast=plain_path()), batch)
    np.testing.assert_allclose(zeroed, without, rtol=1e-12)
    speaking = answers(model, tiny_model.make_sg(fast=plain_path()), batch)
    assert np.all(np.abs(speaking - without) > 1e-6)


def test_labels_reach_the_answers_by_the_fast_path_alone():
    """No label input: chance without SG, another answer with it."""
    model, batch = tiny_model.make_model(), tiny_model.make_batch(2)
    other = tiny_model.with_targets(batch, jnp.roll(batch.context.targets, 1, axis=-1))
    off = tiny_model.make_sg("silent", train="regress")
    np.testing.assert_array_equal(
        answers(model, off, batch), answers(model, off, other)
    )
    decoupled = tiny_model.make_sg(rule="add")
    np.testing.assert_array_equal(
        answers(model, decoupled, batch), answers(model, decoupled, other)
    )
    path = tiny_model.make_sg(fast=plain_path())
    assert np.all(answers(model, path, batch) != answers(model, path, other))


@float64
def test_during_warm_up_true_gradients_are_used_alone():
    model = tiny_model.make_model("linear")
    chosen = tiny_model.make_sg(rule="replace", warmup=2)
    design = tiny_model.make_design(model, chosen)
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)
    run = tiny.jit(tiny_model.two_speeds(design))
    for step in range(4):
        found = run(state._replace(step=jnp.asarray(step)), tiny_model.make_batch(2))
        true = found.back.params[0].cell.controllers
        same = jax.tree.map(
            lambda a, b: bool(jnp.all(a == b)), found.network.cell.controllers, true
        )
        assert all(jax.tree.leaves(same)) is (step < 2)


def test_concatenated_stages_can_be_split_again():
    support = PerController(*(tiny.normal(seed, 2, 3, K) for seed in range(3)))
    query = PerController(*(tiny.normal(seed, 2, 5, K) for seed in range(3, 6)))
    whole = concat_stages(Stages(support, query))
    assert [leaf.shape[1] for leaf in whole] == [8, 8, 3]
    split = split_stages(whole)
    chex.assert_trees_all_equal(split.support, support)
    expected = query._replace(write=jnp.zeros_like(query.write))
    chex.assert_trees_all_equal(split.query, expected)


@float64
def test_predictors_walk_the_support_and_answer_each_query_from_there():
    model = tiny_model.make_model(presentations=2)
    chosen, batch = tiny_model.make_sg("lstm"), tiny_model.make_batch(2)
    _, learned = tiny_model.predictors_of("lstm")
    design = tiny_model.make_design(model, chosen)
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)
    outputs = tiny.filled(5, episode_pass.zero_probes(model, batch))
    way = episode_pass.make_pass(design, state, batch, "train")
    found = tiny.jit(way.predict)(learned, outputs)
    step = tiny.jit(chosen.predictor.step)
    for index, name in ((0, "output"), (1, "input")):
        carry = chosen.predictor.carry(K)
        hidden = getattr(outputs.support, name)[index]
        labels = np.concatenate([batch.context.targets[index]] * 2)
        said = []
        for t in range(len(hidden)):
            carry, told = step(getattr(learned, name), carry, hidden[t], labels[t])
            said.append(told)
        for question, label in zip(
            getattr(outputs.query, name)[index], batch.answers[index], strict=True
        ):
            said.append(step(getattr(learned, name), carry, question, label)[1])
        np.testing.assert_allclose(getattr(found, name)[index], said, rtol=1e-10)


def test_off_is_silent_and_without_parameters():
    predictor = predictors.make_silent_predictor()
    params = predictors.init(predictor, jax.random.key(0), width=K, classes=C)
    assert not jax.tree.leaves(params)
