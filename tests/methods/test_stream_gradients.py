"""Slow gradients of a window: what begins it learns only where it begins afresh."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model
from tiny import float64
from tiny_model import a_window

from nmn_jax import cell as cell_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import pipeline
from nmn_jax.methods import stream_pass
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.types import Inputs


def setting(carry, kind="classification"):
    model = tiny_model.make_model("skip_lstm", label_input="write")
    task = tiny_model.make_task("stream", kind=kind)
    design = StreamDesign(model, tiny_model.make_sg(), task.loss, "window", carry)
    method = tiny_model.make_stream_method(design, task=task)
    return design, tiny_model.drawn_state(method)


def gradient(design, state, window):
    def run(state, window):
        window = jax.tree.map(lambda leaf: leaf[None], window)
        way = stream_pass.make_pass(design, state, window)
        return pipeline.two_speeds(design.sg, state, way).network

    return tiny.jit(run)(state, window)


def window_loss(design, state, window, params):
    """The mean loss of a window, by the parts of the model."""
    model = design.model
    fresh = model.cell.initial_state(params.cell)
    starts = {
        "stream": tiny.first(state.carried),
        "memory": tiny.first(state.carried)._replace(carries=fresh.carries),
        "episode": fresh,
    }
    features, _ = model.encoder.apply(
        params.encoder, state.stats, window.inputs[None], supports=0, phase="train"
    )
    previous = jnp.concatenate([state.previous, window.targets[:-1]])
    inputs = Inputs(features[0], window.targets, previous)
    start = starts[design.carry]
    _, trace = cell_lib.unroll(model.cell, params.cell, start, inputs)
    outputs = model_lib.decode(model, params, trace)
    return jnp.mean(jax.vmap(design.loss)(outputs, window.targets))


@pytest.mark.parametrize("carry", ["stream", "memory", "episode"])
@float64
def test_the_initial_memory_learns_where_windows_begin_with_it(carry):
    design, state = setting(carry)
    window = a_window(0, 4)
    found = gradient(design, state, window)
    expected = tiny.finite_differences(
        lambda params: window_loss(design, state, window, params), state.network.params
    )
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-8)
    rows = found.cell.memory.rows
    if carry == "episode":
        assert np.all(np.any(rows, axis=-1))
    else:
        # What an earlier window left is a constant: exactly zero.
        np.testing.assert_array_equal(rows, 0.0)


@float64
def test_the_loss_of_the_task_is_what_a_window_descends():
    design, state = setting("episode", kind="regression")
    window = a_window(0, 4)._replace(targets=tiny.normal(9, 4, tiny.C))
    expected = tiny.finite_differences(
        lambda params: window_loss(design, state, window, params), state.network.params
    )
    found = gradient(design, state, window)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-8)
