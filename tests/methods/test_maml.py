"""MAML and its kin: the slow gradient by other routes, and what a setting does."""

from __future__ import annotations

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from experiments.omniglot import records
from nmn_jax import losses
from nmn_jax.feedback import plumbing
from nmn_jax.methods import maml, table
from nmn_jax.nets import convolution
from nmn_jax.nets import encoder as encoder_lib
from nmn_jax.settings import override, preset
from nmn_jax.tasks import episodes
from nmn_jax.tasks.base import Batch, Context

WAYS, TASKS, QUERIES, SIDE, RATE = 2, 3, 4, 4, 0.3
SHAPE = {"channels": 2, "layers": 1}


def design_of(variant=maml.MAML, norm="batch", **given):
    """Small and in the precision in force."""
    settings = preset("paper_fast_lr", ways=WAYS, shots=1)
    given = {"steps": 2, "test_steps": 3, "rate": RATE, **given}
    settings = override(settings, model={**SHAPE, "norm": norm}, maml=given)
    task = episodes.classification(
        ways=WAYS, shots=1, queries=2, episodes=TASKS, image_shape=(SIDE, SIDE)
    )
    return maml.make_design(variant, settings, task, steps=10)


def params_of(design, seed=0):
    def init(key):
        encoder, _ = design.encoder.init(key)
        return {"encoder": encoder, "head": design.head.init(key, design.encoder.width)}

    whole = jax.eval_shape(init, jax.random.key(0))
    if design.variant.rates:
        whole["rates"] = dict(whole)
    return tiny.filled(seed, whole, 0.8)


def batch_of(seed=5):
    labels = jnp.stack([tiny.one_hot(np.arange(WAYS), WAYS)] * TASKS)
    asked = jnp.stack([tiny.one_hot([0, 1, 1, 0], WAYS)] * TASKS)
    supports = tiny.normal(seed, TASKS, WAYS, SIDE, SIDE)
    queries = tiny.normal(seed + 1, TASKS, QUERIES, SIDE, SIDE)
    return Batch(Context(supports, labels), queries, asked)


def slow(design):
    """`params -> []`."""
    return lambda params: maml.slow_loss(design, params, batch_of())[0]


def slope(design, params):
    return tiny.jit(jax.grad(slow(design)))(params)


def plain_loss(params, inputs, targets):
    """One task by the compiler's convolution, with statistics of these inputs."""
    encoder = encoder_lib.make_conv_encoder(
        **SHAPE, norm="batch", image_shape=(SIDE, SIDE), formulation=convolution.direct
    )
    features, _ = encoder.apply(
        params["encoder"], (), inputs[None], supports=len(inputs), phase="train"
    )
    outputs = features[0] @ params["head"]["kernel"] + params["head"]["bias"][None]
    return jnp.mean(losses.cross_entropy(outputs, targets))


def plain_slow_loss(params, adapt):
    """Task after task, adapted by `adapt(params, gradient of a step)`."""
    batch, total = batch_of(), 0.0
    for task in range(TASKS):
        adapted = params
        for _ in range(2):
            given = batch.context.inputs[task], batch.context.targets[task]
            adapted = adapt(adapted, jax.grad(plain_loss)(adapted, *given))
        total += plain_loss(adapted, batch.queries[task], batch.answers[task])
    return total / TASKS


def descend(params, grads, rate=RATE):
    return jax.tree.map(lambda p, g: p - rate * g, params, grads)


@pytest.mark.parametrize("variant", [maml.MAML, maml.ANIL, maml.META_SGD])
@tiny.float64
def test_the_slow_gradient_is_finite_differences(variant):
    design = design_of(variant)
    params = params_of(design)
    numbers = tiny.finite_differences(slow(design), params, step=1e-6)
    chex.assert_trees_all_close(slope(design, params), numbers, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("order", ["first", "second"])
@tiny.float64
def test_the_slow_gradient_is_that_of_one_task_after_the_other(order):
    """First order: inner gradients are constants."""
    constant = {"first": plumbing.stop, "second": plumbing.through}[order]
    design = design_of(order=order)
    params = params_of(design)
    expected = tiny.jit(
        jax.grad(lambda at: plain_slow_loss(at, lambda p, g: descend(p, constant(g))))
    )(params)
    chex.assert_trees_all_close(slope(design, params), expected, rtol=1e-8, atol=1e-10)


@tiny.float64
def test_anil_is_maml_whose_encoder_stands_still():
    def head_alone(params, grads):
        return {**params, "head": descend(params["head"], grads["head"])}

    design = design_of(maml.ANIL)
    params = params_of(design)
    expected = tiny.jit(jax.grad(lambda at: plain_slow_loss(at, head_alone)))(params)
    chex.assert_trees_all_close(slope(design, params), expected, rtol=1e-8, atol=1e-10)


@tiny.float64
def test_meta_sgd_with_equal_rates_is_maml():
    params = params_of(design_of())
    rates = jax.tree.map(lambda leaf: jnp.full_like(leaf, RATE), params)
    found = slope(design_of(maml.META_SGD), {**params, "rates": rates})
    expected = slope(design_of(), params)
    chex.assert_trees_all_close({k: found[k] for k in params}, expected)
    still = [leaf for leaf in jax.tree.leaves(found["rates"]) if not jnp.any(leaf)]
    assert not still


@tiny.float64
def test_what_is_kept_of_a_step_changes_no_gradient():
    params = params_of(design_of())
    whole, little = (slope(design_of(keep=each), params) for each in ("all", "params"))
    chex.assert_trees_all_close(whole, little, rtol=1e-10)


@functools.cache
def trained(name):
    """A method of the table with its state after 40 steps on the same tasks."""
    line = table.METHODS[name]
    settings = override(
        preset("paper_fast_lr", ways=WAYS, shots=1), **line.published(WAYS, 1)
    )
    settings = override(settings, model=SHAPE, optim={"lr": 0.02})
    task = episodes.classification(
        ways=WAYS, shots=1, queries=2, episodes=TASKS, image_shape=(SIDE, SIDE)
    )
    method = line.make(settings, task, steps=40)
    state, step, found = method.init(jax.random.key(0)), tiny.jit(method.step), []
    for _ in range(40):
        state, metrics = step(state, batch_of())
        found.append(float(metrics["loss"]))
    return method, state, found


@pytest.mark.parametrize("name", sorted(maml.ENTRIES))
def test_training_lowers_the_loss_of_queries(name):
    found = trained(name)[2]
    assert found[-1] < 0.5 * found[0]


def test_answers_come_after_as_many_steps_as_the_test_has():
    method, state, _ = trained("maml")
    context, queries = batch_of().context, batch_of().queries
    assert method.transductive
    one = Context(*(leaf[:1] for leaf in context))
    found = method.predict(state, one, queries[:1]).output
    # Three steps at test are two steps, and then one more by hand.
    short = design_of(test_steps=1, rate=0.4)
    early = method.adapt(state, one, 2)
    after = maml._predict(short, early, one, queries[:1]).output
    np.testing.assert_allclose(found, after, rtol=1e-4, atol=1e-5)


def test_support_statistics_answer_every_query_alone():
    design = design_of(norm="support")
    params, batch = params_of(design), batch_of()
    state = maml.MamlState(maml.TrainState(params, ()), jnp.zeros((), jnp.int32))
    say = tiny.jit(functools.partial(maml._predict, design))
    whole = say(state, batch.context, batch.queries).output
    changed = batch.queries.at[:, 1:].set(0)
    found = say(state, batch.context, changed).output
    np.testing.assert_allclose(found[:, 0], whole[:, 0], rtol=1e-5)
    assert not np.allclose(found[:, 1], whole[:, 1])
    assert not design.transductive


def test_running_statistics_are_refused():
    with pytest.raises(ValueError, match="model.norm='running'.*'batch'.*'support'"):
        design_of(norm="running")


@pytest.mark.parametrize(("ways", "expected"), [(5, (1, 3, 0.4)), (20, (5, 5, 0.1))])
def test_published_settings_are_the_defaults(ways, expected):
    line = table.METHODS["maml"]
    run = records.Run(method="maml", ways=ways)
    settings = records.resolve(run, line.uses, line.published(ways, 1))
    given = settings.maml
    assert (given.steps, given.test_steps, given.rate) == expected
    assert (settings.model.layers, settings.model.channels) == (4, 64)
    assert dataclasses.asdict(settings.optim)["lr"] == 1e-3
    assert settings.optim.schedule == "constant"
    # What a run says itself comes first.
    other = dataclasses.replace(run, maml={"steps": 2}, model={"norm": "support"})
    settings = records.resolve(other, line.uses, line.published(ways, 1))
    assert (settings.maml.steps, settings.model.norm) == (2, "support")
