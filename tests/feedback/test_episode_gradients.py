"""The path of a batch of episodes in float64: replayed, differentiated two ways."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model
from tiny import float64

from nmn_jax import losses
from nmn_jax import model as model_lib
from nmn_jax.feedback import fast, pipeline, plumbing
from nmn_jax.feedback.controls import CONTROLS
from nmn_jax.feedback.pipeline import Guidance
from nmn_jax.feedback.sg import SGParams
from nmn_jax.methods import episode_pass, nmn
from nmn_jax.types import PerController

SILENT = tiny_model.make_sg("silent", train="regress")
NO_PREDICTORS = SGParams(PerController((), (), ()), None)
NO_STATE = nmn.NMNLearnerState(*[None] * 5)
UNGUIDED = Guidance(CONTROLS["none"], None)


def encoded(model, params, batch):
    images = jnp.concatenate([batch.context.inputs, batch.queries], axis=1)
    features, _ = model.encoder.apply(
        params.encoder, jnp.zeros(()), images, supports=0, phase="train"
    )
    return features


def episode_loss(model, batch, params, features, probes):
    design = tiny_model.make_design(model, SILENT)
    run = episode_pass.run_batch(
        design, (params, NO_PREDICTORS, NO_STATE), (features, batch.context), probes,
        guidance=UNGUIDED,
    )  # fmt: skip
    return jnp.mean(losses.cross_entropy(run.outputs, batch.answers)), run


def backprop(model, batch, params):
    forward = functools.partial(episode_loss, model, batch)
    probes = episode_pass.zero_probes(model, batch)
    return plumbing.backprop(forward, params, encoded(model, params, batch), probes)


def pull(model, params, back):
    run = back.aux
    return plumbing.pull(
        lambda at: model_lib.replay_episodes(model, at, run.support.trace, run.query),
        params.cell.controllers, back.cotangents,
    )  # fmt: skip


CASES = [(choices, 1 + index % 2) for index, choices in enumerate(tiny.COVER)]


@pytest.mark.parametrize(("choices", "presentations"), CASES)
@float64
def test_true_cotangents_pulled_back_are_back_propagation(choices, presentations):
    model = tiny_model.make_model(**choices, presentations=presentations)
    params, batch = tiny_model.model_params(1, model), tiny_model.make_batch(2)

    @tiny.jit
    def both():
        back = backprop(model, batch, params)
        return back.params.cell.controllers, pull(model, params, back)

    slow, pulled = both()
    chex.assert_trees_all_close(pulled, slow, rtol=0, atol=1e-12)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slow))


@float64
def test_episode_probes_are_finite_differences():
    model = tiny_model.make_model(tiny.KINDS[1], label_input="write", presentations=2)
    params = tiny_model.model_params(1, model)
    batch = tiny_model.make_batch(2, episodes=1, queries=1)
    found = tiny.jit(lambda: backprop(model, batch, params).cotangents)()
    features = encoded(model, params, batch)
    expected = tiny.finite_differences(
        lambda probes: episode_loss(model, batch, params, features, probes)[0],
        episode_pass.zero_probes(model, batch),
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-9)
    # What a query would write is seen by nobody.
    np.testing.assert_array_equal(found.query.write, 0)


@float64
def test_in_an_episode_the_last_support_write_is_recalled_by_the_queries():
    """A support set of one step is enough: its write is what the queries recall."""
    model = tiny_model.make_model("linear", label_input="write")
    params = tiny_model.model_params(1, model)
    batch = tiny_model.make_batch(2)
    alone = batch._replace(
        context=jax.tree.map(lambda leaf: leaf[:, :1], batch.context)
    )
    back = backprop(model, alone, params)
    assert np.all(np.asarray(back.cotangents.support.write) != 0)


@float64
def test_every_gradient_of_a_step_is_a_finite_difference():
    """Encoder, initial memory, addressing scale, controllers and decoder at once."""
    model = tiny_model.make_model("linear", label_input="write", presentations=2)
    batch = tiny_model.make_batch(2)
    design = tiny_model.make_design(model, SILENT)
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)
    found = tiny.jit(tiny_model.two_speeds(design))(state, batch)
    probes = episode_pass.zero_probes(model, batch)

    def loss(params):
        features = encoded(model, params, batch)
        return episode_loss(model, batch, params, features, probes)[0]

    expected = tiny.finite_differences(loss, state.network.params)
    chex.assert_trees_all_close(found.network, expected, rtol=1e-6, atol=1e-9)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(found.network))


@pytest.mark.parametrize("rule", ["add", "mix", "replace"])
@pytest.mark.parametrize("warmup", [0, 1])
@float64
def test_both_cotangents_pulled_back_at_once_are_each_pulled_back(rule, warmup):
    """LSTMs beside skips, so that cotangents travel along the recurrent state too."""
    model = tiny_model.make_model("skip_lstm", label_input="write", presentations=2)
    sg = tiny_model.make_sg("lstm", rule=rule, weight=0.3, warmup=warmup)
    design = tiny_model.make_design(model, sg)
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)

    def found(whole):
        way = episode_pass.make_pass(design, state, tiny_model.make_batch(2), "train")
        assert way.whole
        way = way._replace(whole=whole)
        gradients = pipeline.two_speeds(sg, state, way)
        true = gradients.back.params[0].cell.controllers
        return gradients.network.cell.controllers, true

    (at_once, true), (each, _) = tiny.jit(lambda: (found(True), found(False)))()
    chex.assert_trees_all_close(at_once, each, rtol=1e-10, atol=1e-12)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(at_once))
    # The first step is warm-up, if there is any: true gradients alone.
    pairs = zip(jax.tree.leaves(at_once), jax.tree.leaves(true), strict=True)
    alike = [np.allclose(found, slow, rtol=1e-9, atol=1e-12) for found, slow in pairs]
    assert all(alike) if warmup else not all(alike)


@float64
def test_injecting_nothing_is_back_propagation_where_controllers_adapt():
    """A replay knows the slow weights alone: true cotangents must not go through it."""
    model = tiny_model.make_model("skip_lstm", label_input="write", presentations=2)
    path = fast.make_fast_path(("output",), tensors=("skip",), writer="slow")
    sg = tiny_model.make_sg(fast=path, rule="add", weight=0.0)
    design = tiny_model.make_design(model, sg)
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)
    way = episode_pass.make_pass(design, state, tiny_model.make_batch(2), "train")
    found = tiny.jit(lambda: pipeline.two_speeds(sg, state, way))()
    chex.assert_trees_all_close(
        found.network.cell.controllers, found.back.params[0].cell.controllers,
        rtol=1e-12, atol=1e-14,
    )  # fmt: skip
