"""MAML++, part by part: each test fails when its part is left out."""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax.methods import maml, maml_plus, parts
from nmn_jax.methods.maml_plus import Inner, Plus, PlusState
from nmn_jax.methods.table import METHODS
from nmn_jax.nets.encoder import KEPT
from nmn_jax.settings import override, preset
from nmn_jax.tasks import episodes
from nmn_jax.types import TrainState
from tests.methods import test_maml
from tests.methods.test_maml import RATE, SHAPE, SIDE, TASKS, WAYS, batch_of

STEPS = 2
PLAIN = {"multi_step": 0, "norm_parameters": "shared", "rates": "fixed"}


def settings_of(norm="batch", *, inner=None, **given):
    settings = preset("paper_fast_lr", ways=WAYS, shots=1)
    loop = {"steps": STEPS, "test_steps": STEPS, "rate": RATE, **(inner or {})}
    return override(settings, model={**SHAPE, "norm": norm}, maml=loop, maml_plus=given)


def task_of():
    return episodes.classification(
        ways=WAYS, shots=1, queries=2, episodes=TASKS, image_shape=(SIDE, SIDE)
    )


def plus_of(norm="batch", **given):
    settings = settings_of(norm, **given)
    parted = maml.make_parts(maml_plus.MAML_PLUS, settings, task_of(), steps=10)
    return Plus(parted, settings.maml_plus, norm in KEPT)


def state_of(plus, step=0):
    """Numbers at random in the shape of the first state; no optimiser."""
    shapes = jax.eval_shape(lambda key: maml_plus._init(plus, key), jax.random.key(0))
    params = tiny.filled(0, shapes.network.params, 0.8)
    stats = jax.tree.map(jnp.abs, tiny.filled(1, shapes.stats, 1.0))
    return PlusState(TrainState(params, ()), stats, jnp.asarray(step))


def found(plus, state):
    """Loss and gradient at a training step."""
    value, _, grads = tiny.jit(
        lambda state: maml_plus.slow_gradient(plus, state, batch_of())
    )(state)
    return value, grads


@tiny.jit
def losses_by_step(params):
    """The loss of the queries after each inner step, asked one by one."""
    plus, batch = plus_of(), batch_of()
    inner = Inner(params, ((),) * STEPS, "second", "train")
    found = maml_plus._after_each_step(plus, inner, batch.context)[0]
    each = []
    for step, moved in enumerate(found):
        said, _ = maml_plus._outputs(plus, inner, (moved, batch.queries, step))
        each.append(jnp.mean(maml.mean_loss(plus.design, said, batch.answers)))
    return each


@tiny.float64
def test_without_its_parts_it_is_maml():
    plus = plus_of(**PLAIN)
    state = state_of(plus)
    params = state.network.params
    pairs = zip(params["kernels"], params["gains"][0], params["biases"][0], strict=True)
    same = {
        "encoder": tuple(maml_plus.Block(*each) for each in pairs),
        "head": params["head"],
    }
    value, grads = found(plus, state)
    # MAML moves gain and bias too; with a rate of zero they stand still.
    still = jax.tree.map(lambda leaf: jnp.full_like(leaf, RATE), same)
    still["encoder"] = tuple(
        block._replace(gain=0 * block.gain, bias=0 * block.bias)
        for block in still["encoder"]
    )
    design = test_maml.design_of(maml.META_SGD)
    slope = test_maml.slope(design, {**same, "rates": still})
    chex.assert_trees_all_close(grads["head"], slope["head"], rtol=1e-9, atol=1e-12)
    for kernel, gains, block in zip(
        grads["kernels"], grads["gains"][0], slope["encoder"], strict=True
    ):
        np.testing.assert_allclose(kernel, block.kernel, rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(gains, block.gain, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(
        value, maml.slow_loss(design, {**same, "rates": still}, batch_of())[0]
    )


def test_weights_of_the_multi_step_loss_move_to_the_last_step():
    def at(step, until=100):
        return maml_plus.step_weights(jnp.asarray(step), steps=5, until=until)

    np.testing.assert_allclose(at(0), [0.2] * 5, rtol=1e-6)
    np.testing.assert_allclose(at(50), [0.1] * 4 + [0.6], rtol=1e-6)
    np.testing.assert_allclose(at(99), [0.006] * 4 + [0.976], rtol=1e-5)
    np.testing.assert_allclose(at(100), [0, 0, 0, 0, 1])
    np.testing.assert_allclose(at(0, until=0), [0, 0, 0, 0, 1])


@tiny.float64
def test_the_multi_step_loss_asks_after_every_inner_step():
    plus = plus_of(multi_step=10)
    each = losses_by_step(state_of(plus).network.params)
    assert min(each) > 0.1
    assert abs(each[0] - each[1]) > 1e-3
    for step, weights in ((0, [0.5, 0.5]), (5, [0.25, 0.75]), (10, [0, 1])):
        value, _ = found(plus, state_of(plus, step))
        np.testing.assert_allclose(value, np.dot(weights, each), rtol=1e-9)


@tiny.float64
def test_the_order_of_derivatives_rises_in_training():
    plain = {**PLAIN, "rates": "learned"}
    plus = plus_of(**plain, first_order=3)
    slopes = {
        order: found(plus_of(**plain, inner={"order": order}), state_of(plus))[1]
        for order in ("first", "second")
    }
    for step, order in ((0, "first"), (2, "first"), (3, "second"), (9, "second")):
        _, grads = found(plus, state_of(plus, step))
        chex.assert_trees_all_close(grads, slopes[order], rtol=1e-8, atol=1e-12)
    apart = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), *slopes.values())
    assert max(jax.tree.leaves(apart)) > 1e-3


@tiny.float64
def test_every_inner_step_has_a_norm_and_rates_of_its_own():
    """Both are learned slowly, and no step's are another's."""
    plus = plus_of(multi_step=0)
    params = state_of(plus).network.params
    assert params["gains"].shape[0] == params["biases"].shape[0] == STEPS
    _, grads = found(plus, state_of(plus))
    for leaf in (grads["gains"], grads["biases"], *jax.tree.leaves(grads["rates"])):
        assert leaf.shape[0] == STEPS
        assert np.all([np.any(row != 0) for row in np.asarray(leaf)])
    shared = state_of(plus_of(**PLAIN)).network.params
    assert shared["gains"].shape[0] == 1
    assert "rates" not in shared


@tiny.float64
def test_a_learned_rate_is_of_its_tensor_and_its_step():
    plus = plus_of()
    state = state_of(plus)
    rates = jax.tree.map(jnp.zeros_like, state.network.params["rates"])
    rates["head"]["bias"] = rates["head"]["bias"].at[1].set(0.5)
    params = {**state.network.params, "rates": rates}
    inner = Inner(params, state.stats, "second", "train")
    after = maml_plus._after_each_step(plus, inner, batch_of().context)[0]
    start = maml.per_task({n: params[n] for n in ("kernels", "head")}, TASKS)
    chex.assert_trees_all_equal(after[0], start)
    chex.assert_trees_all_equal(after[1]["kernels"], start["kernels"])
    assert np.all(after[1]["head"]["bias"] != start["head"]["bias"])


def test_statistics_are_of_every_inner_step_and_used_at_test_time():
    plus = plus_of("episode")
    state = state_of(plus)
    (_, (_, seen), _) = tiny.jit(
        lambda state: maml_plus.slow_gradient(plus, state, batch_of())
    )(state)
    chex.assert_trees_all_equal_shapes(seen, state.stats)
    drift = [
        np.asarray((new[0].mean - 0.9 * old[0].mean) / 0.1)
        for new, old in zip(seen, state.stats, strict=True)
    ]
    assert np.abs(drift[0] - drift[1]).max() > 1e-2
    say = tiny.jit(lambda s, q: maml_plus._predict(plus, s, batch_of().context, q))
    queries = batch_of().queries
    whole = say(state, queries).output
    alone = say(state, queries.at[:, 1:].set(0)).output
    np.testing.assert_allclose(alone[:, 0], whole[:, 0], rtol=1e-5)
    for step in range(STEPS):
        moved = jax.tree.map(lambda leaf: leaf + 1, state.stats[step])
        stats = (*state.stats[:step], moved, *state.stats[step + 1 :])
        assert not np.allclose(say(state._replace(stats=stats), queries).output, whole)


def test_published_settings_anneal_the_outer_rate():
    line = METHODS["maml_plus"]
    settings = override(preset("recommended", ways=5, shots=1), **line.published(5, 1))
    assert settings.optim.schedule == "cosine"
    assert (settings.maml.steps, settings.maml.test_steps) == (5, 5)
    assert settings.maml_plus.multi_step > 0
    assert "maml_plus" in line.uses
    assert parts.ENCODER_AND_OPTIMIZER[0] in line.uses


@pytest.mark.parametrize(
    ("norm", "given", "message"),
    [
        ("batch", {"inner": {"test_steps": 3}}, "test_steps=3 with maml.steps=2"),
        ("support", {}, "model.norm='support'.*'batch'.*'episode'"),
        ("batch", {"first_order": 5, "inner": {"order": "first"}}, "no second order"),
    ],
)
def test_what_cannot_be_is_refused(norm, given, message):
    with pytest.raises(ValueError, match=message):
        maml_plus.make(settings_of(norm, **given), task_of(), steps=10)
