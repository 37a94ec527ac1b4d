"""Learning from a stream: window, cut, carry."""

from __future__ import annotations

import functools
import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
import tiny_model
from tiny_model import a_window

from nmn_jax import cell as cell_lib
from nmn_jax.feedback import fast, pipeline, state_predictors
from nmn_jax.feedback.bootstrap import CARRIES
from nmn_jax.feedback.controls import CONTROLS
from nmn_jax.feedback.future import Future
from nmn_jax.methods import stream_pass, stream_window
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.types import Inputs


def make(target="window", carry="stream", sg=None, future=None, **options):
    """A design by names, and its method with plain gradient steps."""
    model = tiny_model.make_model("skip_lstm", **options)
    loss = tiny_model.make_task("stream").loss
    design = StreamDesign(
        model, sg or tiny_model.make_sg(), loss, target, carry, future
    )
    tenth = optax.sgd(0.1)
    return design, tiny_model.make_stream_method(design, tenth, tenth)


def at_rest(design):
    """The method of a design whose slow weights never move."""
    still = tiny_model.STILL
    return tiny_model.make_stream_method(design, still, still)


def gradients(design, state, window):
    """Of one step, its features beside them."""
    window = jax.tree.map(lambda leaf: leaf[None], window)
    encoded, _ = stream_window.encode(
        design, state, window.inputs, state.network.params.encoder
    )
    way = stream_pass.make_pass(design, state, window)
    return pipeline.two_speeds(design.sg, state, way), encoded.features[0]


def halves(window):
    return [jax.tree.map(operator.itemgetter(part), window) for part in np.s_[:4, 4:]]


@tiny.float64
def test_two_windows_are_one_long_one_going_forward():
    design, _ = make()
    method, long = at_rest(design), a_window(0, 8)
    state = tiny_model.drawn_state(method)
    whole, _ = method.step(state, long)
    first, _ = method.step(state, halves(long)[0])
    second, _ = method.step(first, halves(long)[1])
    chex.assert_trees_all_close(second.carried, whole.carried, atol=1e-12)


def frozen(keep):
    """A method with a fast path whose slow weights never move, and a state of it."""
    path = fast.make_fast_path(
        ("output", "write"), tensors=("skip",), writer="slow", keep=keep
    )
    design, _ = make(sg=tiny_model.make_sg(fast=path), label_input="write")
    method = at_rest(design)
    state = tiny_model.drawn_state(method)
    return method, state._replace(fast=tiny.blank(state.fast))


@tiny.float64
def test_what_is_learned_fast_and_kept_makes_two_windows_one_long_one():
    method, state = frozen(1.0)
    long = a_window(0, 8)
    whole, _ = method.step(state, long)
    second, _ = method.step(method.step(state, halves(long)[0])[0], halves(long)[1])
    chex.assert_trees_all_close(second.fast, whole.fast, atol=1e-12)
    chex.assert_trees_all_close(second.carried, whole.carried, atol=1e-12)
    assert np.abs(whole.fast.output["skip"]).max() > 1e-3
    assert whole.fast.input is None


@tiny.float64
def test_a_share_is_kept_and_the_rest_forgotten():
    method, state = frozen(1.0)
    whole, _ = method.step(state, a_window(0, 4))
    for keep in (0.0, 0.25):
        method, state = frozen(keep)
        part, _ = method.step(state, a_window(0, 4))
        scaled = jax.tree.map(lambda each, keep=keep: keep * each, whole.fast)
        chex.assert_trees_all_close(part.fast, scaled, atol=1e-14)


@tiny.float64
def test_answers_come_from_what_was_learned_fast():
    method, state = frozen(1.0)
    after, _ = method.step(state, a_window(0, 4))
    images = tiny.normal(9, 3, tiny_model.SIDE, tiny_model.SIDE)
    cell = after.network.params.cell
    skip = {
        name: {**getattr(cell.controllers, name), "skip":
               getattr(cell.controllers, name)["skip"]
               + getattr(after.fast, name)["skip"][0]}
        for name in ("output", "write")
    }  # fmt: skip
    moved = cell._replace(controllers=cell.controllers._replace(**skip))
    network = after.network._replace(params=after.network.params._replace(cell=moved))
    by_hand = after._replace(network=network, fast=tiny.blank(after.fast))
    found = method.predict(after, images).output
    expected = method.predict(by_hand, images).output
    np.testing.assert_allclose(found, expected, atol=1e-12)
    forgotten = after._replace(fast=tiny.blank(after.fast))
    assert np.abs(found - method.predict(forgotten, images).output).max() > 1e-6


@tiny.float64
def test_gradient_does_not_cross_the_cut():
    design, method = make()
    state, window = tiny_model.drawn_state(method), a_window(0, 4)
    found, features = gradients(design, state, window)

    def loss(controllers):
        params = state.network.params.cell._replace(controllers=controllers)
        previous = jnp.concatenate([state.previous, window.targets[:-1]])
        inputs = Inputs(features, window.targets, previous)
        cell = design.model.cell
        _, trace = cell_lib.unroll(cell, params, tiny.first(state.carried), inputs)
        decoder = state.network.params.decoder
        logits = design.model.decoder.apply(decoder, trace.outputs.output)
        return -jnp.mean(jnp.sum(window.targets * jax.nn.log_softmax(logits), -1))

    expected = tiny.finite_differences(loss, state.network.params.cell.controllers)
    chex.assert_trees_all_close(
        found.network.cell.controllers, expected, atol=1e-7, rtol=1e-5
    )
    # The carried memory came from the learned first one; its share stays behind the
    # cut.
    np.testing.assert_array_equal(found.network.cell.memory.rows, 0.0)


@tiny.float64
@pytest.mark.parametrize("target", ["step", "window"])
def test_nothing_reaches_the_last_update_from_inside_the_window(target):
    design, method = make(target)
    found, _ = gradients(design, tiny_model.drawn_state(method), a_window(0, 4))
    np.testing.assert_array_equal(found.back.cotangents.write[0, -1], 0.0)
    assert np.abs(found.back.cotangents.write[0, :-1]).max() > 0


@tiny.float64
def test_bootstrap_hands_the_last_update_what_its_predictor_guessed():
    design, method = make("bootstrap_update")
    state, window = tiny_model.drawn_state(method), a_window(0, 4)
    found, _ = gradients(design, state, window)
    plain, _ = gradients(design._replace(target="window"), state, window)
    outputs = tiny.first(found.back.aux.trace.outputs)
    predictor = design.sg.predictor
    carry, guess = predictor.carry(tiny.K), None
    for output, label in zip(outputs.write, window.targets, strict=True):
        carry, guess = predictor.step(
            state.sg.params.predictors.write, carry, output, label
        )
    unit = design.sg.scale(state.scale).write
    expected = guess * unit / len(window.targets)
    np.testing.assert_allclose(found.back.cotangents.write[0, -1], expected, rtol=1e-12)
    np.testing.assert_allclose(found.back.loss, plain.back.loss, rtol=1e-14)


@tiny.float64
def test_step_target_is_the_gradient_of_the_same_steps_loss():
    design, method = make("step")
    state, window = tiny_model.drawn_state(method), a_window(0, 4)
    found, _ = gradients(design, state, window)
    logits = found.back.aux.outputs[0]
    decoder = state.network.params.decoder["kernel"]
    expected = (jax.nn.softmax(logits) - window.targets) @ decoder.T
    true = found.regression.true
    np.testing.assert_allclose(true.output[0], expected, rtol=1e-9)
    np.testing.assert_array_equal(true.write, 0.0)


@pytest.mark.parametrize("oracle", ["oracle_step", "oracle_query"])
@tiny.float64
def test_true_cotangents_pulled_back_are_back_propagation(oracle):
    sg = tiny_model.make_sg(rule="replace", control=CONTROLS[oracle])
    design, method = make(sg=sg)
    found, _ = gradients(design, tiny_model.drawn_state(method), a_window(0, 5))
    chex.assert_trees_all_close(
        found.network.cell.controllers, found.back.params[0].cell.controllers,
        atol=1e-12,
    )  # fmt: skip


def test_what_is_carried_over_a_cut():
    for carry in CARRIES:
        design, method = make(carry=carry)
        state = tiny_model.drawn_state(method)
        start = method.init(jax.random.key(0))
        state = start._replace(carried=state.carried)
        after, _ = method.step(state, a_window(0, 3))
        fresh = design.model.cell.initial_state(after.network.params.cell)
        begun = stream_window.begin(design, after.network.params, after.cursor)
        begun = tiny.first(begun)
        kept = {
            "memory": not np.allclose(begun.memory.rows, fresh.memory.rows),
            "carries": not all(
                np.allclose(a, b)
                for a, b in zip(
                    jax.tree.leaves(begun.carries),
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


def test_after_a_sequence_has_ended_nothing_is_left_of_it():
    design, method = make(
        "bootstrap", future=Future(state_predictors.make_linear_state_predictor())
    )
    state = tiny_model.drawn_state(method)
    for ended in (True, False):
        window = a_window(0, 3)._replace(ends=jnp.asarray(ended))
        after, _ = tiny.jit(method.step)(state, window)
        fresh = design.model.cell.initial_state(after.network.params.cell)
        begun = stream_window.begin(design, after.network.params, after.cursor)
        told = (tiny.first(begun), after.previous)
        nothing = (fresh, tiny.blank(told[1]))
        same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), told, nothing)
        # Usage begins at zero, and nothing else of a stream that goes on does.
        assert all(jax.tree.leaves(same)) == ended
        assert any(jax.tree.leaves(same)) == ended


def test_the_step_is_traced_once_and_stops_and_goes_on_anywhere():
    _, method = make()

    @functools.partial(jax.jit, donate_argnums=0)
    @chex.assert_max_traces(n=1)
    def step(state, window):
        return method.step(state, window)

    whole = method.init(jax.random.key(0))
    for seed in range(4):
        whole, _ = step(whole, a_window(seed, 3))
    resumed = method.init(jax.random.key(0))
    for seed in range(4):
        resumed = jax.tree.map(jnp.asarray, jax.device_get(resumed))
        resumed, _ = step(resumed, a_window(seed, 3))
    chex.assert_trees_all_equal(whole, resumed)


def test_windows_that_teach_nothing_are_refused():
    _, method = make()
    state = method.init(jax.random.key(0))
    with pytest.raises(ValueError, match="at least 2 examples or target='bootstrap'"):
        method.step(state, a_window(0, 1))
    _, method = make("bootstrap_update")
    method.step(method.init(jax.random.key(0)), a_window(0, 1))


def test_unknown_choices_are_refused_with_the_list():
    with pytest.raises(ValueError, match=r"unknown target 'future'.*bootstrap"):
        make("future")
    with pytest.raises(ValueError, match=r"unknown carry 'all'.*stream"):
        make(carry="all")
