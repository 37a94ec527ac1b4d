"""Learning from a stream: window, cut, carry."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmn_jax import cell as cell_lib
from nmn_jax import fast, stream, window
from nmn_jax.types import Inputs
from tests import tiny


def make(target="window", carry="stream", feedback=None, **options):
    model = tiny.make_model("skip_lstm", **options)
    feedback = feedback or tiny.make_feedback()
    learner = stream.make_stream_learner(
        model, feedback, optax.sgd(0.1), optax.sgd(0.1), target=target, carry=carry
    )
    return model, feedback, learner


def drawn_state(learner):
    """A state nowhere near its start, zero-initialised layers included."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0))
    state = tiny.filled(0, shapes)
    return state._replace(scale=tiny.blank(shapes.scale), step=jnp.zeros((), jnp.int32))


def a_window(seed: int, steps: int) -> stream.Window:
    images = tiny.normal(seed, steps, tiny.SIDE, tiny.SIDE)
    return stream.Window(images, tiny.one_hot(np.arange(seed, seed + steps) % tiny.C))


def backprop(model, feedback, state, win, target):
    features, _, _ = window.encode(model, state, win.images, "train")
    return window.backprop(model, feedback, state, features, win, target), features


@tiny.float64
def test_two_windows_are_one_long_one_going_forward():
    model, _, learner = make()
    state, long = drawn_state(learner), a_window(0, 8)
    halves = [stream.Window(*(leaf[part] for leaf in long)) for part in np.s_[:4, 4:]]
    still = optax.set_to_zero()
    learner = stream.make_stream_learner(model, tiny.make_feedback(), still, still)
    start = learner.init(jax.random.key(0))
    state = state._replace(
        network=start.network._replace(params=state.network.params),
        synthetic=start.synthetic._replace(params=state.synthetic.params),
    )
    whole, _ = learner.step(state, long)
    first, _ = learner.step(state, halves[0])
    second, _ = learner.step(first, halves[1])
    chex.assert_trees_all_close(second.carried, whole.carried, atol=1e-12)


def frozen(keep):
    """A learner with a fast path whose slow weights never move, and a state of it."""
    path = fast.make_fast_path(
        ("output", "write"), tensors=("skip",), writer="slow", keep=keep
    )
    heard = tiny.make_feedback(fast=path)
    model = tiny.make_model("skip_lstm", label_input="write")
    still = optax.set_to_zero()
    learner = stream.make_stream_learner(model, heard, still, still)
    state = drawn_state(learner)
    return learner, state._replace(fast=tiny.blank(state.fast))


@tiny.float64
def test_what_is_learned_fast_and_kept_makes_two_windows_one_long_one():
    learner, state = frozen(1.0)
    long = a_window(0, 8)
    halves = [stream.Window(*(leaf[part] for leaf in long)) for part in np.s_[:4, 4:]]
    whole, _ = learner.step(state, long)
    second, _ = learner.step(learner.step(state, halves[0])[0], halves[1])
    chex.assert_trees_all_close(second.fast, whole.fast, atol=1e-12)
    chex.assert_trees_all_close(second.carried, whole.carried, atol=1e-12)
    assert np.abs(whole.fast.output["skip"]).max() > 1e-3
    assert whole.fast.input is None


@tiny.float64
def test_a_share_is_kept_and_the_rest_forgotten():
    learner, state = frozen(1.0)
    whole, _ = learner.step(state, a_window(0, 4))
    for keep in (0.0, 0.25):
        learner, state = frozen(keep)
        part, _ = learner.step(state, a_window(0, 4))
        scaled = jax.tree.map(lambda each, keep=keep: keep * each, whole.fast)
        chex.assert_trees_all_close(part.fast, scaled, atol=1e-14)


@tiny.float64
def test_answers_come_from_what_was_learned_fast():
    learner, state = frozen(1.0)
    after, _ = learner.step(state, a_window(0, 4))
    images = tiny.normal(9, 3, tiny.SIDE, tiny.SIDE)
    cell = after.network.params.cell
    skip = {
        name: {**getattr(cell.controllers, name), "skip":
               getattr(cell.controllers, name)["skip"]
               + getattr(after.fast, name)["skip"]}
        for name in ("output", "write")
    }  # fmt: skip
    moved = cell._replace(controllers=cell.controllers._replace(**skip))
    network = after.network._replace(params=after.network.params._replace(cell=moved))
    by_hand = after._replace(network=network, fast=tiny.blank(after.fast))
    found = learner.predict(after, images)
    np.testing.assert_allclose(found, learner.predict(by_hand, images), atol=1e-12)
    forgotten = after._replace(fast=tiny.blank(after.fast))
    assert np.abs(found - learner.predict(forgotten, images)).max() > 1e-6


@tiny.float64
def test_gradient_does_not_cross_the_cut():
    model, feedback, learner = make()
    state, win = drawn_state(learner), a_window(0, 4)
    back, features = backprop(model, feedback, state, win, "window")

    def loss(controllers):
        params = state.network.params.cell._replace(controllers=controllers)
        previous = jnp.concatenate([state.previous[None], win.labels[:-1]])
        _, trace = cell_lib.unroll(
            model.cell, params, state.carried, Inputs(features, win.labels, previous)
        )
        logits = model.decoder.apply(state.network.params.decoder, trace.outputs.output)
        return -jnp.mean(jnp.sum(win.labels * jax.nn.log_softmax(logits), -1))

    expected = tiny.finite_differences(loss, state.network.params.cell.controllers)
    chex.assert_trees_all_close(
        back.params[0].cell.controllers, expected, atol=1e-7, rtol=1e-5
    )
    # The carried memory came from the learned first one; its share stays behind the
    # cut.
    np.testing.assert_array_equal(back.params[0].cell.memory, 0.0)


@tiny.float64
@pytest.mark.parametrize("target", ["step", "window"])
def test_nothing_reaches_the_last_update_from_inside_the_window(target):
    model, feedback, learner = make(target)
    back, _ = backprop(model, feedback, drawn_state(learner), a_window(0, 4), target)
    np.testing.assert_array_equal(back.cotangents.write[-1], 0.0)
    assert np.abs(back.cotangents.write[:-1]).max() > 0


@tiny.float64
def test_bootstrap_hands_the_last_update_what_its_predictor_guessed():
    model, feedback, learner = make("bootstrap")
    state, win = drawn_state(learner), a_window(0, 4)
    back, _ = backprop(model, feedback, state, win, "bootstrap")
    plain, _ = backprop(model, feedback, state, win, "window")
    outputs = back.aux.trace.outputs
    carry, guess = feedback.predictor.carry(tiny.K), None
    for output, label in zip(outputs.write, win.labels, strict=True):
        carry, guess = feedback.predictor.step(
            state.synthetic.params.predictors.write, carry, output, label
        )
    unit = feedback.scale(state.scale).write
    expected = guess * unit / len(win.labels)
    np.testing.assert_allclose(back.cotangents.write[-1], expected, rtol=1e-12)
    np.testing.assert_allclose(back.loss, plain.loss, rtol=1e-14)


@tiny.float64
def test_step_target_is_the_gradient_of_the_same_steps_loss():
    model, feedback, learner = make("step")
    state, win = drawn_state(learner), a_window(0, 4)
    back, features = backprop(model, feedback, state, win, "step")
    found = window.regress(model, feedback, state, features, back, win, "step").true
    logits = back.aux.logits
    decoder = state.network.params.decoder["kernel"]
    expected = (jax.nn.softmax(logits) - win.labels) @ decoder.T
    np.testing.assert_allclose(found.output, expected, rtol=1e-9)
    np.testing.assert_array_equal(found.write, 0.0)


@tiny.float64
def test_true_cotangents_pulled_back_are_back_propagation():
    model, feedback, learner = make(
        feedback=tiny.make_feedback(
            rule="replace", control=tiny.feedback.CONTROLS["oracle"]
        )
    )
    state, win = drawn_state(learner), a_window(0, 5)
    back, features = backprop(model, feedback, state, win, "window")
    regression = window.regress(model, feedback, state, features, back, win, "window")
    pulled = window.inject(model, feedback, state, back, regression)
    chex.assert_trees_all_close(pulled, back.params[0].cell.controllers, atol=1e-12)


def test_what_is_carried_over_a_cut():
    for carry in stream.CARRIES:
        model, _, learner = make(carry=carry)
        state = drawn_state(learner)
        start = learner.init(jax.random.key(0))
        state = start._replace(carried=state.carried)
        after, _ = learner.step(state, a_window(0, 3))
        fresh = model.cell.initial_state(after.network.params.cell)
        kept = {
            "memory": not np.allclose(after.carried.memory, fresh.memory),
            "carries": not all(
                np.allclose(a, b)
                for a, b in zip(
                    jax.tree.leaves(after.carried.carries),
                    jax.tree.leaves(fresh.carries),
                    strict=True,
                )
            ),
        }
        assert (
            kept
            == {
                "stream": {"memory": True, "carries": True},
                "memory": {"memory": True, "carries": False},
                "episode": {"memory": False, "carries": False},
            }[carry]
        )


def test_the_step_is_traced_once_and_stops_and_goes_on_anywhere():
    _, _, learner = make()
    step = jax.jit(chex.assert_max_traces(learner.step, n=1), donate_argnums=0)
    whole = learner.init(jax.random.key(0))
    for seed in range(4):
        whole, _ = step(whole, a_window(seed, 3))
    parted = learner.init(jax.random.key(0))
    for seed in range(4):
        parted = jax.tree.map(jnp.asarray, jax.device_get(parted))
        parted, _ = step(parted, a_window(seed, 3))
    chex.assert_trees_all_equal(whole, parted)


def test_windows_that_teach_nothing_are_refused():
    _, _, learner = make()
    state = learner.init(jax.random.key(0))
    with pytest.raises(ValueError, match="at least 2 examples or target='bootstrap'"):
        learner.step(state, a_window(0, 1))
    _, _, learner = make("bootstrap")
    learner.step(learner.init(jax.random.key(0)), a_window(0, 1))


def test_unknown_choices_are_refused_with_the_list():
    with pytest.raises(ValueError, match=r"unknown target 'future'.*bootstrap"):
        make("future")
    with pytest.raises(ValueError, match=r"unknown carry 'all'.*stream"):
        make(carry="all")
