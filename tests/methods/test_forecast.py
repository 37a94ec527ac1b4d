"""The memory network on sequences: what it learns from, and what never reaches it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax.feedback import pipeline
from nmn_jax.methods import forecast_pass, nmn_forecast
from nmn_jax.methods.forecast_pass import ForecastDesign
from nmn_jax.settings import builders, forecasts, override, preset
from nmn_jax.tasks import trajectories
from tests.methods import contract

TASK = trajectories.forecast(observed=3, horizon=3, batch=3)


def settings_of(use="off", *, control="none", carry="episode", **forecast):
    return override(
        preset("recommended", ways=2, shots=1),
        model=contract.FORECAST,
        sg={
            "use": use, "control": control, "predictor": "linear", "rate": 0.1,
            "keep": 0.5,
        },
        forecast={"units": 3, "frame": "absolute", **forecast},
        stream={"carry": carry},
    )  # fmt: skip


def design_of(*args, **options):
    settings = settings_of(*args, **options)
    return ForecastDesign(
        forecasts.make_forecast_model(settings, TASK.spec),
        builders.make_sg(settings.sg),
        TASK.loss,
        forecasts.make_decoding(settings.forecast, TASK.spec),
        settings.stream.carry,
    )


def state_of(design, seed=1):
    """A state of numbers drawn at random, so that nothing is zero by accident."""
    optimizers = builders.make_optimizers(settings_of().optim, steps=5)
    init = functools.partial(nmn_forecast._init, design, optimizers)
    state = tiny.drawn(seed, init)
    scale = jax.tree.map(lambda each: jnp.abs(each) + 0.5, state.scale)
    return state._replace(scale=scale, step=jnp.zeros((), jnp.int32))


def batch_of(seed=3):
    return trajectories.parted(tiny.normal(seed, 3, 6, 2), 3)


def gradients(design, state, batch):
    way = forecast_pass.make_pass(design, state, forecast_pass.lay(design, batch))
    return pipeline.two_speeds(design.sg, state, way)


@pytest.mark.parametrize("decode", ["aligned", "flat", "autoregressive"])
@tiny.float64
def test_slow_gradients_are_finite_differences(decode):
    """With one memory for all sequences, and a fast path that learns between them."""
    design = design_of("fast", carry="memory", decode=decode)
    state, batch = state_of(design), batch_of()
    found = gradients(design, state, batch)

    def loss(at):
        network = state.network._replace(params=at)
        return gradients(design, state._replace(network=network), batch).back.loss

    params = state.network.params
    chosen = lambda tree: (tree.decoder, tree.cell.controllers.write)  # noqa: E731

    def of_chosen(part):
        decoder, write = part
        controllers = params.cell.controllers._replace(write=write)
        cell = params.cell._replace(controllers=controllers)
        return loss(params._replace(decoder=decoder, cell=cell))

    expected = tiny.finite_differences(of_chosen, chosen(params))
    for got, wanted in zip(
        jax.tree.leaves(chosen(found.network)), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("decode", ["aligned", "flat"])
def test_the_loss_is_the_tasks_of_what_was_said(decode):
    """Mean over the steps asked for, in the task's units, whatever those of answers."""
    design = design_of("off", decode=decode, frame="displacement")
    state, batch = state_of(design), batch_of()
    back = gradients(design, state, batch).back
    read = jax.vmap(design.decoding.read)
    said = read(back.aux.outputs, batch.inputs, batch.targets)
    expected = np.mean(np.square(np.asarray(said) - np.asarray(batch.targets)))
    np.testing.assert_allclose(back.loss, expected, rtol=1e-5)


@pytest.mark.parametrize("use", ["fast", "both"])
def test_a_target_reaches_answers_of_later_sequences_only(use):
    design = design_of(use)
    state, batch = state_of(design), batch_of()
    changed = batch._replace(targets=batch.targets.at[1].add(1.0))
    first, second = (
        gradients(design, state, each).back.aux.outputs for each in (batch, changed)
    )
    np.testing.assert_array_equal(first[:2], second[:2])
    assert not np.allclose(first[2], second[2], atol=1e-4)


def test_without_a_fast_path_no_target_reaches_any_answer():
    design = design_of("decoupled", carry="memory")
    state, batch = state_of(design), batch_of()
    changed = batch._replace(targets=batch.targets + 1.0)
    first, second = (
        gradients(design, state, each).back.aux.outputs for each in (batch, changed)
    )
    np.testing.assert_array_equal(first, second)


@tiny.float64
def test_sequences_at_once_are_sequences_in_turn():
    """A silenced fast path takes them one after the other and changes nothing."""
    at_once, in_turn = design_of("off"), design_of("fast", control="zeroed")
    state = state_of(in_turn)
    state = state._replace(fast=jax.tree.map(jnp.zeros_like, state.fast))
    alone = state._replace(
        fast=None, sg=state.sg._replace(params=state_of(at_once).sg.params)
    )
    first = gradients(at_once, alone, batch_of())
    second = gradients(in_turn, state, batch_of())
    for one, other in (
        (first.back.aux.outputs, second.back.aux.outputs),
        (first.back.aux.final, second.back.aux.final),
        (first.network, second.network),
    ):
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-8, atol=1e-12),
            one, other,
        )  # fmt: skip


@pytest.mark.parametrize("carry", ["episode", "memory"])
def test_one_memory_or_one_for_each_sequence(carry):
    """What came before matters to the next sequence if they have one memory."""
    design = design_of("off", carry=carry)
    state, batch = state_of(design), batch_of()
    changed = batch._replace(inputs=batch.inputs.at[0].add(1.0))
    first, second = (
        gradients(design, state, each).back.aux.outputs for each in (batch, changed)
    )
    same = np.allclose(first[1:], second[1:], atol=1e-5)
    assert same == (carry == "episode")


def test_what_was_learned_fast_answers_and_a_share_of_it_goes_on():
    design = design_of("fast")
    state = state_of(design)
    silent = state._replace(fast=jax.tree.map(jnp.zeros_like, state.fast))
    inputs = batch_of().inputs
    said, without = (
        nmn_forecast._predict(design, each, inputs).output for each in (state, silent)
    )
    assert not np.allclose(said, without, atol=1e-4)
    kept = forecast_pass.begun(design, state)
    jax.tree.map(
        lambda half, whole: np.testing.assert_allclose(half, 0.5 * whole),
        kept, state.fast,
    )  # fmt: skip


@pytest.mark.parametrize("decode", ["aligned", "flat", "autoregressive"])
def test_the_loss_of_a_batch_falls(decode, key):
    settings = override(
        settings_of("both", decode=decode, frame="displacement"),
        optim={"lr": 1e-2, "predictor_lr": 1e-2, "schedule": "constant"},
    )
    method = nmn_forecast.make(settings, TASK, steps=60)
    batch = TASK.sample(key, jnp.asarray(0), contract.paths())
    step = tiny.jit(method.step)
    state, first = step(method.init(key), batch)
    for _ in range(60):
        state, metrics = step(state, batch)
    assert float(metrics["loss"]) < 0.5 * float(first["loss"])
    assert set(method.columns) == {
        "method", "synthetic gradients", "decoding", "memory"
    }  # fmt: skip


def test_a_rectified_answer_is_never_negative(key):
    settings = settings_of(activation="relu")
    method = nmn_forecast.make(settings, TASK, steps=1)
    said = method.predict(method.init(key), 5 * batch_of().inputs).output
    assert np.all(said >= 0)
    assert np.any(said > 0)
