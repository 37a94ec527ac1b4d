"""What is right at a query reaches the network through the loss alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model
from tiny import C, float64
from tiny_model import a_window

from nmn_jax.feedback import fast, pipeline, targets
from nmn_jax.methods import stream_pass
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.types import PerController

PATH = fast.make_fast_path(PerController._fields)
BOTH = tiny_model.make_sg(rule="add", fast=PATH)
INPUTS = ("none", "offset", "write")


@pytest.mark.parametrize("label_input", INPUTS)
def test_an_episode_runs_alike_whatever_its_answers_are(label_input):
    model = tiny_model.make_model(label_input=label_input)
    design = tiny_model.make_design(model, BOTH)
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)
    run = tiny.jit(tiny_model.two_speeds(design))
    batch = tiny_model.make_batch(2)
    other = batch._replace(answers=jnp.roll(batch.answers, 1, axis=-1))
    found, changed = run(state, batch), run(state, other)
    chex.assert_trees_all_equal(changed.back.aux, found.back.aux)
    chex.assert_trees_all_equal(changed.stats, found.stats)
    assert changed.back.loss != found.back.loss
    assert np.any(
        changed.regression.predicted.output != found.regression.predicted.output
    )


@pytest.mark.parametrize("label_input", INPUTS)
def test_a_step_of_a_stream_answers_before_it_is_told(label_input):
    """The target of the last step changes nothing before the next window."""
    model = tiny_model.make_model(label_input=label_input)
    loss = tiny_model.make_task("stream").loss
    design = StreamDesign(model, BOTH, loss, "window", "stream")
    state = tiny_model.drawn_state(tiny_model.make_stream_method(design))

    @tiny.jit
    def outputs(window):
        window = jax.tree.map(lambda leaf: leaf[None], window)
        way = stream_pass.make_pass(design, state, window)
        return pipeline.two_speeds(BOTH, state, way).back.aux.outputs[0]

    window = a_window(0, 4)
    for step in (3, 1):
        told = window.targets.at[step].set(jnp.roll(window.targets[step], 1))
        found, changed = outputs(window), outputs(window._replace(targets=told))
        np.testing.assert_array_equal(changed[: step + 1], found[: step + 1])
        # From the next step on it may, and by a fast path it does.
        assert np.all(np.any(changed[step + 1 :] != found[step + 1 :], axis=-1))


@float64
def test_how_many_are_asked_changes_no_target_of_the_predictors():
    """Every query twice: the targets at supports and at queries stay what they were."""
    model = tiny_model.make_model("linear", label_input="write", presentations=2)
    design = tiny_model.make_design(model, tiny_model.make_sg(scale=targets.no_scale))
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)
    run = tiny.jit(tiny_model.two_speeds(design))
    batch = tiny_model.make_batch(2, queries=1)
    twice = batch._replace(
        queries=jnp.concatenate([batch.queries] * 2, axis=1),
        answers=jnp.concatenate([batch.answers] * 2, axis=1),
    )
    once, doubled = (run(state, each).regression.true for each in (batch, twice))
    steps, asked = batch.context.targets.shape[1] * 2, C
    assert once.output.shape[1] == steps + asked
    for name in ("input", "output"):
        few, many = getattr(once, name), getattr(doubled, name)
        np.testing.assert_allclose(
            many[:, : steps + asked], few, rtol=1e-10, atol=1e-14
        )
        np.testing.assert_allclose(
            many[:, steps + asked :], few[:, steps:], rtol=1e-10, atol=1e-14
        )
        assert np.any(few[:, :steps]) and np.all(np.any(few[:, steps:], axis=-1))
    np.testing.assert_allclose(doubled.write, once.write, rtol=1e-10, atol=1e-14)
    assert np.any(once.write)
