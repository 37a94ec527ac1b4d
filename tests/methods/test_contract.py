"""The battery: what every line of the table of methods has to do.

A method that is added to `methods.table` is tested by being there.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import training
from nmn_jax.methods import table
from nmn_jax.run import checkpoint, parallel
from nmn_jax.tasks.base import Context
from tests import tiny
from tests.methods import contract

NAMES = sorted({*contract.LINES, *table.METHODS})
# Another preset is another method where it takes seconds, not where it takes minutes.
TABLE = sorted(table.METHODS)
EPISODES = [name for name in NAMES if contract.form(name) == "episodes"]
OTHERS = [name for name in NAMES if contract.form(name) != "episodes"]
KEY = jax.random.key(7)


def batch_of(case: contract.Case, step: int = 0):
    return case.task.sample(KEY, jnp.asarray(step), case.source)


def answers(case: contract.Case, state, batch):
    return case.method.predict(state, batch.context, batch.queries).output


def test_every_line_of_the_table_is_tested():
    tested = {contract.LINES[name][0] if name in contract.LINES else name
              for name in NAMES}  # fmt: skip
    assert tested == set(table.METHODS)


@pytest.mark.parametrize("name", NAMES)
def test_a_training_is_one_program_and_its_numbers_are_finite(name):
    case = contract.case(name)
    traces = []

    def one_step(state):
        traces.append(state)
        return case.method.step(state, case.task.sample(KEY, state.step, case.source))

    step = tiny.jit(one_step, donate_argnums=0)
    state = case.method.init(KEY)
    for number in range(3):
        assert int(state.step) == number
        state, metrics = step(state)
        chex.assert_tree_all_finite(metrics)
    assert "loss" in metrics
    scores = case.task.score(*(jnp.ones(case.task.spec.targets),) * 2)
    assert set(scores) <= set(metrics)
    chex.assert_tree_all_finite(case.method.slim(state))
    assert len(traces) == 1


@pytest.mark.parametrize("name", TABLE)
def test_jitted_is_eager(name):
    """Of answers: to run a whole step one operation at a time takes minutes."""
    case, state = contract.case(name), case_slim(name)
    given = asked(name, batch_of(case))
    eager = case.method.predict(state, *given)
    jitted = tiny.jit(case.method.predict)(state, *given)
    chex.assert_trees_all_close(eager, jitted, rtol=1e-3, atol=1e-4)


def case_slim(name: str):
    return contract.case(name).method.slim(contract.trained(name))


def asked(name: str, batch) -> tuple:
    """What `predict` is given of a batch."""
    if contract.form(name) != "episodes":
        return (batch.inputs,)
    return batch.context, batch.queries


@pytest.mark.parametrize("name", EPISODES)
def test_permuting_classes_permutes_outputs(name):
    case = contract.case(name)
    if not case.permutes:
        return
    state, batch = case.method.init(KEY), batch_of(case)
    order = jnp.asarray(np.random.default_rng(0).permutation(contract.WAYS))
    other = batch._replace(
        context=batch.context._replace(targets=batch.context.targets[..., order])
    )
    found = answers(case, state, other)
    np.testing.assert_allclose(
        found, answers(case, state, batch)[..., order], rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(found, answers(case, state, batch), atol=1e-3)


@pytest.mark.parametrize("name", EPISODES)
def test_an_answer_depends_on_its_own_episode_and_query_alone(name):
    """Under trained statistics; other queries may matter to a transductive method."""
    case, state = contract.case(name), contract.trained(name)
    batch, other = batch_of(case), batch_of(case, 1)
    whole = answers(case, state, batch)
    neighbours = jax.tree.map(
        lambda a, b: jnp.concatenate([a[:1], b[1:]]), batch, other
    )
    np.testing.assert_allclose(
        answers(case, state, neighbours)[0], whole[0], rtol=1e-4, atol=1e-5
    )
    assert not np.allclose(answers(case, state, neighbours)[1], whole[1], atol=1e-4)
    fewer = batch._replace(queries=batch.queries[:, :2])
    replaced = batch._replace(queries=batch.queries.at[:, 1:].set(other.queries[:, 1:]))
    for changed in (fewer, replaced):
        same = np.allclose(
            answers(case, state, changed)[:, 0], whole[:, 0], rtol=1e-4, atol=1e-5
        )
        assert same or case.method.transductive


@pytest.mark.parametrize("name", OTHERS)
def test_an_answer_without_context_depends_on_its_own_input_alone(name):
    case, state = contract.case(name), contract.trained(name)
    first, other = batch_of(case).inputs, batch_of(case, 4).inputs
    whole = case.method.predict(state, first).output
    changed = case.method.predict(state, first.at[1:].set(other[1:])).output
    np.testing.assert_allclose(changed[0], whole[0], rtol=1e-4, atol=1e-5)
    assert not np.allclose(changed[1:], whole[1:], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_two_steps_draw_different_batches(name):
    case = contract.case(name)
    first, again, second = (batch_of(case, step) for step in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    inputs = [jax.tree.leaves(each)[0] for each in (first, second)]
    assert np.any(inputs[0] != inputs[1])
    other = case.task.sample(jax.random.key(8), jnp.asarray(0), case.source)
    assert np.any(jax.tree.leaves(other)[0] != inputs[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_trained_parameter_has_a_gradient(name):
    """Adam moves whatever has a gradient, however small."""
    case = contract.case(name)
    first = contract.leaves(case.method.slim(contract.trained(name, 0)))
    last = contract.leaves(case.method.slim(contract.trained(name)))
    still = {
        each for each in first
        if ".params." in each and np.array_equal(first[each], last[each])
    }  # fmt: skip
    assert still == set(case.fixed)


@pytest.mark.parametrize("name", TABLE)
def test_saved_restored_and_continued_to_the_bit(name, tmp_path):
    case, step = contract.case(name), contract.program(name)
    middle = contract.trained(name, 2)
    straight, _ = step(middle, KEY, case.source)
    with checkpoint.Checkpoints(tmp_path / "kept") as saved:
        saved.save(2, middle, wait=True)
        restored = saved.restore_latest(case.method.init(KEY)).state
    resumed, _ = step(restored, KEY, case.source)
    chex.assert_trees_all_equal(
        *(jax.tree.map(_plain, each) for each in (resumed, straight))
    )


def _plain(leaf: jax.Array) -> jax.Array:
    typed = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if typed else leaf


@pytest.mark.parametrize("name", TABLE)
def test_four_devices_are_one(name):
    case, step = contract.case(name), contract.program(name)
    start, again = (
        training.start_state(case.method, 3, selects=False) for _ in range(2)
    )
    mesh = jax.sharding.Mesh(jax.devices()[:4], (parallel.AXIS,))
    four, source = parallel.replicate(mesh, (again, case.source))
    spread = training.compile_step(case.method, case.task, four, source, mesh=mesh)
    one = start.method
    for _ in range(2):
        one, alone = step(one, start.key, case.source)
        four, shared = spread(four, source)
    np.testing.assert_allclose(shared["loss"], alone["loss"], rtol=1e-3)
    kept = (case.method.slim(each) for each in (four.method, one))
    chex.assert_trees_all_close(
        *(jax.device_get(each) for each in kept), rtol=2e-3, atol=2e-4
    )


@pytest.mark.parametrize("name", NAMES)
def test_slim_answers_alike_is_smaller_and_slim_already(name):
    case, state = contract.case(name), contract.trained(name)
    slim = case.method.slim(state)
    assert len(jax.tree.leaves(slim)) < len(jax.tree.leaves(state))
    chex.assert_trees_all_equal(case.method.slim(slim), slim)
    given = asked(name, batch_of(case))
    np.testing.assert_array_equal(
        case.method.predict(slim, *given).output,
        case.method.predict(state, *given).output,
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_state_may_be_donated_and_has_no_weak_types(name):
    state = contract.case(name).method.init(KEY)
    found = [
        leaf for leaf in jax.tree.leaves(state)
        if leaf.size and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    ]  # fmt: skip
    pointers = [leaf.unsafe_buffer_pointer() for leaf in found]
    assert len(set(pointers)) == len(pointers)
    assert not [leaf for leaf in found if leaf.weak_type]


@pytest.mark.parametrize("name", [name for name in TABLE if name in EPISODES])
def test_adapting_fits_the_context_and_leaves_the_state_alone(name):
    case, state = contract.case(name), contract.trained(name)
    if case.method.adapt is None:
        return
    batch = batch_of(case)
    context = Context(*(leaf[:1] for leaf in batch.context))
    before = jax.tree.map(lambda leaf: np.array(leaf), case.method.slim(state))

    @tiny.jit
    def losses(state):
        adapted = case.method.adapt(state, context, 1)
        found = []
        for each in (adapted, state):
            outputs = case.method.predict(each, context, context.inputs).output
            loss = jax.vmap(case.task.loss)(outputs[0], context.targets[0])
            found.append(jnp.mean(loss))
        return found

    after, without = losses(state)
    assert after < without
    chex.assert_trees_all_equal(case.method.slim(state), before)


@pytest.mark.parametrize("name", NAMES)
def test_tables_can_name_it(name):
    columns = contract.case(name).method.columns
    assert columns["method"]
    assert all(isinstance(each, str) for pair in columns.items() for each in pair)
