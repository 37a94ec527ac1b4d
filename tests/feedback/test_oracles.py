"""The two oracles: whose gradient they speak, in which units, and when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
import tiny_model
from tiny import float64
from tiny_model import a_window

from nmn_jax import losses
from nmn_jax.feedback import fast, pipeline
from nmn_jax.feedback.controls import CONTROLS
from nmn_jax.feedback.pipeline import Guidance
from nmn_jax.feedback.targets import Scale, rms_scale
from nmn_jax.methods import episode_pass, stream_pass
from nmn_jax.methods.stream_window import StreamDesign
from nmn_jax.tasks.episodes import ask_back
from nmn_jax.types import PerController, Stages

ALL = PerController._fields
PATH = fast.make_fast_path(ALL, step_size="plain")
UNITS = PerController(2.0, 0.5, 4.0)
RATE = 0.25


def setting(control, *, label_input="write", **options):
    """A design with a fast path under a control, and a state with units of its own."""
    sg = tiny_model.make_sg(fast=PATH, control=CONTROLS[control], scale=rms_scale)
    model = tiny_model.make_model("linear", label_input=label_input, **options)
    design = tiny_model.make_design(model, sg)
    state = tiny_model.method_state(3, tiny_model.make_method(design), model)
    mean_square = PerController(*(jnp.asarray(unit**2) for unit in UNITS))
    rates = jax.tree.map(lambda leaf: jnp.log(RATE), state.sg.params.rates)
    sg_params = state.sg.params._replace(rates=rates)
    return design, state._replace(
        scale=Scale(mean_square, jnp.ones(())),
        sg=state.sg._replace(params=sg_params),
    )


def one_shown(batch):
    """The batch with the first example of every context alone."""
    first = jax.tree.map(lambda leaf: leaf[:, :1], batch.context)
    return batch._replace(context=first)


def differences(design, state, batch):
    """Of the batch's loss by support probes while nothing adapts, times B / units."""
    silent = design._replace(sg=tiny_model.make_sg("silent"))
    features, _ = episode_pass.encode(silent, state, batch, "test")
    zeros = episode_pass.zero_probes(design.model, batch)
    who = (state.network.params, state.sg.params, state)

    def loss(probes):
        run = episode_pass.run_batch(
            silent, who, (features, batch.context), Stages(probes, zeros.query),
            guidance=Guidance(CONTROLS["none"], None),
        )  # fmt: skip
        return jnp.mean(losses.cross_entropy(run.outputs, batch.answers))

    found = tiny.finite_differences(loss, zeros.support)
    count = len(batch.answers)
    return jax.tree.map(lambda leaf, unit: leaf * count / unit, found, UNITS)


def corrections(state, support):
    """What every episode's one fast step was told, from what it did to h = x W."""
    told = {}
    for name, after in support.controllers._asdict().items():
        before = getattr(state.network.params.cell.controllers, name)["kernel"]
        given = getattr(support.trace.inputs, name)[:, 0]
        change = (before[None] - after["kernel"]) / RATE
        squares = jnp.sum(given**2, axis=-1)
        told[name] = jnp.einsum("bi,bik->bk", given, change) / squares[:, None]
    return PerController(**told)


def close(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-8)


@float64
def test_in_training_the_query_oracle_is_the_cotangent_of_the_query_loss():
    """Heard at the only support step, it moves each kernel by x ĝᵀ."""
    design, state = setting("oracle_query")
    batch = one_shown(tiny_model.make_batch(2))
    found = tiny.jit(tiny_model.two_speeds(design))(state, batch).back.aux.support
    expected = differences(design, state, batch)
    close(corrections(state, found), jax.tree.map(lambda leaf: leaf[:, 0], expected))
    assert all(np.all(np.any(leaf, axis=-1)) for leaf in expected)


@float64
def test_every_support_step_has_a_cotangent_of_its_own():
    design, state = setting("oracle_query", presentations=2)
    batch = tiny_model.make_batch(2)
    way = episode_pass.make_pass(design, state, batch, "train")
    features = way.encode(state.network.params.encoder)[0]
    truth = tiny.jit(
        lambda: pipeline.guide(design.sg, state, way, lambda: features).truth
    )()
    close(truth, differences(design, state, batch))


@float64
def test_at_test_time_the_query_oracle_asks_the_context_back():
    design, state = setting("oracle_query")
    batch = one_shown(tiny_model.make_batch(2))
    run = tiny.jit(lambda: episode_pass.answer(
        design, state, batch.context, batch.queries
    ).support)  # fmt: skip
    expected = differences(design, state, ask_back(batch.context))
    close(corrections(state, run()), jax.tree.map(lambda leaf: leaf[:, 0], expected))


@float64
def test_an_oracles_answer_depends_on_its_context_and_its_query_alone():
    design, state = setting("oracle_query")
    predict = tiny.jit(tiny_model.make_method(design).predict)
    batch = tiny_model.make_batch(2, episodes=3)
    whole = predict(state, batch.context, batch.queries).output
    alone = jax.tree.map(lambda leaf: leaf[:1], batch)
    few = predict(state, alone.context, alone.queries[:, :2]).output
    np.testing.assert_allclose(few, whole[:1, :2], rtol=1e-9)
    other = tiny_model.with_targets(
        batch, batch.context.targets.at[0].set(batch.context.targets[0, ::-1])
    )
    changed = predict(state, other.context, batch.queries).output
    assert np.any(np.abs(changed[0] - whole[0]) > 1e-6)


@float64
def test_the_step_oracle_is_in_units_where_the_fast_path_listens():
    """At the only support step: W (softmax - y) over the unit of the output."""
    design, state = setting("oracle_step")
    batch = one_shown(tiny_model.make_batch(2))
    run = tiny.jit(lambda: episode_pass.answer(
        design, state, batch.context, batch.queries
    ).support)()  # fmt: skip
    decoder = jax.tree.map(np.asarray, state.network.params.decoder)
    logits = np.asarray(run.trace.outputs.output[:, 0]) @ decoder["kernel"]
    guess = jax.nn.softmax(logits + decoder["bias"])
    gradient = (guess - batch.context.targets[:, 0]) @ decoder["kernel"].T
    found = corrections(state, run)
    np.testing.assert_allclose(found.output * UNITS.output, gradient, rtol=1e-9)
    np.testing.assert_array_equal(found.write, 0)


@pytest.mark.parametrize("target", ["window", "step"])
@float64
def test_on_a_stream_the_query_oracle_is_the_cotangent_of_the_windows_loss(target):
    sg = tiny_model.make_sg(fast=PATH, control=CONTROLS["oracle_query"])
    model = tiny_model.make_model("linear", label_input="write")
    loss = tiny_model.make_task("stream").loss
    design = StreamDesign(model, sg, loss, target, "stream")
    state = tiny_model.drawn_state(tiny_model.make_stream_method(design))
    window = jax.tree.map(lambda leaf: leaf[None], a_window(0, 3))
    way = stream_pass.make_pass(design, state, window)
    features = way.encode(state.network.params.encoder)[0]
    truth = tiny.jit(lambda: pipeline.guide(sg, state, way, lambda: features).truth)()
    silent = Guidance(CONTROLS["zeroed"], None)
    params = (state.network.params, state.sg.params)
    expected = tiny.finite_differences(
        lambda probes: way.forward(silent, params, features, probes)[0], way.probes
    )
    # Of one example's loss; nothing was seen yet, so the units are one.
    close(truth, jax.tree.map(lambda leaf: leaf * len(window.targets[0]), expected))
