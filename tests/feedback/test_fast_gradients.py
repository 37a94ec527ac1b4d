"""What the query loss says to slow weights, rates and predictors by a fast path."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import C, K, float64, make_case

from nmn_jax import cell as cell_lib
from nmn_jax import losses
from nmn_jax.feedback import adapting, fast, predictors, sources
from nmn_jax.feedback.fast import Adaptation
from nmn_jax.feedback.sources import Cue
from nmn_jax.types import PerController


def query_loss(case, path, core, learned):
    """Loss of queries asked after an episode of the stream, adapting on the way."""
    params, rates, learned_predictors = learned
    source = sources.predicted_source(
        predictors.PREDICTORS[core](), learned_predictors, width=K, order=path.order
    )
    state, weights, _ = fast.unroll(
        Adaptation(path, case.cell, rates, source), params, case.state, case.inputs,
        cue=Cue(case.inputs.label),
    )  # fmt: skip
    return loss_of_queries(
        case, params, state, fast.merge(params.controllers, weights.controllers)
    )


def loss_of_queries(case, params, state, controllers):
    queries = tiny.stream(20, 4)
    answers = cell_lib.ask(
        case.cell, params._replace(controllers=controllers), state, queries
    )
    logits = answers.outputs.output @ tiny.normal(8, K, C)
    return jnp.mean(losses.cross_entropy(logits, queries.label))


def learned(case, path, core):
    """Slow weights, log rates that differ from each other, predictors."""
    rates = fast.init_rates(path, case.params.controllers, rate=0.5)
    spread = tiny.filled(9, rates, 0.2)
    one = tiny.drawn(6, predictors.PREDICTORS[core]().init, K, C)
    each = PerController(*(tiny.filled(seed, one) for seed in range(3)))
    return case.params, jax.tree.map(jnp.add, rates, spread), each


SECOND = [
    (("input", "output", "write"), (), "plain", "fast", "linear", "residual"),
    (("output",), ("skip",), "normalised", "slow", "stateless", "linear"),
    (("output", "write"), (), "normalised", "fast", "linear", "lstm"),
    (("output",), (), "normalised", "slow", "linear", "lstm"),
]


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Three steps are a whole chunk and a step that is left."""
    monkeypatch.setattr(adapting, "CHUNK", 2)


@pytest.mark.parametrize(
    ("names", "tensors", "step_size", "writer", "kinds", "core"), SECOND
)
@float64
def test_second_order_is_finite_differences(
    names, tensors, step_size, writer, kinds, core
):
    path = fast.make_fast_path(
        names, tensors=tensors, step_size=step_size, writer=writer
    )
    case = make_case(kinds, steps=3, label_input="write")
    at = learned(case, path, core)
    loss = lambda at: query_loss(case, path, core, at)  # noqa: E731
    found = tiny.jit(jax.grad(loss))(at)
    chex.assert_trees_all_close(
        found, tiny.finite_differences(loss, at), rtol=1e-6, atol=1e-9
    )
    # Rates and the predictors of adapting controllers learn from the query loss.
    taught = [getattr(found[2], name) for name in names]
    assert all(np.any(leaf) for leaf in jax.tree.leaves((found[1], taught)))
    # A predictor whose controller does not adapt learns nothing from it.
    others = set(PerController._fields) - set(names)
    silent = [getattr(found[2], name) for name in others]
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(silent))


def detached(case, path, core, learned):
    """First order by hand: Jacobians, inputs and the predictor's view are constants."""
    params, rates, each = learned
    stop = jax.lax.stop_gradient
    predictor = predictors.PREDICTORS[core]()
    weights, state = params.controllers, case.state
    zeros = PerController(*(jnp.zeros((K,)),) * 3)
    for t in range(len(case.inputs.label)):
        inputs = jax.tree.map(lambda leaf, t=t: leaf[t], case.inputs)
        merged = params._replace(controllers=weights)
        writing = params if path.writer is fast.slow_writes else merged
        after, _ = case.cell.step(writing, state, inputs, zeros)
        trace = case.cell.step(merged, state, inputs, zeros)[1]
        fresh = weights._asdict()
        for name in path.controllers:
            output, given = (
                stop(getattr(of, name)) for of in (trace.outputs, trace.inputs)
            )
            guess = predictor.step(getattr(each, name), (), output, inputs.label)[1]
            bounded = path.step_size.bounded(guess)
            # For h = x W the pull-back of ĝ is x ĝᵀ.
            step = jnp.outer(given, bounded) * path.step_size.factor(given)
            rate = jnp.exp(getattr(rates, name)["kernel"])
            fresh[name] = {"kernel": fresh[name]["kernel"] - rate * step}
        weights, state = PerController(**fresh), after
    return loss_of_queries(case, params, state, weights)


@pytest.mark.parametrize(
    ("names", "writer"),
    [(PerController._fields, "fast"), (("output", "write"), "slow")],
)
@float64
def test_first_order_is_a_detached_reference(names, writer):
    path = fast.make_fast_path(names, order="first", writer=writer)
    case = make_case("linear", steps=3, label_input="write")
    at = learned(case, path, "residual")
    value, found = tiny.jit(
        jax.value_and_grad(lambda at: query_loss(case, path, "residual", at))
    )(at)
    same, expected = tiny.jit(
        jax.value_and_grad(lambda at: detached(case, path, "residual", at))
    )(at)
    np.testing.assert_allclose(value, same, rtol=1e-12)
    chex.assert_trees_all_close(found, expected, rtol=1e-9, atol=1e-12)
    # First and second order give the same answers, not the same gradients.
    second = path._replace(order=adapting.ORDERS["second"])
    value, exact = tiny.jit(
        jax.value_and_grad(lambda at: query_loss(case, second, "residual", at))
    )(at)
    np.testing.assert_allclose(value, same, rtol=1e-12)
    differ = jax.tree.map(lambda a, b: np.any(np.abs(a - b) > 1e-6), found, exact)
    assert differ[0].controllers.output["kernel"]


def test_gradients_through_twenty_huge_normalised_updates_are_finite():
    """Twenty sequential plain updates are what diverged in 20-way episodes."""
    path = fast.make_fast_path(("output",), step_size="normalised")
    case = make_case("linear", steps=20)
    params, rates, each = learned(case, path, "linear")
    huge = jax.tree.map(lambda leaf: 1e6 * leaf, each)
    grads = tiny.jit(jax.grad(lambda at: query_loss(case, path, "linear", at)))(
        (params, rates, huge)
    )
    chex.assert_tree_all_finite(grads)
