"""One step of both speeds: whose gradient reaches whom, in float64."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
import tiny_model
from tiny import K, float64

from nmn_jax import losses
from nmn_jax.feedback import fast, pipeline, targets
from nmn_jax.feedback.sg import TRAIN, SGParams
from nmn_jax.types import PerController

PATH = fast.make_fast_path(("output",))


def setting(kinds="linear", *, seed=3, label_input="write", core="residual", **options):
    """A design and a state whose predictors speak."""
    model = tiny_model.make_model(kinds, label_input=label_input)
    design = tiny_model.make_design(model, tiny_model.make_sg(core, **options))
    method = tiny_model.make_method(design)
    return design, tiny_model.method_state(seed, method, model)


def speeds(design):
    return tiny.jit(tiny_model.two_speeds(design))


def with_sg(state, params):
    return state._replace(sg=state.sg._replace(params=params))


@pytest.mark.parametrize(("core", "scale"), [("lstm", "none"), ("residual", "rms")])
@float64
def test_regression_gradients_are_finite_differences(core, scale):
    design, state = setting(core=core, scale=targets.SCALES[scale])
    batch = tiny_model.make_batch(2)
    run = tiny_model.two_speeds(design)

    def loss(predictors):
        sg_params = state.sg.params._replace(predictors=predictors)
        return run(with_sg(state, sg_params), batch).regression.loss

    found = speeds(design)(state, batch).sg.predictors
    expected = tiny.finite_differences(loss, state.sg.params.predictors)
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-8)


@float64
def test_predictors_regress_on_the_cotangents_of_one_querys_loss():
    """Twice the episodes, or queries that say the same twice, change no target."""
    design, state = setting(scale=targets.no_scale)
    batch = tiny_model.make_batch(2)
    doubled = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), batch)
    run = speeds(design)
    once, twice = run(state, batch), run(state, doubled)
    chex.assert_trees_all_close(
        twice.regression.true,
        jax.tree.map(lambda g: jnp.concatenate([g, g]), once.regression.true),
        rtol=1e-10, atol=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose(twice.regression.loss, once.regression.loss, rtol=1e-10)
    # At a query's own output: W (p - y), with no division by B or Q.
    guess = jax.nn.softmax(once.back.aux.outputs)
    kernel = state.network.params.decoder["kernel"]
    expected = jnp.einsum("kc,bqc->bqk", kernel, guess - batch.answers)
    supports = batch.context.targets.shape[1]
    found = once.regression.true.output[:, supports:]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@float64
def test_regression_moves_no_part_of_the_network():
    """Another scale, another regression; the same network gradient to the bit."""
    design, state = setting(fast=PATH, train="regress")
    batch, run = tiny_model.make_batch(2), speeds(design)
    found = run(state, batch)
    louder = jax.tree.map(lambda leaf: leaf + 100.0, state.scale)
    other = run(state._replace(scale=louder), batch)
    chex.assert_trees_all_equal(other.network, found.network)
    assert other.regression.loss < 0.5 * found.regression.loss


def test_predictors_without_a_say_leave_the_network_unchanged_to_the_bit():
    """`rule="backprop"` is the baseline, whatever the predictors are and learn."""
    model = tiny_model.make_model(label_input="write")
    method = tiny_model.make_method(
        tiny_model.make_design(model), optax.adam(1e-2), optax.sgd(0.5)
    )
    batch, step = tiny_model.make_batch(2), tiny.jit(method.step)
    ends = []
    for scale in (0.0, 2.0):
        state = tiny_model.method_state(3, method, model, scale)
        for _ in range(3):
            state, _ = step(state, batch)
        ends.append(state)
    chex.assert_trees_all_equal(ends[0].network, ends[1].network)
    kernels = [end.sg.params.predictors.output["last"] for end in ends]
    assert np.all(kernels[0] != kernels[1])


@float64
def test_the_three_ways_predictors_learn():
    """regress: Eq. 11 alone; both: also the query loss, as differences find it."""
    batch, found = tiny_model.make_batch(2), {}
    for train in ("regress", "both"):
        design, state = setting(label_input="none", fast=PATH, train=train)
        found[train] = speeds(design)(state, batch).sg
    expected = tiny.finite_differences(
        functools.partial(query_loss, design, state, batch), state.sg.params
    )
    meta = jax.tree.map(
        jnp.subtract, found["both"].predictors, found["regress"].predictors
    )
    chex.assert_trees_all_close(meta, expected.predictors, rtol=1e-6, atol=1e-9)
    # The rates learn from the query loss however the predictors learn.
    for train in found:
        chex.assert_trees_all_close(
            found[train].rates, expected.rates, rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PATH, {"regress": 10, "meta": 1, "both": 11}),
        # Without a fast path the query loss does not depend on the predictors.
        (None, {"regress": 10, "meta": 10, "both": 10}),
    ],
)
def test_which_gradients_teach_a_predictor(path, expected):
    one, ten = (PerController(*(jnp.array(value),) * 3) for value in (1.0, 10.0))
    found = {}
    for train in TRAIN:
        chosen = tiny_model.make_sg(train=train, fast=path)
        regression = targets.Regression(None, ten, None, None, None)
        found[train] = pipeline.predictor_gradient(
            chosen, SGParams(one, None), regression
        ).output
    assert found == expected


def query_loss(design, state, batch, sg_params):
    method = tiny_model.make_method(design)
    said = method.predict(with_sg(state, sg_params), batch.context, batch.queries)
    return jnp.mean(losses.cross_entropy(said.output, batch.answers))


def test_unknown_choices_are_refused_with_the_list():
    model = tiny_model.make_model()
    for options, message in (
        ({"train": "regres"}, "regress.*meta.*both"),
        ({"rule": "sum"}, "add.*backprop.*mix.*replace"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny_model.make_method(
                tiny_model.make_design(model, tiny_model.make_sg(**options))
            )


def test_true_cotangent_of_the_write_controller_stands_at_support_steps_alone():
    design, state = setting()
    batch = tiny_model.make_batch(2)
    true = speeds(design)(state, batch).regression.true
    supports, queries = batch.context.targets.shape[1], batch.answers.shape[1]
    assert true.write.shape == (2, supports, K)
    assert true.output.shape == true.input.shape == (2, supports + queries, K)


@float64
def test_the_loss_of_the_task_is_what_a_step_descends():
    """A regression enters: every gradient is that of the squared error."""
    task = tiny_model.make_task(kind="regression")
    model = tiny_model.make_model("linear", label_input="write")
    design = tiny_model.make_design(model, task=task)
    method = tiny_model.make_method(design, task=task)
    state, batch = tiny_model.method_state(3, method, model), tiny_model.make_batch(2)
    batch = tiny_model.with_targets(batch, tiny.normal(7, *batch.context.targets.shape))
    batch = batch._replace(answers=tiny.normal(8, *batch.answers.shape))

    def loss(params):
        network = state.network._replace(params=params)
        said = method.predict(
            state._replace(network=network), batch.context, batch.queries
        )
        return jnp.mean((said.output - batch.answers) ** 2)

    found = speeds(design)(state, batch).network
    expected = tiny.finite_differences(loss, state.network.params)
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-9)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(found))
