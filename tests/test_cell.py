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
from nmn_jax import controllers, memory
from nmn_jax.feedback import plumbing
from nmn_jax.types import PerController

COMPOSE = tuple(controllers.COMPOSE)
LABELS = tuple(controllers.LABEL_INPUTS)


def at(inputs, t):
    return jax.tree.map(lambda leaf: leaf[t], inputs)


def transcribed_step(case, state, inputs):
    """Equations 2 to 7 on one step, in the paper's order."""
    controllers_, params = case.cell.controllers, case.params
    rows_before = state.memory.rows
    carry_q, query = controllers_.input.step(
        params.controllers.input, state.carries.input, inputs.features
    )
    scores = np.exp(np.exp(params.memory.log_scale) * (rows_before @ query))
    weights = jnp.asarray(scores / scores.sum())
    recalled = weights @ rows_before
    carry_m, output = controllers_.output.step(
        params.controllers.output, state.carries.output, recalled
    )
    carry_u, update = controllers_.write.step(
        params.controllers.write, state.carries.write, output
    )
    kept = (1 - weights)[:, None] * rows_before
    rows = kept + jnp.outer(weights, update)
    return rows, PerController(carry_q, carry_m, carry_u), (query, output, update)


@pytest.mark.parametrize("kinds", KINDS)
@float64
def test_step_is_equations_two_to_seven(kinds):
    case = make_case(kinds, compose="mem_only", scale=2.0)
    inputs = at(case.inputs, 0)
    probes = at(cell_lib.zero_probes(case.cell, 1), 0)
    state, trace = case.cell.step(case.params, case.state, inputs, probes)
    rows, carries, outputs = transcribed_step(case, case.state, inputs)
    chex.assert_trees_all_close(
        (state.memory.rows, state.carries, tuple(trace.outputs)),
        (rows, carries, outputs),
        rtol=1e-12,
    )


COMBINATIONS = list(zip(COMPOSE, LABELS, strict=True))


@pytest.mark.parametrize(("compose", "label_input"), COMBINATIONS)
@float64
def test_unroll_is_a_loop_over_steps(compose, label_input):
    case = make_case(compose=compose, label_input=label_input)
    probes = tiny.filled(9, cell_lib.zero_probes(case.cell, T))
    found = tiny.unroll(case.cell, case.params, case.state, case.inputs, probes=probes)
    step = tiny.jit(case.cell.step)
    state, traces = case.state, []
    for t in range(T):
        state, trace = step(case.params, state, at(case.inputs, t), at(probes, t))
        traces.append(trace)
    stacked = jax.tree.map(lambda *steps: np.stack(steps), *traces)
    chex.assert_trees_all_close(found, (state, stacked), rtol=1e-12)


@float64
def test_ask_puts_every_question_to_the_same_state():
    case = make_case("lstm")
    asked = tiny.ask(case.cell, case.params, case.state, case.inputs)
    step = tiny.jit(case.cell.step)
    probes = at(cell_lib.zero_probes(case.cell, 1), 0)
    for t in range(T):
        _, alone = step(case.params, case.state, at(case.inputs, t), probes)
        chex.assert_trees_all_close(at(asked, t), alone, rtol=1e-12)


@pytest.mark.parametrize("kinds", KINDS)
@float64
def test_replay_repeats_the_recorded_outputs(kinds):
    case = make_case(kinds, label_input="write")
    final, trace = tiny.unroll(case.cell, case.params, case.state, case.inputs)
    given = case.cell, case.params.controllers
    replay = tiny.jit(cell_lib.replay, static_argnums=0)
    chex.assert_trees_all_close(
        replay(*given, trace), (final.carries, trace.outputs), rtol=0, atol=1e-15
    )
    asked = tiny.ask(case.cell, case.params, case.state, case.inputs)
    replay_ask = tiny.jit(cell_lib.replay_ask, static_argnums=0)
    chex.assert_trees_all_close(
        replay_ask(*given, case.state.carries, asked.inputs),
        asked.outputs,
        rtol=0,
        atol=1e-15,
    )


@float64
def test_two_windows_with_the_carry_passed_are_one_long_window():
    case = make_case("lstm", label_input="write", write_rule="mann")
    whole = tiny.unroll(case.cell, case.params, case.state, case.inputs)
    state, traces = case.state, []
    for window in (slice(0, 2), slice(2, T)):
        inputs = jax.tree.map(lambda leaf, w=window: leaf[w], case.inputs)
        border = plumbing.stop(state)
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

    np.testing.assert_array_equal(gradient(first.features, plumbing.stop), 0)
    assert jnp.all(gradient(first.features, plumbing.through) != 0)


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
    permuted = jax.tree.map(lambda leaf: leaf[order], case.state.memory)
    state = case.state._replace(memory=permuted)
    final, trace = tiny.unroll(case.cell, case.params, case.state, case.inputs)
    moved_final, moved = tiny.unroll(case.cell, case.params, state, case.inputs)
    chex.assert_trees_all_close(
        (moved_final.memory.rows, moved.weights, moved.outputs),
        (final.memory.rows[order], trace.weights[:, order], trace.outputs),
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
    np.testing.assert_array_equal(state.memory.rows, params.memory.rows)
    np.testing.assert_array_equal(state.memory.usage, np.zeros(L))
    assert not any(jnp.any(leaf) for leaf in jax.tree.leaves(state.carries))


def test_scale_and_memory_scale_are_honoured(key):
    cell = tiny.make_cell("linear", scale=4.0, memory_scale=100.0, slots=200)
    params = cell.init(key, features=D, classes=C)
    assert float(jnp.exp(params.memory.log_scale)) == pytest.approx(4)
    assert float(jnp.std(params.memory.rows)) == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize(("output", "slots"), [(K - 1, K), (K, K - 1)])
def test_cell_refuses_unequal_widths(output, slots):
    wide, other = controllers.make_lstm(K), controllers.make_lstm(output)
    with pytest.raises(ValueError, match="must have one width"):
        cell_lib.make_cell(
            PerController(wide, other, wide), memory.slots(slots=L, width=slots)
        )


def test_parts_are_functions_a_researcher_may_replace():
    """A similarity, a compose and a write rule that are in no table."""
    rows = memory.slots(
        slots=L,
        width=K,
        similarity=lambda rows, query: -jnp.arange(1.0 * L),
        write_rule=lambda rows, usage, weights, update: memory.Written(
            2 * rows, usage, weights
        ),
    )
    cell = cell_lib.make_cell(
        PerController(*(tiny.linear_controller(),) * 3),
        rows,
        compose=lambda query, recalled, weights: recalled + query,
    )
    params = tiny.drawn(1, cell.init, features=D, classes=C)
    start = cell.initial_state(params)
    final, trace = tiny.unroll(cell, params, start, tiny.stream(1))
    np.testing.assert_allclose(final.memory.rows, 2.0**T * params.memory.rows)
    np.testing.assert_array_equal(trace.weights[0], trace.weights[-1])
