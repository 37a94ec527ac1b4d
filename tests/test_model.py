"""Episodes: what is stored, what is asked, and what may know of what."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import C, D, K, L, float64

from nmn_jax import losses
from nmn_jax import model as model_lib

FEATURES = np.random.default_rng(0).normal(size=(3 + 4, D))
LABELS = np.eye(C)[[1, 2, 0]]


def episode(model, *, features=FEATURES, labels=LABELS, seed=1):
    """One episode with the slow weights alone."""
    features, labels = jnp.asarray(features, float), jnp.asarray(labels, float)
    params = tiny.model_params(seed, model)
    taps = model_lib.zero_taps(
        model, len(labels), len(features) - len(labels), features.dtype
    )
    run = tiny.jit(
        lambda features, labels: model_lib.run_episode(
            model, model_lib.slow_support(model), params, features, labels, labels, taps
        )
    )
    return run(features, labels)


def test_init_gives_every_part_its_width(key):
    model = tiny.make_model("linear", label_input="write", compose="query_mem_weights")
    params, stats = model_lib.init(model, key)
    assert params.cell.memory.shape == (L, K)
    widths = [each["kernel"].shape for each in params.cell.controllers]
    assert widths == [(D, K), (2 * K + L, K), (K + C, K)]
    assert params.decoder["kernel"].shape == (K, C)
    assert stats.shape == ()


def test_support_is_shown_as_often_as_asked():
    model = tiny.make_model(presentations=2)
    features, labels = jnp.asarray(FEATURES[:3]), jnp.asarray(LABELS)
    inputs, shown = model_lib.support_inputs(model, features, labels)
    np.testing.assert_array_equal(inputs.features, np.concatenate([features] * 2))
    np.testing.assert_array_equal(inputs.label, np.concatenate([LABELS] * 2))
    np.testing.assert_array_equal(shown, inputs.label)
    # The previous label crosses from one presentation to the next.
    previous = [[0, 0, 0], *LABELS, *LABELS[:2]]
    np.testing.assert_array_equal(inputs.previous, previous)


def test_queries_have_no_label_and_follow_the_last_support_step():
    inputs = model_lib.query_inputs(jnp.asarray(FEATURES[3:]), jnp.asarray(LABELS))
    np.testing.assert_array_equal(inputs.label, np.zeros((4, C)))
    np.testing.assert_array_equal(inputs.previous, [LABELS[-1]] * 4)


@pytest.mark.parametrize("label_input", ["none", "offset", "write"])
def test_no_query_sees_another(label_input):
    model = tiny.make_model(label_input=label_input)
    together = episode(model).logits
    others = FEATURES.copy()
    others[4:] += 10
    np.testing.assert_array_equal(
        episode(model, features=others).logits[0], together[0]
    )
    swapped = FEATURES[[0, 1, 2, 6, 5, 4, 3]]
    found = episode(model, features=swapped).logits
    np.testing.assert_allclose(found, together[::-1], rtol=1e-5, atol=1e-6)


def test_without_label_input_the_answers_are_independent_of_the_labels():
    model = tiny.make_model(tiny.KINDS[0], label_input="none", presentations=2)
    other = LABELS[[2, 0, 1]]
    np.testing.assert_array_equal(
        episode(model).logits, episode(model, labels=other).logits
    )


@pytest.mark.parametrize("label_input", ["offset", "write"])
def test_a_label_input_brings_the_labels_to_the_answers(label_input):
    model = tiny.make_model(label_input=label_input)
    changed = episode(model).logits != episode(model, labels=LABELS[[2, 0, 1]]).logits
    assert jnp.all(changed)


@float64
def test_an_episode_starts_from_the_initial_state():
    model = tiny.make_model("lstm", label_input="write")
    first = episode(model)
    chex.assert_trees_all_equal(first, episode(model))
    params = tiny.model_params(1, model)
    inputs, _ = model_lib.support_inputs(
        model, jnp.asarray(FEATURES[:3]), jnp.asarray(LABELS)
    )
    start = model.cell.initial_state(params.cell)
    state, trace = tiny.unroll(model.cell, params.cell, start, inputs)
    expected = model_lib.Support(state, params.cell.controllers, trace)
    chex.assert_trees_all_close(first.support, expected, rtol=1e-12)


@float64
def test_permuting_the_label_axis_of_every_weight_permutes_the_logits():
    """Ways have no order of their own: relabelling them is a change of coordinates."""
    model = tiny.make_model("linear", label_input="write")
    order = np.array([2, 0, 1])
    taps = model_lib.zero_taps(model, 3, 4, jnp.float64)

    def answer(params, labels):
        features = jnp.asarray(FEATURES)
        return model_lib.run_episode(
            model, model_lib.slow_support(model), params, features, labels, labels, taps
        ).logits

    params = tiny.model_params(1, model)
    write = params.cell.controllers.write["kernel"]
    moved = jnp.concatenate([write[:K], write[K:][order]])
    controllers = params.cell.controllers._replace(write={"kernel": moved})
    decoder = jax.tree.map(lambda leaf: leaf[..., order], params.decoder)
    permuted = params._replace(
        cell=params.cell._replace(controllers=controllers), decoder=decoder
    )
    found = answer(permuted, jnp.asarray(LABELS)[:, order])
    expected = answer(params, jnp.asarray(LABELS))[:, order]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@float64
def test_replayed_episode_repeats_what_was_recorded():
    model = tiny.make_model(tiny.KINDS[0], label_input="write", presentations=2)
    run = episode(model)
    replay = model_lib.replay_episode(model, run.support.trace, run.query)
    found = tiny.jit(replay)(tiny.model_params(1, model).cell.controllers)
    chex.assert_trees_all_close(
        tuple(found),
        (run.support.trace.outputs, run.query.outputs),
        rtol=0, atol=1e-14,
    )  # fmt: skip


def test_decoder_loss_is_the_cross_entropy_of_one_step():
    model = tiny.make_model()
    decoder = tiny.model_params(1, model).decoder
    output, target = tiny.normal(2, K), tiny.one_hot(1)
    logits = output @ decoder["kernel"] + decoder["bias"]
    found = model_lib.decoder_loss(model, decoder)(output, target)
    np.testing.assert_allclose(found, losses.cross_entropy(logits, target), rtol=1e-6)
