"""The shuffled control: never what belongs to the example itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model
from tiny import C, K, float64
from tiny_model import a_window

from nmn_jax.feedback import fast, pipeline
from nmn_jax.feedback.controls import (
    CONTROLS,
    exchanged_cotangents,
    exchanged_targets,
)
from nmn_jax.methods import stream_pass
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.types import PerController

PATH = fast.make_fast_path(("output", "write"), step_size="plain", keep=1.0)
# The next example of another class, in a circle, for classes 0 0 1 2 2.
CLASSES = np.array([0, 0, 1, 2, 2])
NEXT = np.array([2, 2, 3, 0, 0])


def shuffled(**options):
    return tiny_model.make_sg(control=CONTROLS["shuffled"], **options)


@pytest.mark.parametrize("seed", range(3))
def test_within_one_episode_every_target_is_another_classs(seed):
    labels = np.random.default_rng(seed).permutation(np.arange(12) % C)
    found = exchanged_targets(tiny.one_hot(labels)[None])[0]
    assert not np.any(np.argmax(found, axis=-1) == labels)
    np.testing.assert_array_equal(jnp.sum(found, axis=-1), 1)


def test_the_next_example_of_another_class_by_hand():
    found = exchanged_targets(tiny.one_hot(CLASSES)[None])[0]
    np.testing.assert_array_equal(found, tiny.one_hot(CLASSES[NEXT]))


def test_where_all_are_of_one_class_each_becomes_the_next_class():
    found = exchanged_targets(tiny.one_hot([C - 1] * 4)[None])[0]
    np.testing.assert_array_equal(found, tiny.one_hot([0] * 4))


def test_of_many_episodes_each_is_told_of_another():
    targets = jnp.stack([tiny.one_hot([i] * 4) for i in range(3)])
    found = exchanged_targets(targets)
    np.testing.assert_array_equal(found, targets[np.array([2, 0, 1])])


def test_cotangents_go_where_targets_go():
    targets = tiny.one_hot(CLASSES)[None]
    whole, short = tiny.normal(1, 1, 5, K), tiny.normal(2, 1, 3, K)
    found = exchanged_cotangents(PerController(whole, whole, short), targets)
    np.testing.assert_array_equal(found.input, whole[:, NEXT])
    # Of the first three examples, 0 0 1, only the third is of another class.
    np.testing.assert_array_equal(found.write, short[:, np.array([2, 2, 0])])
    alike = exchanged_cotangents(whole, tiny.one_hot([1] * 5)[None])
    np.testing.assert_array_equal(alike, np.zeros_like(whole))


@float64
def test_one_episode_alone_learns_from_targets_of_other_classes():
    """All test-time adaptation is of one episode: a roll of the batch leaves it."""
    model = tiny_model.make_model("linear")
    batch = tiny_model.make_batch(2, episodes=1, shots=2)

    def answers(sg, batch):
        method = tiny_model.make_method(tiny_model.make_design(model, sg))
        state = tiny_model.method_state(3, method, model)
        return tiny.jit(method.predict)(state, batch.context, batch.queries).output

    labels = np.argmax(batch.context.targets[0], axis=-1)
    others = [
        next(c for c in np.roll(labels, -t) if c != labels[t])
        for t in range(len(labels))
    ]
    exchanged = tiny_model.with_targets(batch, tiny.one_hot(others)[None])
    straight = tiny_model.make_sg(fast=PATH)
    found = answers(shuffled(fast=PATH), batch)
    # Without a label input the targets reach the answers by the fast path alone.
    np.testing.assert_allclose(found, answers(straight, exchanged), rtol=1e-12)
    assert np.any(np.abs(found - answers(straight, batch)) > 1e-6)


def stream_gradients(sg, window, target="window"):
    """Of one step on a stream with linear controllers."""
    loss = tiny_model.make_task("stream").loss
    model = tiny_model.make_model("linear")
    design = StreamDesign(model, sg, loss, target, "stream")
    state = tiny_model.drawn_state(tiny_model.make_stream_method(design))

    def run(state, window):
        window = jax.tree.map(lambda leaf: leaf[None], window)
        way = stream_pass.make_pass(design, state, window)
        return pipeline.two_speeds(sg, state, way)

    return tiny.jit(run)(state, window)


@pytest.mark.parametrize(
    ("classes", "others"),
    [(CLASSES, CLASSES[NEXT]), ([1] * 4, [2] * 4)],
    ids=["several classes", "one class"],
)
@float64
def test_a_window_learns_fast_from_targets_of_other_classes(classes, others):
    window = a_window(0, len(classes))._replace(targets=tiny.one_hot(classes))
    exchanged = window._replace(targets=tiny.one_hot(others))
    learned = functools.partial(stream_gradients, tiny_model.make_sg(fast=PATH))
    found = stream_gradients(shuffled(fast=PATH), window).back.aux.fast
    expected = learned(exchanged).back.aux.fast
    straight = learned(window).back.aux.fast
    for name in PATH.controllers:
        kernels = [getattr(each, name)["kernel"] for each in (found, expected)]
        np.testing.assert_allclose(*kernels, rtol=1e-12)
        other = getattr(straight, name)["kernel"]
        assert np.any(np.abs(kernels[0] - other) > 1e-6)


@float64
def test_a_window_injects_cotangents_of_other_classes():
    """For h = x W: Σ x ĝᵀ over the window, ĝ that of the next of another class."""
    window = a_window(0, 5)._replace(targets=tiny.one_hot(CLASSES))
    found = stream_gradients(shuffled(rule="replace"), window)
    inputs = found.back.aux.trace.inputs
    for name, kernel in found.network.cell.controllers._asdict().items():
        said = getattr(found.regression.predicted, name)[0][NEXT]
        expected = jnp.einsum("ti,tk->ik", getattr(inputs, name)[0], said) / 5
        np.testing.assert_allclose(kernel["kernel"], expected, rtol=1e-10)


@float64
def test_a_window_of_one_class_injects_nothing():
    window = a_window(0, 4)._replace(targets=tiny.one_hot([1] * 4))
    found = stream_gradients(shuffled(rule="replace"), window)
    assert not any(map(np.any, jax.tree.leaves(found.network.cell.controllers)))
    assert np.any(found.regression.predicted.output)
