"""True cotangents, pull-backs and cuts of one stream, in float64 (Eq. 10)."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import KINDS, C, K, T, float64, make_case

from nmn_jax import cell as cell_lib
from nmn_jax import losses
from nmn_jax.feedback import bootstrap, plumbing
from nmn_jax.types import PerController


def stream_loss(case, inputs, params, features, probes):
    """Cross entropy of a fixed linear decoder, averaged over the stream."""
    decoder = tiny.normal(8, K, C)
    final, trace = cell_lib.unroll(
        case.cell, params, case.state, inputs._replace(features=features), probes=probes
    )
    logits = trace.outputs.output @ decoder
    return jnp.mean(losses.cross_entropy(logits, inputs.label)), (final, trace)


def backprop(case, inputs=None):
    inputs = case.inputs if inputs is None else inputs
    probes = cell_lib.zero_probes(case.cell, len(inputs.features))
    forward = functools.partial(stream_loss, case, inputs)
    return plumbing.backprop(forward, case.params, inputs.features, probes)


def pull(case, back):
    _, trace = back.aux
    replay = lambda params: cell_lib.replay(case.cell, params, trace)[1]  # noqa: E731
    return plumbing.pull(replay, case.params.controllers, back.cotangents)


@pytest.mark.parametrize("choices", tiny.COVER)
@float64
def test_true_cotangents_pulled_back_are_back_propagation(choices):
    case = make_case(**choices)

    @tiny.jit
    def both():
        back = backprop(case)
        return back.params.controllers, pull(case, back)

    slow, pulled = both()
    chex.assert_trees_all_close(pulled, slow, rtol=0, atol=1e-12)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(slow))


@pytest.mark.parametrize("kinds", KINDS[:2])
@float64
def test_probe_cotangents_are_finite_differences(kinds):
    case = make_case(kinds, label_input="write", similarity="cosine")
    back = tiny.jit(lambda: backprop(case))()
    expected = tiny.finite_differences(
        lambda probes: stream_loss(
            case, case.inputs, case.params, case.inputs.features, probes
        )[0],
        cell_lib.zero_probes(case.cell, T),
    )
    chex.assert_trees_all_close(back.cotangents, expected, rtol=1e-6, atol=1e-9)


@float64
def test_parameter_and_feature_gradients_are_finite_differences():
    case = make_case(KINDS[2], label_input="offset", write_rule="mann")
    back = tiny.jit(lambda: backprop(case))()
    probes = cell_lib.zero_probes(case.cell, T)
    expected = tiny.finite_differences(
        lambda at: stream_loss(case, case.inputs, *at, probes)[0],
        (case.params, case.inputs.features),
    )
    found = (back.params, back.features)
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-9)


@float64
def test_the_same_under_vmap_jit_and_vmap_of_vjp():
    case = make_case(label_input="write")
    streams = [tiny.stream(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *streams)
    run = lambda inputs: backprop(case, inputs)  # noqa: E731
    alone = [tiny.jit(run)(inputs) for inputs in streams]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    chex.assert_trees_all_close(tiny.jit(jax.vmap(run))(stacked), expected, rtol=1e-10)
    chex.assert_trees_all_close(run(streams[0]), alone[0], rtol=1e-10)

    def vjp_of_vmap(inputs):
        probes = jnp.broadcast_to(jnp.zeros((K,)), (3, T, K))
        probes = PerController(probes, probes, probes)
        loss = lambda probes: jax.vmap(  # noqa: E731
            lambda i, t: stream_loss(case, i, case.params, i.features, t)[0]
        )(inputs, probes)
        return jax.vjp(loss, probes)[1](jnp.ones((3,)))[0]

    found = tiny.jit(vjp_of_vmap)(stacked)
    chex.assert_trees_all_close(found, expected.cotangents, rtol=1e-10)


@pytest.mark.parametrize("write_rule", ["convex", "additive", "least_used", "mann"])
@float64
def test_write_cotangent_is_exactly_zero_at_the_last_step(write_rule):
    case = make_case(write_rule=write_rule, label_input="write")
    back = tiny.jit(lambda: backprop(case))()
    np.testing.assert_array_equal(back.cotangents.write[-1], 0)
    assert np.all(np.any(np.asarray(back.cotangents.write[:-1]) != 0, axis=1))


@float64
def test_a_window_of_one_step_gives_the_write_predictor_nothing():
    case = make_case(steps=1)
    back = tiny.jit(lambda: backprop(case))()
    np.testing.assert_array_equal(back.cotangents.write, 0)
    assert np.any(back.cotangents.output)


@pytest.mark.parametrize("steps", [1, T])
@float64
def test_bootstrap_hands_the_last_write_exactly_the_prediction(steps):
    case = make_case(steps=steps)
    predicted = tiny.normal(5, K)

    def forward(bootstrapped, params, features, probes):
        loss, (final, trace) = stream_loss(case, case.inputs, params, features, probes)
        future = bootstrap.bootstrap(trace.outputs.write[-1], predicted)
        return loss + bootstrapped * future, (final, trace)

    @tiny.jit
    def run(bootstrapped):
        return plumbing.backprop(
            functools.partial(forward, bootstrapped),
            case.params, case.inputs.features, cell_lib.zero_probes(case.cell, steps),
        )  # fmt: skip

    without, with_ = run(0.0), run(1.0)
    np.testing.assert_array_equal(with_.cotangents.write[-1], predicted)
    # The write controller of a single step learns nothing without, and only by it.
    learned = jax.tree.map(np.any, with_.params.controllers.write)
    assert all(jax.tree.leaves(learned))
    if steps == 1:
        assert not any(map(np.any, jax.tree.leaves(without.params.controllers.write)))
    pulled = tiny.jit(lambda: pull(case, with_))()
    chex.assert_trees_all_close(pulled, with_.params.controllers, rtol=0, atol=1e-12)


@float64
def test_bootstrap_teaches_the_predictor_nothing():
    update = tiny.normal(1, K)
    grad = jax.grad(bootstrap.bootstrap, argnums=(0, 1))(update, tiny.normal(2, K))
    np.testing.assert_array_equal(grad[0], tiny.normal(2, K))
    np.testing.assert_array_equal(grad[1], 0)


@float64
def test_bootstrap_with_the_true_future_completes_the_write_gradient():
    """A cut before the last step, told the truth about it, loses nothing that flows
    through the last update alone."""
    case = make_case("stateless", write_rule="convex")
    whole = tiny.jit(lambda: backprop(case))()
    first = jax.tree.map(lambda leaf: leaf[:-1], case.inputs)
    truth = whole.cotangents.write[T - 2]

    def forward(params, features, probes):
        loss, (final, trace) = stream_loss(case, first, params, features, probes)
        share = (T - 1) / T
        future = bootstrap.bootstrap(trace.outputs.write[-1], truth)
        return share * loss + future, (final, trace)

    probes = cell_lib.zero_probes(case.cell, T - 1)
    cut = tiny.jit(
        lambda: plumbing.backprop(forward, case.params, first.features, probes)
    )()
    np.testing.assert_allclose(cut.cotangents.write[-1], truth, rtol=1e-14)


def test_stop_is_the_identity_without_gradient():
    tree = {"a": tiny.normal(1, 3), "b": (tiny.normal(2, 2),)}
    chex.assert_trees_all_equal(plumbing.stop(tree), tree)
    assert plumbing.through(tree) is tree
    loss = lambda border, tree: jnp.sum(border(tree)["a"] ** 2)  # noqa: E731
    stopped = jax.grad(lambda t: loss(plumbing.stop, t))(tree)
    assert not any(map(np.any, jax.tree.leaves(stopped)))
    passed = jax.grad(lambda t: loss(plumbing.through, t))(tree)
    np.testing.assert_allclose(passed["a"], 2 * tree["a"])


TRUE, SYNTHETIC = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([10.0, -4.0])}


@pytest.mark.parametrize(
    ("rule", "weight", "expected"),
    [
        ("backprop", 0.5, [1, 2]),
        ("replace", 0.5, [10, -4]),
        ("add", 1.0, [11, -2]),
        ("add", 0.5, [6, 0]),
        ("mix", 0.25, [3.25, 0.5]),
        ("mix", 0.0, [1, 2]),
        ("mix", 1.0, [10, -4]),
    ],
)
def test_combination_rules_by_hand(rule, weight, expected):
    joined = plumbing.combine(TRUE, SYNTHETIC, rule=rule, weight=weight)
    np.testing.assert_array_equal(joined["w"], expected)


def test_unknown_rule_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"'sum'.*add.*backprop.*mix.*replace"):
        plumbing.combine(TRUE, SYNTHETIC, rule="sum")
