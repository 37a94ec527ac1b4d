"""The step as a program: traced once, donated, equal to its eager self, learning."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
import tiny_model
from tiny import float64

from nmn_jax.feedback import fast
from nmn_jax.nets.encoder import make_conv_encoder
from nmn_jax.types import PerController


def make(model, network=None, sg=None, **options):
    return tiny_model.make_method(
        tiny_model.make_design(model, tiny_model.make_sg(**options)),
        network or optax.adam(1e-2),
        sg or optax.adam(1e-2),
    )


FAST = {"fast": fast.make_fast_path(PerController._fields), "rule": "add"}


def test_step_is_traced_once_donates_its_state_and_reports():
    model = tiny_model.make_model(label_input="write")
    method = make(model, **FAST)
    chex.clear_trace_counter()
    step = tiny.jit(chex.assert_max_traces(method.step, n=1), donate_argnums=0)
    state = tiny_model.method_state(1, method, model)
    like = jax.eval_shape(lambda: state)
    for seed in range(3):
        before = state
        state, metrics = step(state, tiny_model.make_batch(seed))
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before.network.params))
        chex.assert_tree_all_finite(metrics)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, like)
    # The encoder's statistics are those of training.
    assert (int(state.step), float(state.stats)) == (3, 3)
    assert {"loss", "accuracy", "sg/loss", "sg/output/cosine"} < set(metrics)
    assert {"memory/spread", "memory/entropy", "memory/write_share"} < set(metrics)


@float64
def test_jitted_step_equals_the_eager_one():
    model = tiny_model.make_model("linear", label_input="write")
    method = make(model, optax.sgd(1.0), optax.sgd(1.0), rule="add")
    state, batch = tiny_model.method_state(1, method, model), tiny_model.make_batch(2)
    found = tiny.jit(method.step)(state, batch)
    expected = method.step(state, batch)
    chex.assert_trees_all_close(found, expected, rtol=1e-8, atol=1e-10)


@float64
def test_predict_answers_with_what_the_step_would_see():
    model = tiny_model.make_model("linear", label_input="write")
    method = make(model)
    state, batch = tiny_model.method_state(1, method, model), tiny_model.make_batch(2)
    logits = tiny.jit(method.predict)(state, batch.context, batch.queries).output
    assert logits.shape == batch.answers.shape
    _, metrics = tiny.jit(method.step)(state, batch)
    loss = -jnp.mean(jnp.sum(batch.answers * jax.nn.log_softmax(logits), axis=-1))
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-10)


@pytest.mark.parametrize("core", ["residual", "lstm"])
def test_predictors_learn_a_fixed_batch(core):
    """With the network at rest the regression loss falls and the cosine rises."""
    model = tiny_model.make_model("linear", label_input="write")
    method = tiny_model.make_method(
        tiny_model.make_design(model, tiny_model.make_sg(core)),
        optax.sgd(0.0), optax.adam(1e-2),
    )  # fmt: skip
    state, batch = tiny_model.method_state(1, method, model), tiny_model.make_batch(2)
    network = state.network
    step, first = tiny.jit(method.step), None
    for _ in range(150):
        state, metrics = step(state, batch)
        first = first or metrics
    assert metrics["sg/loss"] < 0.6 * first["sg/loss"]
    assert metrics["sg/output/cosine"] > max(0.6, first["sg/output/cosine"])
    chex.assert_trees_all_equal(state.network.params, network.params)


@pytest.mark.parametrize(
    ("label_input", "options"),
    [("write", {}), ("none", {"fast": FAST["fast"], "fast_rate": 0.5})],
)
def test_the_network_learns_a_fixed_batch_with_either_way_in_for_labels(
    label_input, options
):
    model = tiny_model.make_model(label_input=label_input)
    method = make(model, optax.adam(2e-2), optax.adam(2e-2), **options)
    state = tiny_model.method_state(1, method, model)
    batch = tiny_model.make_batch(2, episodes=4)
    step = tiny.jit(method.step)
    for _ in range(150):
        state, metrics = step(state, batch)
    assert float(metrics["accuracy"]) > 0.8


def test_a_fresh_state_shares_no_buffer_so_all_of_it_can_be_donated(key):
    encoder = make_conv_encoder(
        channels=2, layers=2, norm="running", image_shape=(4, 4)
    )
    model = tiny_model.make_model("linear")._replace(encoder=encoder)
    leaves = jax.tree.leaves(make(model, **FAST).init(key))
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves if leaf.size]
    assert len(set(pointers)) == len(pointers)
