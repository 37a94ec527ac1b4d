"""One step of both speeds: whose gradient reaches whom, in float64."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from tiny import K, float64

from nmn_jax import fast, losses, synthetic
from nmn_jax import feedback as feedback_lib
from nmn_jax import learner as learner_lib
from nmn_jax.types import PerController

PATH = fast.make_fast_path(("output",))


def setting(kinds="linear", *, seed=3, label_input="write", core="residual", **options):
    """A model, its feedback and a state whose predictors speak."""
    model = tiny.make_model(kinds, label_input=label_input)
    chosen = tiny.make_feedback(core, **options)
    learner = learner_lib.make_learner(model, chosen, optax.sgd(1.0), optax.sgd(1.0))
    return model, chosen, tiny.learner_state(seed, learner, model)


def plain_speeds(model, chosen):
    return functools.partial(learner_lib.two_speeds, model, chosen, phase="train")


def speeds(model, chosen):
    return tiny.jit(plain_speeds(model, chosen))


def with_predictors(state, predictors):
    fed = state.synthetic.params._replace(predictors=predictors)
    return state._replace(synthetic=state.synthetic._replace(params=fed))


@pytest.mark.parametrize(("core", "scale"), [("lstm", "none"), ("residual", "rms")])
@float64
def test_regression_gradients_are_finite_differences(core, scale):
    model, chosen, state = setting(core=core, scale=synthetic.SCALES[scale])
    batch = tiny.make_batch(2)
    run = plain_speeds(model, chosen)

    def loss(predictors):
        return run(with_predictors(state, predictors), batch).regression.loss

    found = speeds(model, chosen)(state, batch).synthetic.predictors
    expected = tiny.finite_differences(loss, state.synthetic.params.predictors)
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-8)


@float64
def test_predictors_regress_on_the_cotangents_of_one_querys_loss():
    """Twice the episodes, or queries that say the same twice, change no target."""
    model, chosen, state = setting(scale=synthetic.no_scale)
    batch = tiny.make_batch(2)
    doubled = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), batch)
    run = speeds(model, chosen)
    once, twice = run(state, batch), run(state, doubled)
    chex.assert_trees_all_close(
        twice.regression.true,
        jax.tree.map(lambda g: jnp.concatenate([g, g]), once.regression.true),
        rtol=1e-10, atol=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose(twice.regression.loss, once.regression.loss, rtol=1e-10)
    # At a query's own output: W (p - y), with no division by B or Q.
    guess = jax.nn.softmax(once.back.aux.logits)
    kernel = state.network.params.decoder["kernel"]
    expected = jnp.einsum("kc,bqc->bqk", kernel, guess - batch.query)
    supports = batch.support.shape[1]
    found = once.regression.true.output[:, supports:]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@float64
def test_regression_moves_no_part_of_the_network():
    """Another scale, another regression; the same network gradient to the bit."""
    model, chosen, state = setting(fast=PATH, train="regress")
    batch, run = tiny.make_batch(2), speeds(model, chosen)
    found = run(state, batch)
    louder = jax.tree.map(lambda leaf: leaf + 100.0, state.scale)
    other = run(state._replace(scale=louder), batch)
    chex.assert_trees_all_equal(other.network, found.network)
    assert other.regression.loss < 0.5 * found.regression.loss


def test_unheard_predictors_leave_the_network_unchanged_to_the_bit():
    """`rule="backprop"` is the baseline, whatever the predictors are and learn."""
    model = tiny.make_model(label_input="write")
    learner = learner_lib.make_learner(
        model, tiny.make_feedback(), optax.adam(1e-2), optax.sgd(0.5)
    )
    batch, step = tiny.make_batch(2), tiny.jit(learner.step)
    ends = []
    for scale in (0.0, 2.0):
        state = tiny.learner_state(3, learner, model, scale)
        for _ in range(3):
            state, _ = step(state, batch)
        ends.append(state)
    chex.assert_trees_all_equal(ends[0].network, ends[1].network)
    kernels = [end.synthetic.params.predictors.output["last"] for end in ends]
    assert np.all(kernels[0] != kernels[1])


@float64
def test_the_three_ways_predictors_learn():
    """regress: Eq. 11 alone; both: also the query loss, as differences find it."""
    batch, found = tiny.make_batch(2), {}
    for train in ("regress", "both"):
        model, chosen, state = setting(label_input="none", fast=PATH, train=train)
        found[train] = speeds(model, chosen)(state, batch).synthetic
    expected = tiny.finite_differences(
        functools.partial(query_loss, model, chosen, state, batch),
        state.synthetic.params,
    )
    meta = jax.tree.map(
        jnp.subtract, found["both"].predictors, found["regress"].predictors
    )
    chex.assert_trees_all_close(meta, expected.predictors, rtol=1e-6, atol=1e-9)
    # The rates hear the query loss however the predictors learn.
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
def test_which_gradients_a_predictor_hears(path, expected):
    one, ten = (PerController(*(jnp.array(value),) * 3) for value in (1.0, 10.0))
    fed = feedback_lib.SyntheticParams(one, None)
    regression = feedback_lib.Regression(None, ten, None, None, None)
    heard = {}
    for train in feedback_lib.TRAIN:
        chosen = tiny.make_feedback(train=train, fast=path)
        heard[train] = feedback_lib.predictor_gradient(chosen, fed, regression).output
    assert heard == expected


def query_loss(model, chosen, state, batch, fed):
    heard = state._replace(synthetic=state.synthetic._replace(params=fed))
    run = learner_lib.predict(model, chosen, heard, batch)
    return jnp.mean(losses.cross_entropy(run.logits, batch.query))


def test_unknown_choices_are_refused_with_the_list():
    model = tiny.make_model()
    for options, message in (
        ({"train": "regres"}, "regress.*meta.*both"),
        ({"rule": "sum"}, "add.*backprop.*mix.*replace"),
    ):
        with pytest.raises(ValueError, match=message):
            learner_lib.make_learner(
                model, tiny.make_feedback(**options), optax.sgd(1.0), optax.sgd(1.0)
            )


def test_true_cotangent_of_the_write_controller_stands_at_support_steps_alone():
    model, chosen, state = setting()
    batch = tiny.make_batch(2)
    true = speeds(model, chosen)(state, batch).regression.true
    supports, queries = batch.support.shape[1], batch.query.shape[1]
    assert true.write.shape == (2, supports, K)
    assert true.output.shape == true.input.shape == (2, supports + queries, K)
