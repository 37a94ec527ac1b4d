"""A network as a memory: by hand, in a cell, over many writes; what it refuses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
import tiny_memory
from tiny import C, D, K, float64
from tiny_memory import A, V, deep, linear, make

from nmn_jax import cell as cell_lib
from nmn_jax import controllers, memory
from nmn_jax.feedback import plumbing
from nmn_jax.types import PerController


def learning_cell(network, **options):
    """A cell around a memory with keys of its own, all gates learned."""
    learning = make(
        network,
        pairing=memory.pairing.unit_keys(memory.pairing.own_keys(K, key_width=A)),
        rate=memory.gates.dependent(0.5, scale="log"),
        momentum=memory.gates.learned(0.5, scale="logit"),
        retention=memory.gates.learned(0.9, scale="logit"),
        **options,
    )
    return cell_lib.make_cell(
        PerController(*(tiny.linear_controller(),) * 3),
        learning,
        compose=controllers.COMPOSE["query_mem_weights"],
        label_input=controllers.LABEL_INPUTS["write"],
    )


def answer_loss(cell, params, inputs):
    """Squared answers to three queries after the stream was written."""
    state = cell.initial_state(params)
    state, _ = cell_lib.unroll(cell, params, state, inputs)
    queries = jax.tree.map(lambda leaf: leaf[:3], inputs)
    return jnp.sum(cell_lib.ask(cell, params, state, queries).outputs.output ** 2)


def test_written_pairs_are_recalled_and_overwritten_by_hand():
    made = make(linear(), rate=1.0)
    params = made.init(jax.random.key(0))
    state = made.start(params)
    np.testing.assert_array_equal(params.weights[0], np.zeros((A, V)))
    for key, value in ((0, [1.0, 2, 3]), (1, [4.0, 5, 6]), (0, [7.0, 8, 9])):
        update = jnp.concatenate([jnp.eye(A)[key], jnp.array(value)])
        query = jnp.zeros(A + V).at[2].set(5)
        stored = made.write(params, state, made.read(params, state, query), update)
        state = stored.state
        assert stored.weights.shape == (0,)
    reading = made.read(params, state, jnp.zeros(A + V).at[1].set(2))
    np.testing.assert_allclose(reading.recalled, [0, 2, 0, 0, 8, 10, 12])
    assert reading.weights.shape == (0,)
    np.testing.assert_allclose(state.weights[0][0], [7, 8, 9])
    assert int(state.position) == 3


def test_the_query_is_the_key_where_the_pairing_says_so():
    made = memory.function(
        memory.networks.linear(3),
        pull=plumbing.pull_params,
        pairing=memory.pairing.query_keys(3),
        rate=1.0,
    )
    params = made.init(jax.random.key(0))
    state = made.start(params)
    query, update = jnp.array([0.0, 1, 0]), jnp.array([1.0, 2, 3])
    reading = made.read(params, state, query)
    state = made.write(params, state, reading, update).state
    np.testing.assert_allclose(made.read(params, state, query).recalled, update)
    np.testing.assert_array_equal(state.weights[0][0], 0)


@pytest.mark.parametrize("schedule", [memory.Schedule(), memory.Schedule(2, True)])
def test_every_parameter_of_a_cell_with_a_learning_memory_has_a_gradient(schedule):
    cell = learning_cell(memory.networks.mlp(K - A, hidden=(4,)), schedule=schedule)
    params = tiny.drawn(1, cell.init, features=D, classes=C)
    gradient = tiny.jit(jax.grad(lambda p: answer_loss(cell, p, tiny.stream(2))))
    for path, leaf in jax.tree.leaves_with_path(gradient(params)):
        assert jnp.all(jnp.isfinite(leaf)), jax.tree_util.keystr(path)
        assert jnp.any(leaf != 0), jax.tree_util.keystr(path)


@float64
def test_slow_gradients_see_through_every_write():
    """The memory's own parameters against finite differences of the answers."""
    cell = learning_cell(memory.networks.linear(K - A), schedule=memory.Schedule(2))
    params, inputs = tiny.drawn(1, cell.init, features=D, classes=C), tiny.stream(2)

    def loss(learning):
        return answer_loss(cell, params._replace(memory=learning), inputs)

    found = tiny.jit(jax.grad(loss))(params.memory)
    expected = tiny.finite_differences(loss, params.memory)
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-8)


GUARDS = {
    "bounded errors": {"cotangent": memory.cotangents.make_huber(), "rate": 0.1},
    "bounded steps": {"transform": optax.clip_by_global_norm(1.0), "rate": 10.0},
}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("chunk", [1, 8])
def test_fifty_writes_of_wild_features_leave_finite_values_and_gradients(guard, chunk):
    made = make(
        deep(),
        pairing=memory.pairing.unit_keys(
            memory.pairing.own_keys(tiny_memory.WIDTH, key_width=A)
        ),
        momentum=0.5,
        retention=0.99,
        schedule=memory.Schedule(chunk),
        **GUARDS[guard],
    )
    params, state = tiny_memory.start(1, made)
    queries, updates = (100.0 * each for each in tiny_memory.stream(2, 50))
    updates = updates.at[20].set(0.0)

    def loss(params, updates):
        final, recalled = tiny_memory.write_all(made, params, state, (queries, updates))
        return jnp.mean(recalled[:, A:] ** 2), final

    run = tiny.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (value, final), gradients = run(params, updates)
    assert jnp.isfinite(value)
    assert int(final.position) == 50
    for leaf in jax.tree.leaves((final, gradients)):
        assert jnp.all(jnp.isfinite(leaf))


@float64
def test_a_transformation_of_optax_may_stand_for_the_momentum():
    """A trace of s is s with momentum, one by one and at once."""
    schedule = memory.Schedule(3)
    gated = make(deep(), rate=0.2, momentum=0.5, schedule=schedule)
    traced = make(deep(), rate=0.2, transform=optax.trace(0.5), schedule=schedule)
    _, _, expected, recalled = tiny_memory.run(gated)
    params, given, final, found = tiny_memory.run(traced)
    chex.assert_trees_all_close(final.weights, expected.weights, rtol=1e-12)
    np.testing.assert_allclose(found, recalled, rtol=1e-12)
    state = traced.start(params)
    at_once = tiny.jit(lambda: traced.write_many(params, state, *given))()
    chex.assert_trees_all_close(at_once[0], final, rtol=1e-12)


def test_writing_many_at_once_inside_a_chunk_says_so():
    made = make(linear(), schedule=memory.Schedule(3))
    params, state = tiny_memory.start(1, made)
    given = tiny_memory.stream(2, 4)
    state, recalled = made.write_many(params, state, *given)
    assert jnp.all(jnp.isfinite(recalled))
    _, recalled = made.write_many(params, state, *given)
    assert jnp.all(jnp.isnan(recalled))


def test_measures_are_norms_over_a_batch_of_memories():
    made = make(linear())
    params, _ = tiny_memory.start(1, made)
    state = jax.vmap(lambda _: made.start(params))(jnp.arange(2))
    weights = jnp.zeros((2, A, V)).at[0, 0, 0].set(3).at[0, 1, 1].set(4)
    state = state._replace(weights=(weights,), momentum=(2 * weights,))
    found = made.measures(state, jnp.zeros((2, 5, 0)), jnp.zeros((2, 5, 0)))
    assert {name: float(x) for name, x in found.items()} == {
        "memory/weights_norm": 2.5,
        "memory/momentum_norm": 5.0,
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"momentum": 1.5}, "momentum may reach 1.5"),
        ({"retention": memory.gates.learned(0.9, scale="log")}, "retention may reach"),
        ({"rate": -0.1}, "not negative"),
        ({"rate": float("nan")}, "finite"),
        ({"schedule": memory.Schedule(0)}, "chunks of 0 writes"),
        ({"network": memory.networks.linear(V + 1)}, "values have the shape"),
    ],
)
def test_a_memory_that_could_not_work_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        make(**{"network": linear(), **wrong})
