"""Where the cotangents of the fast path come from."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import C, K, float64, make_case

from nmn_jax import cell as cell_lib
from nmn_jax import losses
from nmn_jax.feedback import plumbing, predictors, sources
from nmn_jax.feedback.sources import Cue, Seen
from nmn_jax.nets import leaves
from nmn_jax.types import PerController

ONES = PerController(1.0, 1.0, 1.0)


def first_step(case, truth=None):
    """The first step of a case as a source sees it."""
    inputs = jax.tree.map(lambda leaf: leaf[0], case.inputs)
    probes = jax.tree.map(lambda leaf: leaf[0], cell_lib.zero_probes(case.cell, 1))
    _, trace = case.cell.step(case.params, case.state, inputs, probes)
    return Seen(case.params, case.state, inputs, trace, Cue(inputs.label, truth))


def decoder_loss(case):
    """The loss of one step's answer, and the decoder's parameters."""
    decoder = leaves.make_dense(C)
    weights = tiny.drawn(7, decoder.init, K)

    def loss(output, target):
        return losses.cross_entropy(decoder.apply(weights, output), target)

    return loss, weights


@float64
def test_oracle_is_the_gradient_of_the_steps_own_loss():
    case = make_case(label_input="write")
    step_loss, weights = decoder_loss(case)
    source = sources.step_oracle_source(case.cell, step_loss, ONES)
    seen = first_step(case)
    target = seen.cue.target
    carries, found = source.step(source.init(), seen)
    assert carries == source.init()
    output = seen.trace.outputs.output
    guess = jax.nn.softmax(output @ weights["kernel"] + weights["bias"])
    expected = weights["kernel"] @ (guess - target)
    np.testing.assert_allclose(found.output, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.write, 0)

    def loss(shift):
        probes = PerController(shift, jnp.zeros((K,)), jnp.zeros((K,)))
        _, moved = case.cell.step(case.params, case.state, seen.inputs, probes)
        return step_loss(moved.outputs.output, target)

    expected = tiny.finite_differences(loss, jnp.zeros((K,)))
    np.testing.assert_allclose(found.input, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("core", ["linear", "lstm"])
@float64
def test_predicted_source_asks_each_predictor_about_its_controller(core):
    predictor = predictors.PREDICTORS[core]()
    one = tiny.drawn(1, predictor.init, K, C)
    params = PerController(one, tiny.filled(2, one), tiny.filled(3, one))
    case = make_case()
    seen = first_step(case)
    source = sources.predicted_source(
        predictor, params, width=K, order=plumbing.through
    )
    carries = source.init()
    for _ in range(2):
        expected = [
            predictor.step(p, c, h, seen.inputs.label)
            for p, c, h in zip(params, carries, seen.trace.outputs, strict=True)
        ]
        carries, found = source.step(carries, seen)
        chex.assert_trees_all_close(
            (tuple(carries), tuple(found)), tuple(zip(*expected, strict=True))
        )


@pytest.mark.parametrize(
    ("order", "passes"), [(plumbing.stop, False), (plumbing.through, True)]
)
def test_order_decides_whether_the_predictor_differentiates_its_input(order, passes):
    predictor = predictors.make_linear_predictor()
    params = PerController(*(tiny.drawn(1, predictor.init, K, C),) * 3)
    case = make_case()
    seen = first_step(case)
    source = sources.predicted_source(predictor, params, width=K, order=order)

    def total(outputs):
        trace = seen.trace._replace(outputs=outputs)
        _, found = source.step(source.init(), seen._replace(trace=trace))
        return sum(map(jnp.sum, found))

    grads = jax.grad(total)(seen.trace.outputs)
    assert all(bool(jnp.any(grad)) is passes for grad in grads)


@float64
def test_the_step_oracle_speaks_in_the_units_of_predictions():
    """Its word times the unit is the gradient; a louder loss makes it louder."""
    case = make_case(label_input="write")
    step_loss, _ = decoder_loss(case)
    units = PerController(2.0, 0.5, 7.0)

    def said(loss, units):
        source = sources.step_oracle_source(case.cell, loss, units)
        return source.step(source.init(), first_step(case))[1]

    gradient = said(step_loss, ONES)
    assert np.any(gradient.input) and np.any(gradient.output)
    found = jax.tree.map(jnp.multiply, said(step_loss, units), units)
    chex.assert_trees_all_close(found, gradient, rtol=1e-14)
    louder = said(lambda output, target: 2 * step_loss(output, target), units)
    chex.assert_trees_all_close(
        louder, jax.tree.map(lambda g, u: 2 * g / u, gradient, units), rtol=1e-14
    )
    # Units that grow with the loss, as those of a running scale do, cancel it.
    doubled = jax.tree.map(lambda unit: 2 * unit, units)
    same = said(lambda output, target: 2 * step_loss(output, target), doubled)
    chex.assert_trees_all_close(same, said(step_loss, units), rtol=1e-14)


def test_zero_source_says_nothing():
    seen = first_step(make_case())
    source = sources.zero_source()
    carries, found = source.step(source.init(), seen)
    assert carries == source.init()
    chex.assert_trees_all_equal(found, tiny.blank(seen.trace.outputs))


def test_truth_source_says_what_it_was_told_and_refuses_to_guess():
    truth = PerController(*(tiny.normal(seed, K) for seed in range(3)))
    source = sources.truth_source()
    _, found = source.step(source.init(), first_step(make_case(), truth))
    chex.assert_trees_all_equal(found, truth)
    with pytest.raises(ValueError, match="told none"):
        source.step(source.init(), first_step(make_case()))
