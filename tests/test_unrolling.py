"""Every way of running a stream has the numbers and the gradients of the plain scan."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny import K, float64

from nmn_jax import cell as cell_lib
from nmn_jax import memory, unrolling
from nmn_jax.feedback import plumbing
from nmn_jax.memory import write_rules

STREAMS, STEPS, SLOTS, READS = 2, 7, 5, 2
RULES = {
    "least_used": write_rules.make_least_used_write(),
    "in_turn": memory.WRITE_RULES["in_turn"],
    "by_reads": write_rules.make_least_used_write(decay=0.9, reads=0.7),
    "same_value": memory.make_same_value_write(key_width=2, threshold=0.2),
}


def keyed_cosine():
    return memory.keyed(memory.cosine, width=4)


def full(rule, similarity=memory.dot):
    return memory.slots(
        slots=SLOTS, width=K, write_rule=rule, similarity=similarity, scale=2.0
    )


def few(rule, similarity=memory.dot, reads=READS, search=None):
    return memory.sparse_slots(
        slots=SLOTS, width=K, write_rule=rule, similarity=similarity, scale=2.0,
        reads=reads, search=search,
    )  # fmt: skip


def make(made, way, compose="query_mem_weights"):
    """A cell of three kinds of controllers around a memory."""
    base = tiny.make_cell(tiny.KINDS[0], compose=compose, label_input="write")
    return cell_lib.make_cell(
        base.controllers, made,
        compose=tiny.controllers.COMPOSE[compose],
        label_input=tiny.controllers.LABEL_INPUTS["write"], unrolling=way,
    )  # fmt: skip


def example(cell):
    """Parameters, and of some streams a state nowhere near the first, inputs, probes;
    and a cotangent for every number that comes out."""
    params = tiny.drawn(1, cell.init, features=tiny.D, classes=tiny.C)
    start = jax.eval_shape(cell.initial_state, params)
    state = [tiny.filled(2 + i, real(start), 0.5) for i in range(STREAMS)]
    inputs = [tiny.stream(5 + i, STEPS) for i in range(STREAMS)]
    probes = tiny.filled(8, cell_lib.zero_probes(cell, STEPS))
    together = lambda trees: jax.tree.map(lambda *each: jnp.stack(each), *trees)  # noqa: E731
    probes = together([probes, jax.tree.map(jnp.negative, probes)])
    return params, together(state), together(inputs), probes


def real(start):
    """A state without what a search keeps of it."""
    if isinstance(start.memory, memory.SparseState):
        return start._replace(memory=start.memory._replace(index=()))
    return start


@functools.partial(tiny.jit, static_argnums=0)
def backward(cell, params, state, inputs, probes):
    """Final states and traces of all streams, and what a random cotangent of all of
    them is, carried back to everything they came from."""

    def run(*given):
        params, *each = given

        def one(state, inputs, probes):
            final, trace = cell_lib.unroll(cell, params, state, inputs, probes=probes)
            return real(final), trace

        return jax.vmap(one)(*each)

    found, pull = jax.vjp(run, params, state, inputs, probes)
    return found, pull(tiny.filled(11, found, 1.0))


def assert_same(found, expected):
    """To 1e-12 of the largest number of every array."""

    def near(one, other):
        scale = max(float(np.abs(other).max(initial=0.0)), 1.0)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * scale)

    chex.assert_trees_all_equal_shapes(found, expected)
    jax.tree.map(near, found, expected)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("make_memory", [full, few])
@float64
def test_journal_has_the_gradients_of_the_plain_scan(make_memory, rule):
    similarity = keyed_cosine() if rule == "least_used" else memory.euclidean
    made = make_memory(RULES[rule], similarity)
    given = example(make(made, unrolling.plain))
    found = backward(make(made, unrolling.journal), *given)
    expected = backward(make(made, unrolling.plain), *given)
    assert_same(found, expected)
    moved = [float(np.abs(leaf).max()) for leaf in jax.tree.leaves(expected[1])]
    # All but initial rows, which a start reads, and previous labels, which none does.
    assert sum(each == 0 for each in moved) == 2


@pytest.mark.parametrize("steps", [1, 4, 7])
@float64
def test_recomputing_has_the_gradients_of_the_plain_scan(steps):
    made = full(memory.WRITE_RULES["mann"])
    params, state, inputs, probes = example(make(made, unrolling.plain))
    short = jax.tree.map(lambda leaf: leaf[:, :steps], (inputs, probes))
    found = backward(make(made, unrolling.recompute), params, state, *short)
    assert_same(found, backward(make(made, unrolling.plain), params, state, *short))


@float64
def test_a_journal_may_be_differentiated_twice():
    """As where a fast path of second order stands behind a stream."""
    made = full(RULES["least_used"])
    params, state, inputs, probes = example(make(made, unrolling.plain))
    one = jax.tree.map(lambda leaf: leaf[0, :3], (inputs, probes))
    first = jax.tree.map(lambda leaf: leaf[0], state)

    @functools.partial(tiny.jit, static_argnums=0)
    def second(cell, params):
        def loss(params, probes):
            final, trace = cell_lib.unroll(cell, params, first, one[0], probes=probes)
            return jnp.sum(final.memory.rows**3) + jnp.sum(trace.outputs.output**3)

        def slope(params):
            found = jax.grad(loss, (0, 1))(params, one[1])
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(found))

        return jax.grad(slope)(params)

    found = second(make(made, unrolling.journal), params)
    assert_same(found, second(make(made, unrolling.plain), params))


@float64
def test_what_happens_between_steps_happens_with_a_journal():
    made = full(RULES["least_used"])
    params, state, inputs, _ = example(make(made, unrolling.plain))
    state, inputs = jax.tree.map(lambda leaf: leaf[0], (state, inputs))

    @functools.partial(tiny.jit, static_argnums=(0, 1))
    def gradient(cell, between):
        def loss(inputs):
            _, trace = cell_lib.unroll(cell, params, state, inputs, between=between)
            return jnp.sum(trace.outputs.output[-1])

        return jax.grad(loss)(inputs).features

    found = gradient(make(made, unrolling.journal), plumbing.stop)
    assert_same(found, gradient(make(made, unrolling.plain), plumbing.stop))
    assert not np.any(found[:-1]) and np.any(found[-1])
    assert np.any(gradient(make(made, unrolling.journal), None)[:-1])


@float64
def test_reading_all_slots_in_their_order_of_likeness_is_reading_all():
    rule = RULES["least_used"]
    whole = make(full(rule), unrolling.plain, "query_mem")
    sparse = make(few(rule, reads=SLOTS), unrolling.journal, "query_mem")
    given = example(whole)
    _, state, *rest = given
    same = state._replace(memory=memory.SparseState(*state.memory, ()))
    (final, trace), _ = backward(whole, *given)
    (found, seen), _ = backward(sparse, given[0], same, *rest)
    assert_same(tuple(found.memory[:2]), tuple(final.memory))
    assert_same(seen.outputs, trace.outputs)
    assert_same(seen.weights, jnp.flip(jnp.sort(trace.weights, axis=-1), axis=-1))


def gradient_program(way, made, *, shared=False, steps=32):
    """Of two streams, which write the same slots at the same time if `shared`."""
    cell = make(made, way, "query_mem")
    params = jax.eval_shape(
        functools.partial(cell.init, features=tiny.D, classes=tiny.C), jax.random.key(0)
    )
    inputs = jax.eval_shape(lambda: tiny.stream(1, steps))

    def loss(params, inputs):
        def one(inputs):
            start = cell.initial_state(params)
            own = 0.0 if shared else inputs.features[0, 0]
            usage = start.memory.usage + own
            start = start._replace(memory=start.memory._replace(usage=usage))
            final, trace = cell_lib.unroll(cell, params, start, inputs)
            return jnp.sum(trace.outputs.output**2) + jnp.sum(final.memory.rows**2)

        return jnp.sum(
            jax.vmap(one)(jax.tree.map(lambda i: jnp.stack([i, -i]), inputs))
        )

    return jax.jit(jax.grad(loss)).lower(params, inputs).compile()


def test_a_journal_keeps_rows_and_changes_them_in_place():
    """A scan keeps the memory of every step; a compiler that cannot see that nobody
    reads the old rows would copy them all at every step."""
    slots = {"slots": 400, "width": K, "write_rule": RULES["in_turn"]}
    whole, sparse = memory.slots(**slots), memory.sparse_slots(**slots, reads=3)
    plain, journal, few = (
        gradient_program(way, made)
        for way, made in (
            (unrolling.plain, whole), (unrolling.auto, whole), (unrolling.auto, sparse),
        )
    )  # fmt: skip
    kept = [p.memory_analysis().temp_size_in_bytes for p in (plain, journal, few)]
    assert kept[1] < kept[0] / 2 and kept[2] < kept[0] / 8
    same = gradient_program(unrolling.auto, sparse, shared=True)
    for program in (journal, few, same):
        lines = program.as_text().splitlines()
        assert not [x for x in lines if " copy(" in x and f"f32[2,400,{K}]" in x]


def test_a_journal_is_for_large_memories_and_for_those_that_read_few_slots():
    rule = RULES["in_turn"]
    large = {"slots": unrolling.LARGE, "width": 1}
    assert unrolling.quickest(full(rule)) is unrolling.plain
    assert unrolling.quickest(few(rule)) is unrolling.journal
    journal = memory.slots(**large, write_rule=rule)
    assert unrolling.quickest(journal) is unrolling.journal
    assert unrolling.quickest(memory.slots(**large)) is unrolling.plain


def test_a_journal_of_a_memory_that_is_written_everywhere_is_refused():
    with pytest.raises(ValueError, match="choose another write rule, or the gradients"):
        make(full(memory.convex_write), unrolling.journal)
