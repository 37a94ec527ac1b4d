"""Checkpoints: what was saved comes back to the bit, the latest and the best."""

import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run.states import State, assert_same, make_state, save_steps

from nmn_jax.run import checkpoint, fingerprint, parallel


def test_what_was_saved_comes_back_to_the_bit(tmp_path):
    state = make_state(3)
    with checkpoint.Checkpoints(tmp_path / "new") as saved:
        assert saved.restore_latest(state) is None
        extra = {"config": {"ways": 5}, "at": [1.5, None]}
        saved.save(7, state, extra=extra, metrics={"accuracy": 0.25})
        restored = saved.restore_latest(jax.eval_shape(make_state))
    assert restored.step == 7
    assert restored.extra == extra
    assert restored.metrics == {"accuracy": 0.25}
    assert_same(restored.state, state)
    assert isinstance(restored.state, State)
    draw = jax.random.normal(restored.state.key, (3,))
    np.testing.assert_array_equal(draw, jax.random.normal(state.key, (3,)))


def test_another_process_object_finds_the_newest(tmp_path):
    save_steps(tmp_path, 1, 2, 3)
    with checkpoint.Checkpoints(tmp_path) as saved:
        assert saved.steps() == [2, 3]
        assert_same(saved.restore_latest(make_state()).state, make_state(3))


def test_a_state_given_away_after_saving_is_still_saved_right(tmp_path):
    """The files are written while the next step overwrites the donated buffers."""
    advance = jax.jit(
        lambda tree: jax.tree.map(lambda x: x * 3 + 1, tree), donate_argnums=0
    )
    state = {"x": jnp.arange(300_000.0), "y": jnp.ones((40, 40))}
    wanted = jax.tree.map(lambda leaf: np.array(leaf, copy=True), state)
    with checkpoint.Checkpoints(tmp_path) as saved:
        saved.save(1, state)
        for _ in range(5):
            state = advance(state)
        restored = saved.restore_latest(state)
    assert_same(restored.state, jax.tree.map(jnp.asarray, wanted))


def test_a_step_that_is_there_is_left_alone(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as saved:
        saved.save(1, make_state(1))
        saved.save(1, make_state(2), wait=True)
        assert_same(saved.restore_latest(make_state()).state, make_state(1))


def other_states() -> list[tuple[State, str]]:
    state = make_state()
    kernel = state.params["kernel"]
    return [
        (
            state._replace(params={**state.params, "kernel": kernel[:, :3]}),
            r"params\.kernel: float32\[4,6\] in the checkpoint, float32\[4,3\] in this",
        ),
        (
            state._replace(params={**state.params, "kernel": kernel.astype(jnp.int32)}),
            r"params\.kernel: float32\[4,6\] in the checkpoint, int32\[4,6\] in this",
        ),
        (
            state._replace(params={**state.params, "more": kernel}),
            r"params\.more: absent in the checkpoint, float32\[4,6\] in this run",
        ),
        (
            state._replace(params={"kernel": kernel}),
            r"params\.half: bfloat16\[5\] in the checkpoint, absent in this run",
        ),
        (
            state._replace(key=jax.random.key(0, impl="rbg")),
            r"key: key<fry>\[\] in the checkpoint, key<rbg>\[\] in this run",
        ),
    ]


@pytest.mark.parametrize("case", range(5))
def test_another_structure_is_an_error_that_names_the_leaf(tmp_path, case):
    target, named = other_states()[case]
    save_steps(tmp_path, 1, 2)
    with (
        checkpoint.Checkpoints(tmp_path) as saved,
        pytest.raises(fingerprint.MismatchError, match=named) as said,
    ):
        saved.restore_latest(target)
    assert "another directory" in str(said.value)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


def test_the_latest_two_and_the_best_are_kept(tmp_path):
    scores = [0.5, 0.9, 0.9, 0.3, float("nan"), 0.2]
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        for step, score in enumerate(scores):
            saved.save(step, make_state(step), metrics={"accuracy": score})
        saved.save(6, make_state(6))
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        assert saved.steps() == [1, 5, 6]
        assert saved.best_step() == 1
        assert_same(saved.restore_best(make_state()).state, make_state(1))
        assert saved.restore_latest(make_state()).step == 6


def test_what_an_interrupted_save_left_is_removed(tmp_path):
    save_steps(tmp_path, 1)
    stale = tmp_path / "2.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "1", stale)
    (tmp_path / "mine.txt").write_text("kept")
    with checkpoint.Checkpoints(tmp_path) as saved:
        assert saved.restore_latest(make_state()).step == 1
    assert {path.name for path in tmp_path.iterdir()} == {"1", "mine.txt"}


def test_shards_come_back_on_any_mesh(tmp_path):
    mesh = parallel.make_mesh()
    rows = jnp.arange(16.0).reshape(8, 2)
    state = {
        "rows": jax.device_put(rows, parallel.episode_sharding(mesh)),
        "key": parallel.replicate(mesh, jax.random.key(5)),
    }
    with checkpoint.Checkpoints(tmp_path) as saved:
        saved.save(1, state)
        spread = saved.restore_latest(state).state
        alone = saved.restore_latest({"rows": rows, "key": jax.random.key(0)}).state
    assert spread["rows"].sharding == state["rows"].sharding
    assert alone["rows"].sharding.device_set == rows.sharding.device_set
    assert_same(spread, state)
    assert_same(alone, {"rows": rows, "key": jax.random.key(5)})


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(ValueError, match=r"checkpoints=.* this is a file, where a fo"):
        checkpoint.Checkpoints(tmp_path / "checkpoints")


def test_what_several_processes_cannot_save_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setattr("jax.process_count", lambda: 2)
    leaves = fingerprint.flatten({"params": {"kernel": jnp.ones(3)}})
    with pytest.raises(ValueError, match=r"params\.kernel: on the .* parallel.replic"):
        fingerprint.check_global(leaves)


def test_leaves_that_are_no_arrays_are_refused(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as saved:
        with pytest.raises(ValueError, match=r"leaf a\.b is a float; .*`extra`"):
            saved.save(1, {"a": {"b": 1.0}})
        with pytest.raises(ValueError, match=r"two leaves .* called a\.b"):
            saved.save(1, {"a": {"b": jnp.ones(1)}, "a.b": jnp.ones(1)})
    with pytest.raises(ValueError, match="keep=0"):
        checkpoint.Checkpoints(tmp_path, keep=0)


def test_saving_a_small_state_holds_the_loop_up_only_briefly(tmp_path):
    """In processor time of the loop's own thread, which no other program lengthens."""
    state = {str(i): jnp.full((40, 40), float(i)) for i in range(180)}  # 1.2 MB
    blocked = []
    with checkpoint.Checkpoints(tmp_path) as saved:
        for step in range(5):
            begun = time.thread_time()
            saved.save(step, state)
            blocked.append(time.thread_time() - begun)
            saved.wait()
    assert min(blocked) < 0.15
