"""Episodes: what is stored, what is asked, and what may know of what."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model
from tiny import C, D, K, L, float64

from nmn_jax import model as model_lib
from nmn_jax.types import Stages

FEATURES = np.random.default_rng(0).normal(size=(3 + 4, D))
LABELS = np.eye(C)[[1, 2, 0]]


def stored(features=FEATURES, labels=LABELS):
    """An episode whose first features are its support set."""
    features, labels = jnp.asarray(features, float), jnp.asarray(labels, float)
    return model_lib.Episode(features[: len(labels)], labels, features[len(labels) :])


def answer(model, params, episode):
    """One episode with the slow weights alone."""
    probes = model_lib.zero_probes(
        model, len(episode.supports), len(episode.queries), episode.queries.dtype
    )
    return model_lib.run_episode(
        model, params, episode, support_pass=model_lib.slow_support(model),
        probes=probes,
    )  # fmt: skip


def run_episode(model, *, features=FEATURES, labels=LABELS, seed=1):
    """As `answer`, under parameters of a seed."""
    params = tiny_model.model_params(seed, model)
    run = tiny.jit(functools.partial(answer, model, params))
    return run(stored(features, labels))


def test_init_gives_every_part_its_width(key):
    model = tiny_model.make_model(
        "linear", label_input="write", compose="query_mem_weights"
    )
    params, stats = model_lib.init(model, key)
    assert params.cell.memory.rows.shape == (L, K)
    widths = [each["kernel"].shape for each in params.cell.controllers]
    assert widths == [(D, K), (2 * K + L, K), (K + C, K)]
    assert params.decoder["kernel"].shape == (K, C)
    assert stats.shape == ()


def test_support_is_shown_as_often_as_asked():
    model = tiny_model.make_model(presentations=2)
    features, labels = jnp.asarray(FEATURES[:3]), jnp.asarray(LABELS)
    inputs = model_lib.support_inputs(model, features, labels)
    np.testing.assert_array_equal(inputs.features, np.concatenate([features] * 2))
    np.testing.assert_array_equal(inputs.label, np.concatenate([LABELS] * 2))
    # The previous label crosses from one presentation to the next.
    previous = [[0, 0, 0], *LABELS, *LABELS[:2]]
    np.testing.assert_array_equal(inputs.previous, previous)


def test_queries_have_no_label_and_follow_the_last_support_step():
    last = jnp.asarray(LABELS[-1], float)
    inputs = model_lib.query_inputs(jnp.asarray(FEATURES[3:], float), last)
    np.testing.assert_array_equal(inputs.label, np.zeros((4, C)))
    np.testing.assert_array_equal(inputs.previous, [LABELS[-1]] * 4)


@pytest.mark.parametrize("label_input", ["none", "offset", "write"])
def test_no_query_sees_another(label_input):
    model = tiny_model.make_model(label_input=label_input)
    together = run_episode(model).outputs
    others = FEATURES.copy()
    others[4:] += 10
    np.testing.assert_array_equal(
        run_episode(model, features=others).outputs[0], together[0]
    )
    swapped = FEATURES[[0, 1, 2, 6, 5, 4, 3]]
    found = run_episode(model, features=swapped).outputs
    np.testing.assert_allclose(found, together[::-1], rtol=1e-5, atol=1e-6)


def test_without_label_input_the_answers_are_independent_of_the_labels():
    model = tiny_model.make_model(tiny.KINDS[0], label_input="none", presentations=2)
    other = LABELS[[2, 0, 1]]
    np.testing.assert_array_equal(
        run_episode(model).outputs, run_episode(model, labels=other).outputs
    )


@pytest.mark.parametrize("label_input", ["offset", "write"])
def test_a_label_input_brings_the_labels_to_the_answers(label_input):
    model = tiny_model.make_model(label_input=label_input)
    changed = (
        run_episode(model).outputs
        != run_episode(model, labels=LABELS[[2, 0, 1]]).outputs
    )
    assert jnp.all(changed)


@float64
def test_an_episode_starts_from_the_initial_state():
    model = tiny_model.make_model("lstm", label_input="write")
    first = run_episode(model)
    chex.assert_trees_all_equal(first, run_episode(model))
    params = tiny_model.model_params(1, model)
    inputs = model_lib.support_inputs(
        model, jnp.asarray(FEATURES[:3]), jnp.asarray(LABELS)
    )
    start = model.cell.initial_state(params.cell)
    state, trace = tiny.unroll(model.cell, params.cell, start, inputs)
    expected = model_lib.Support(state, params.cell.controllers, trace)
    chex.assert_trees_all_close(first.support, expected, rtol=1e-12)


@float64
def test_permuting_the_label_axis_of_every_weight_permutes_the_answers():
    """Ways have no order of their own: relabelling them is a change of coordinates."""
    model = tiny_model.make_model("linear", label_input="write")
    order = np.array([2, 0, 1])
    params = tiny_model.model_params(1, model)
    write = params.cell.controllers.write["kernel"]
    moved = jnp.concatenate([write[:K], write[K:][order]])
    controllers = params.cell.controllers._replace(write={"kernel": moved})
    decoder = jax.tree.map(lambda leaf: leaf[..., order], params.decoder)
    permuted = params._replace(
        cell=params.cell._replace(controllers=controllers), decoder=decoder
    )
    found = answer(model, permuted, stored(labels=LABELS[:, order])).outputs
    expected = answer(model, params, stored()).outputs[:, order]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@float64
def test_replayed_episode_repeats_what_was_recorded():
    model = tiny_model.make_model(tiny.KINDS[0], label_input="write", presentations=2)
    run = run_episode(model)
    controllers = tiny_model.model_params(1, model).cell.controllers
    traces = jax.tree.map(lambda leaf: leaf[None], (run.support.trace, run.query))
    found = tiny.jit(functools.partial(model_lib.replay_episodes, model))(
        controllers, *traces
    )
    expected = Stages(*(trace.outputs for trace in traces))
    chex.assert_trees_all_close(found, expected, rtol=0, atol=1e-14)


def test_answers_are_the_decoders_of_what_the_output_controller_says():
    """Eq. 8, step by step."""
    model = tiny_model.make_model()
    decoder = tiny_model.model_params(1, model).decoder
    run = run_episode(model)
    kernel, bias = np.asarray(decoder["kernel"]), np.asarray(decoder["bias"])
    expected = np.asarray(run.query.outputs.output) @ kernel + bias
    np.testing.assert_allclose(run.outputs, expected, rtol=1e-5, atol=1e-6)
