"""One step against its equations, unrolls against loops, windows against one stream."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import KINDS, C, D, K, L, T, float64, make_case

from nmn_jax import cell as cell_lib
from nmn_jax import controllers, gradients, memory
from nmn_jax.types import PerController

COMPOSE = tuple(controllers.COMPOSE)
LABELS = tuple(controllers.LABEL_INPUTS)


def at(inputs, t):
    return jax.tree.map(lambda leaf: leaf[t], inputs)


def transcribed_step(case, state, inputs):
    """Equations 2 to 7 on one step, in the paper's order."""
    controllers_, params = case.cell.controllers, case.params
    carry_q, query = controllers_.input.step(
        params.controllers.input, state.carries.input, inputs.features
    )
    scores = np.exp(np.exp(params.log_scale) * (state.memory @ query))
    weights = jnp.asarray(scores / scores.sum())
    recalled = weights @ state.memory
    carry_m, output = controllers_.output.step(
        params.controllers.output, state.carries.output, recalled
    )
    carry_u, update = controllers_.write.step(
        params.controllers.write, state.carries.write, output
    )
    kept = (1 - weights)[:, None] * state.memory
    rows = kept + jnp.outer(weights, update)
    return rows, PerController(carry_q, carry_m, carry_u), (query, output, update)


@pytest.mark.parametrize("kinds", KINDS)
@float64
def test_step_is_equations_two_to_seven(kinds):
    case = make_case(kinds, compose="mem_only", scale=2.0)
    inputs = at(case.inputs, 0)
    taps = at(cell_lib.zero_taps(case.cell, 1), 0)
    state, trace = case.cell.step(case.params, case.state, inputs, taps)
    rows, carries, outputs = transcribed_step(case, case.state, inputs)
    chex.assert_trees_all_close(
        (state.memory, state.carries, tuple(trace.outputs)),
        (rows, carries, outputs),
        rtol=1e-12,
    )


COMBINATIONS = list(zip(COMPOSE, LABELS, strict=True))


@pytest.mark.parametrize(("compose", "label_input"), COMBINATIONS)
@float64
def test_unroll_is_a_loop_over_steps(compose, label_input):
    case = make_case(compose=compose, label_input=label_input)
    taps = tiny.filled(9, cell_lib.zero_taps(case.cell, T))
    found = tiny.unroll(case.cell, case.params, case.state, case.inputs, taps=taps)
    step = tiny.jit(case.cell.step)
    state, traces = case.state, []
    for t in range(T):
        state, trace = step(case.params, state, at(case.inputs, t), at(taps, t))
        traces.append(trace)
    stacked = jax.tree.map(lambda *steps: np.stack(steps), *traces)
    chex.assert_trees_all_close(found, (state, stacked), rtol=1e-12)


@float64
def test_probe_asks_every_question_of_the_same_state():
    case = make_case("lstm")
    probed = tiny.probe(case.cell, case.params, case.state, case.inputs)
    step = tiny.jit(case.cell.step)
    taps = at(cell_lib.zero_taps(case.cell, 1), 0)
    for t in range(T):
        _, alone = step(case.params, case.state, at(case.inputs, t), taps)
        chex.assert_trees_all_close(at(probed, t), alone, rtol=1e-12)


@pytest.mark.parametrize("kinds", KINDS)
@float64
def test_replay_repeats_the_recorded_outputs(kinds):
    case = make_case(kinds, label_input="write")
    final, trace = tiny.unroll(case.cell, case.params, case.state, case.inputs)
    given = case.cell, case.params.controllers, case.state.carries
    replay = tiny.jit(cell_lib.replay, static_argnums=0)
    chex.assert_trees_all_close(
        replay(*given, trace.inputs), (final.carries, trace.outputs), rtol=0, atol=1e-15
    )
    probed = tiny.probe(case.cell, case.params, case.state, case.inputs)
    replay_probe = tiny.jit(cell_lib.replay_probe, static_argnums=0)
    chex.assert_trees_all_close(
        replay_probe(*given, probed.inputs), probed.outputs, rtol=0, atol=1e-15
    )


@float64
def test_two_windows_with_the_carry_passed_are_one_long_window():
    case = make_case("lstm", label_input="write", write_rule="mann")
    whole = tiny.unroll(case.cell, case.params, case.state, case.inputs)
    state, traces = case.state, []
    for window in (slice(0, 2), slice(2, T)):
        inputs = jax.tree.map(lambda leaf, w=window: leaf[w], case.inputs)
        border = gradients.stop(state)
        state, trace = tiny.unroll(case.cell, case.params, border, inputs)
        traces.append(trace)
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *traces)
    chex.assert_trees_all_close((state, joined), whole, rtol=1e-14)


@float64
def test_gradient_does_not_cross_a_cut():
    case = make_case("lstm")
    first = jax.tree.map(lambda leaf: leaf[:2], case.inputs)
    second = jax.tree.map(lambda leaf: leaf[2:], case.inputs)

    @functools.partial(tiny.jit, static_argnums=1)
    @jax.grad
    def gradient(features, border):
        state, _ = cell_lib.unroll(
            case.cell, case.params, case.state, first._replace(features=features)
        )
        _, trace = cell_lib.unroll(case.cell, case.params, border(state), second)
        return jnp.sum(trace.outputs.output**2)

    np.testing.assert_array_equal(gradient(first.features, gradients.stop), 0)
    assert jnp.all(gradient(first.features, gradients.through) != 0)


def test_vmap_over_episodes_is_a_loop():
    case = make_case()
    streams = [tiny.stream(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *streams)
    run = lambda inputs: tiny.unroll(case.cell, case.params, case.state, inputs)  # noqa: E731
    together = jax.vmap(run)(stacked)
    for episode, inputs in enumerate(streams):
        chex.assert_trees_all_close(
            at(together, episode), run(inputs), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("write_rule", ["convex", "additive"])
@float64
def test_the_order_of_the_slots_does_not_matter(write_rule):
    case = make_case(write_rule=write_rule)
    order = jnp.array([3, 1, 0, 2])
    state = case.state._replace(memory=case.state.memory[order])
    final, trace = tiny.unroll(case.cell, case.params, case.state, case.inputs)
    moved_final, moved = tiny.unroll(case.cell, case.params, state, case.inputs)
    chex.assert_trees_all_close(
        (moved_final.memory, moved.weights, moved.outputs),
        (final.memory[order], trace.weights[:, order], trace.outputs),
        rtol=1e-10,
    )


@pytest.mark.parametrize(
    ("label_input", "label_matters", "previous_matters"),
    [("none", False, False), ("offset", False, True), ("write", True, False)],
)
def test_which_label_a_label_input_hears(label_input, label_matters, previous_matters):
    case = make_case(label_input=label_input)
    run = lambda inputs: tiny.unroll(case.cell, case.params, case.state, inputs)[1]  # noqa: E731
    trace = run(case.inputs)
    for field, matters in (("label", label_matters), ("previous", previous_matters)):
        other = run(case.inputs._replace(**{field: getattr(case.inputs, field) + 1}))
        same = jnp.all(trace.outputs.output == other.outputs.output)
        assert bool(same) is not matters
        if field == "label":
            # The prediction does not see the write of its own step.
            np.testing.assert_array_equal(
                trace.outputs.output[0], other.outputs.output[0]
            )


def test_initial_state_is_the_learned_memory_unused():
    cell = tiny.make_cell("lstm")
    params = tiny.drawn(1, cell.init, features=D, classes=C)
    state = cell.initial_state(params)
    np.testing.assert_array_equal(state.memory, params.memory)
    np.testing.assert_array_equal(state.usage, np.zeros(L))
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(state.carries))


def test_scale_and_memory_scale_are_honoured(key):
    cell = tiny.make_cell("linear", scale=4.0, memory_scale=100.0, slots=200)
    params = cell.init(key, features=D, classes=C)
    assert float(jnp.exp(params.log_scale)) == pytest.approx(4)
    assert float(jnp.std(params.memory)) == pytest.approx(100, rel=0.1)


def test_cell_refuses_unequal_widths_and_a_scale_of_zero():
    narrow, wide = controllers.make_lstm(K - 1), controllers.make_lstm(K)
    with pytest.raises(ValueError, match="one width"):
        cell_lib.make_cell(PerController(wide, narrow, wide), slots=L)
    with pytest.raises(ValueError, match="positive"):
        cell_lib.make_cell(PerController(wide, wide, wide), slots=L, scale=0.0)


def test_parts_are_functions_a_researcher_may_replace():
    """A similarity, a compose and a write rule that are in no table."""
    cell = cell_lib.make_cell(
        PerController(*(tiny.linear_controller(),) * 3),
        slots=L,
        similarity=lambda rows, query: -jnp.arange(1.0 * L),
        compose=lambda query, recalled, weights: recalled + query,
        write_rule=lambda rows, usage, weights, update: memory.Written(
            2 * rows, usage, weights
        ),
    )
    params = tiny.drawn(1, cell.init, features=D, classes=C)
    start = cell.initial_state(params)
    final, trace = tiny.unroll(cell, params, start, tiny.stream(1))
    np.testing.assert_allclose(final.memory, 2.0**T * params.memory)
    np.testing.assert_array_equal(trace.weights[0], trace.weights[-1])
