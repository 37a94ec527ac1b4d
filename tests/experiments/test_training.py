"""One program of a step and of an answer, whatever the method and the devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_method
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.common import training
from nmn_jax.run import parallel
from nmn_jax.tasks import episodes

EPISODES = 8


def make_task(count: int = EPISODES, queries: int = 1):
    return episodes.classification(
        ways=3, shots=1, queries=queries, episodes=count, image_shape=(6, 6)
    )


TASK = make_task()
METHOD = toy_method.make(None, TASK, steps=4)


def one_device() -> Mesh:
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh(
        (1,), (parallel.AXIS,), devices=jax.devices()[:1], axis_types=auto
    )


MESHES = {"one device": one_device(), "eight devices": parallel.make_mesh()}


def started(mesh: Mesh, seed: int = 0, **options):
    """A state, the source, and the compiled step on `mesh`."""
    state = training.start_state(METHOD, seed, selects=True)
    drawn = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 6), dtype=np.uint8)
    state, source = parallel.replicate(mesh, (state, drawn))
    step = training.compile_step(METHOD, TASK, state, source, mesh=mesh, **options)
    return state, source, step


def test_a_state_starts_strong_without_shared_buffers_and_with_nothing_best():
    state = training.start_state(METHOD, 0, selects=True)
    leaves = jax.tree.leaves(state)
    numbers = [leaf for leaf in leaves if leaf is not state.key]
    assert not any(leaf.weak_type for leaf in numbers)
    places = [leaf.unsafe_buffer_pointer() for leaf in numbers]
    assert len(set(places)) == len(places)
    assert state.best.score == -np.inf
    assert training.start_state(METHOD, 0, selects=False).best is None


def test_a_seed_makes_the_state_and_batches_it_always_made():
    """The very keys of every committed result."""
    state = training.start_state(METHOD, 5, selects=False)
    data_key, init_key = jax.random.split(jax.random.key(5))
    assert (jax.random.key_data(state.key) == jax.random.key_data(data_key)).all()
    assert state.method.scale == 1.0 + jax.random.uniform(init_key)


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_every_step_learns_from_the_batch_of_its_own_number(mesh):
    state, source, step = started(mesh)
    key, inks = jnp.copy(state.key), []
    for number in range(3):
        state, measured = step(state, source)
        batch = TASK.sample(key, jnp.asarray(number), source)
        ink = np.cos(np.arange(batch.queries.size)) * np.ravel(batch.queries)
        np.testing.assert_allclose(measured["ink"], ink.mean(), rtol=1e-4, atol=1e-6)
        inks.append(float(measured["ink"]))
    assert len(set(inks)) == 3
    assert int(state.method.step) == 3


def test_eight_devices_learn_what_one_does_and_share_the_work():
    results, costs = [], []
    for mesh in MESHES.values():
        state, source, step = started(mesh)
        for _ in range(3):
            state, measured = step(state, source)
        results.append((float(state.method.scale), float(measured["loss"])))
        costs.append(step.cost_analysis()["flops"])
        assert state.method.scale.sharding.is_fully_replicated
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)
    # A program that leaves the whole batch to every device costs each the same.
    assert costs[1] < 0.5 * costs[0]


def test_several_steps_in_one_call_are_the_same_steps():
    together, source, step = started(one_device(), steps_per_call=3)
    together, measured = step(together, source)
    apart, source, step = started(one_device())
    losses = []
    for _ in range(3):
        apart, each = step(apart, source)
        losses.append(float(each["loss"]))
    assert int(together.method.step) == 3
    for one, other in zip(together.method, apart.method, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(measured["loss"], np.mean(losses), rtol=1e-6)
    start = training.start_state(METHOD, 0, selects=False)
    assert abs(float(together.method.scale - start.method.scale)) > 1e-3


def test_no_second_program_a_wrong_type_or_placement_is_an_error():
    state, source, step = started(MESHES["eight devices"])
    state, _ = step(state, source)
    with pytest.raises(TypeError, match="'source' compiled with uint8"):
        step(state, source.astype(jnp.float32))
    with pytest.raises(ValueError, match="sharding"):
        step(jax.device_put(state, jax.devices()[0]), source)


def test_episodes_that_cannot_be_shared_out_are_refused_before_compiling():
    state, source, _ = started(one_device())
    with pytest.raises(ValueError, match="6 episodes .* 8 devices"):
        training.compile_step(
            METHOD, make_task(6), state, source, mesh=MESHES["eight devices"]
        )


def test_the_best_is_a_copy_and_only_a_better_one_replaces_it():
    mesh = MESHES["eight devices"]
    state, source, step = started(mesh)
    keep_best = training.make_keep_best(METHOD, mesh)
    state = keep_best(state, 0.5)
    kept = float(state.best.state.scale)
    state, _ = step(state, source)
    state = keep_best(keep_best(state, 0.5), float("nan"))
    assert (float(state.best.state.scale), float(state.best.score)) == (kept, 0.5)
    state, _ = step(state, source)
    state = keep_best(state, 0.75)
    assert float(state.best.state.scale) == float(state.method.scale) != kept
    assert float(state.best.score) == 0.75
    # The next step still takes it: nothing about the state has changed but values.
    step(state, source)


def test_chunks_are_of_one_shape_and_their_filling_is_not_counted():
    found = list(training.chunks(7, 3))
    assert [numbers.tolist() for numbers, _ in found] == [
        [0, 1, 2], [3, 4, 5], [6, 6, 6]
    ]  # fmt: skip
    assert [meant for _, meant in found] == [3, 3, 1]
    seen = []

    def score(numbers):
        seen.append(len(numbers))
        return {"number": jnp.asarray(numbers)}

    np.testing.assert_array_equal(
        training.evaluate(score, count=7, size=3)["number"], np.arange(7)
    )
    assert seen == [3, 3, 3]


def test_scores_are_means_over_queries_by_hand():
    task = make_task()
    output = jnp.array([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]])
    answers = jax.nn.one_hot(jnp.array([[0, 1], [0, 2]]), 3)
    found = training.scores(task, output, answers)
    np.testing.assert_array_equal(found["accuracy"], [1.0, 0.5])
    alone = training.scores(task, output[:, 0], answers[:, 0])
    np.testing.assert_array_equal(alone["accuracy"], [1.0, 0.0])


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
def test_answers_are_spread_over_the_devices_and_scores_are_everywhere(mesh):
    state, source, _ = started(mesh)
    answering = training.make_answering(METHOD, TASK, mesh)
    batch = parallel.spread(
        mesh, jax.device_get(TASK.sample(state.key, jnp.asarray(0), source))
    )
    devices = mesh.shape[parallel.AXIS]
    pieces = {s.data.shape[0] for s in batch.queries.addressable_shards}
    assert pieces == {EPISODES // devices}
    answer, found = answering(
        METHOD.slim(state.method), (batch.context, batch.queries), batch.answers
    )
    assert found["accuracy"].sharding.is_fully_replicated
    alone = METHOD.predict(state.method, batch.context, batch.queries)
    np.testing.assert_allclose(answer.output, alone.output, rtol=1e-5)
    given = (METHOD.slim(state.method), (batch.context, batch.queries), batch.answers)
    program = answering.lower(*given).compile()
    shape = batch.queries.sharding.shard_shape(batch.queries.shape)
    assert f"f32[{','.join(map(str, shape))}]" in program.as_text()


def test_a_stream_is_whole_on_every_device():
    mesh = MESHES["eight devices"]
    stream = TASK._replace(spec=TASK.spec._replace(form="stream"))
    whole = NamedSharding(mesh, PartitionSpec())
    assert training.batch_sharding(stream, mesh) == whole
    assert training.batch_sharding(TASK, mesh) == parallel.episode_sharding(mesh)
