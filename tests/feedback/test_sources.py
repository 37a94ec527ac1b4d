"""Where the cotangents of the fast path come from."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import C, K, float64, make_case

from nmn_jax import cell as cell_lib
from nmn_jax import gradients, losses, model, networks, signals, synthetic
from nmn_jax.types import PerController


def one_step(case):
    """The first step of a case: its inputs, its trace, and where it started."""
    inputs = jax.tree.map(lambda leaf: leaf[0], case.inputs)
    taps = jax.tree.map(lambda leaf: leaf[0], cell_lib.zero_taps(case.cell, 1))
    _, trace = case.cell.step(case.params, case.state, inputs, taps)
    return inputs, trace


@float64
def test_oracle_is_the_gradient_of_the_steps_own_loss():
    case = make_case(label_input="write")
    decoder = networks.make_dense(C)
    weights = tiny.drawn(7, decoder.init, K)
    whole = model.Model(None, case.cell, decoder, C)
    signal = signals.oracle_signal(case.cell, model.decoder_loss(whole, weights))
    inputs, trace = one_step(case)
    target = inputs.label
    carries, found = signal.step(
        signal.init(), case.params, case.state, inputs, trace, target
    )
    assert carries == signal.init()
    guess = jax.nn.softmax(decoder.apply(weights, trace.outputs.output))
    expected = weights["kernel"] @ (guess - target)
    np.testing.assert_allclose(found.output, expected, rtol=1e-12)
    np.testing.assert_array_equal(found.write, 0)

    def loss(shift):
        taps = PerController(shift, jnp.zeros((K,)), jnp.zeros((K,)))
        _, moved = case.cell.step(case.params, case.state, inputs, taps)
        logits = decoder.apply(weights, moved.outputs.output)
        return losses.cross_entropy(logits, target)

    expected = tiny.finite_differences(loss, jnp.zeros((K,)))
    np.testing.assert_allclose(found.input, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("core", ["linear", "lstm"])
@float64
def test_synthetic_signal_asks_each_predictor_about_its_controller(core):
    predictor = synthetic.PREDICTORS[core]()
    one = tiny.drawn(1, predictor.init, K, C)
    params = PerController(one, tiny.filled(2, one), tiny.filled(3, one))
    case = make_case()
    inputs, trace = one_step(case)
    signal = signals.synthetic_signal(
        predictor, params, width=K, order=gradients.through
    )
    carries = signal.init()
    for _ in range(2):
        expected = [
            predictor.step(p, c, h, inputs.label)
            for p, c, h in zip(params, carries, trace.outputs, strict=True)
        ]
        carries, found = signal.step(
            carries, case.params, case.state, inputs, trace, inputs.label
        )
        chex.assert_trees_all_close(
            (tuple(carries), tuple(found)), tuple(zip(*expected, strict=True))
        )


@pytest.mark.parametrize(
    ("order", "passes"), [(gradients.stop, False), (gradients.through, True)]
)
def test_order_decides_whether_the_predictor_differentiates_its_input(order, passes):
    predictor = synthetic.make_linear_predictor()
    params = PerController(*(tiny.drawn(1, predictor.init, K, C),) * 3)
    case = make_case()
    inputs, trace = one_step(case)
    signal = signals.synthetic_signal(predictor, params, width=K, order=order)

    def total(outputs):
        heard = trace._replace(outputs=outputs)
        _, found = signal.step(
            signal.init(), case.params, case.state, inputs, heard, inputs.label
        )
        return sum(map(jnp.sum, found))

    grads = jax.grad(total)(trace.outputs)
    assert all(bool(jnp.any(grad)) is passes for grad in grads)


def test_zero_signal_says_nothing():
    case = make_case()
    inputs, trace = one_step(case)
    signal = signals.zero_signal()
    carries, found = signal.step(
        signal.init(), case.params, case.state, inputs, trace, inputs.label
    )
    assert carries == ()
    chex.assert_trees_all_equal(found, tiny.blank(trace.outputs))
