"""Checkpoints: what was saved comes back to the bit, and damage is never restored."""

import json
import os
import pathlib
import shutil
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nmn_jax.run import checkpoint, fingerprint, parallel

# Orbax closes its event loop under its own feet when a file is damaged.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


class State(NamedTuple):
    params: dict[str, Any]
    optimizer: Any
    empty: tuple
    key: jax.Array
    step: jax.Array


def make_state(seed: int = 0, *, width: int = 6) -> State:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "kernel": jax.random.normal(keys[0], (4, width)),
        "half": jax.random.normal(keys[1], (5,)).astype(jnp.bfloat16),
    }
    return State(params, optax.adam(1e-3).init(params), (), keys[2], jnp.int32(seed))


def raw(leaf: jax.Array) -> np.ndarray:
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def assert_same(left: Any, right: Any) -> None:
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype
        assert raw(a).tobytes() == raw(b).tobytes()


def save_steps(directory: pathlib.Path, *steps: int) -> None:
    with checkpoint.Checkpoints(directory) as saved:
        for step in steps:
            saved.save(step, make_state(step), extra={"seen": step})


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


def _damage_data(step: pathlib.Path, damaged: Callable[[bytes], bytes]) -> None:
    """All data files: which of them hold the arrays differs from save to save, and a
    file that nothing is read from may be damaged without harm."""
    for path in step.glob("state/**/d/*"):
        path.write_bytes(damaged(path.read_bytes()))


# Every way to damage step 2, given its directory.
def flip_a_byte(step: pathlib.Path) -> None:
    def flipped(content: bytes) -> bytes:
        half = len(content) // 2
        return content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]

    _damage_data(step, flipped)


def zero_a_block(step: pathlib.Path) -> None:
    _damage_data(step, lambda content: content[:20] + bytes(64) + content[84:])


def truncate(step: pathlib.Path) -> None:
    _damage_data(step, lambda content: content[:-40])


def delete_the_manifest(step: pathlib.Path) -> None:
    (step / "state" / "manifest.ocdbt").unlink()


def garble_the_metadata(step: pathlib.Path) -> None:
    (step / "state" / "_METADATA").write_text("{]")


def delete_the_state(step: pathlib.Path) -> None:
    shutil.rmtree(step / "state")


def delete_the_record(step: pathlib.Path) -> None:
    (step / "record" / "metadata").unlink()


def garble_the_record(step: pathlib.Path) -> None:
    (step / "record" / "metadata").write_text('{"leaves": {')


def edit_the_record(step: pathlib.Path) -> None:
    path = step / "record" / "metadata"
    path.write_text(path.read_text().replace('"seen": 2', '"seen": 9'))


def delete_the_array_metadata(step: pathlib.Path) -> None:
    """All is readable, but a typed key comes back as plain numbers."""
    (step / "state" / "array_metadatas" / "process_0").unlink()


def copy_the_one_before(step: pathlib.Path) -> None:
    shutil.rmtree(step)
    shutil.copytree(step.with_name("1"), step)


def replace_by_a_file(step: pathlib.Path) -> None:
    shutil.rmtree(step)
    step.write_text("not a folder")


def replace_by_a_link_to_nothing(step: pathlib.Path) -> None:
    shutil.rmtree(step)
    step.symlink_to("nowhere")


def empty(step: pathlib.Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


def other_checksum(step: pathlib.Path) -> None:
    """As silent corruption looks: all is readable, the values are not the same."""
    path = step / "record" / "metadata"
    record = fingerprint.unseal(json.loads(path.read_text()))
    record["leaves"]["params.kernel"]["crc"] ^= 1
    path.write_text(json.dumps(fingerprint.seal(**record)))


DAMAGES = [
    (flip_a_byte, "step 2"),
    (zero_a_block, "step 2"),
    (truncate, "step 2"),
    (delete_the_manifest, "step 2: state cannot be read"),
    (garble_the_metadata, "step 2: state cannot be read"),
    (delete_the_state, "step 2: state cannot be read"),
    (delete_the_record, "step 2: record cannot be read"),
    (garble_the_record, "step 2: record cannot be read"),
    (edit_the_record, "step 2: the record beside the state has a wrong checksum"),
    (other_checksum, "step 2: wrong checksum of params.kernel"),
    (delete_the_array_metadata, "step 2: key was read as uint32[2], which is not what"),
    (copy_the_one_before, "step 2: it holds step 1 under this name"),
    (replace_by_a_file, "step 2: a file or a link to nothing, where a folder"),
    (replace_by_a_link_to_nothing, "step 2: a file or a link to nothing"),
    (empty, "step 2: record cannot be read"),
]


@pytest.mark.parametrize(("damage", "named"), DAMAGES)
def test_damage_is_named_and_the_one_before_is_used(tmp_path, damage, named):
    save_steps(tmp_path, 1, 2)
    damage(tmp_path / "2")
    with checkpoint.Checkpoints(tmp_path) as saved:
        with pytest.warns(UserWarning, match="damaged checkpoint") as said:
            restored = saved.restore_latest(make_state())
        # Orbax leaves coroutines behind when it fails, which are told when collected.
        told = [str(each.message) for each in said]
        told = [each for each in told if "was never awaited" not in each]
        assert [named in each for each in told] == [True]
        assert restored.step == 1
        assert restored.extra == {"seen": 1}
        assert_same(restored.state, make_state(1))
        # What was damaged is kept under another name, and its step can come again.
        assert os.path.lexists(tmp_path / "damaged-2")
        saved.save(2, make_state(2), wait=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert saved.restore_latest(make_state()).step == 2


def test_what_the_content_proves_sound_is_used(tmp_path):
    """Orbax can do without this file, and the checksums are right."""
    save_steps(tmp_path, 1, 2)
    (tmp_path / "2" / "state" / "_METADATA").unlink()
    with checkpoint.Checkpoints(tmp_path) as saved:
        assert_same(saved.restore_latest(make_state()).state, make_state(2))


def test_nothing_sound_is_an_error_and_nothing_is_touched(tmp_path):
    save_steps(tmp_path, 1, 2)
    for step in (1, 2):
        truncate(tmp_path / str(step))
    with (
        checkpoint.Checkpoints(tmp_path) as saved,
        pytest.raises(fingerprint.DamagedError, match=r"(?s)step 2: .*step 1: .*anew"),
    ):
        saved.restore_latest(make_state())
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2"}


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


def test_a_damaged_best_gives_way_to_the_next_best(tmp_path):
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        for step, score in enumerate([0.9, 0.1, 0.2]):
            saved.save(step, make_state(step), metrics={"accuracy": score})
        saved.wait()
        truncate(tmp_path / "0")
        with pytest.warns(UserWarning, match="step 0: "):
            assert saved.restore_best(make_state()).step == 2
        assert saved.best_step() == 2


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


def test_the_best_is_not_a_copy_under_another_name(tmp_path):
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        saved.save(1, make_state(1), metrics={"accuracy": 0.9})
        saved.save(2, make_state(2), metrics={"accuracy": 0.1})
    shutil.copytree(tmp_path / "1", tmp_path / "3")
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        with pytest.warns(UserWarning, match="step 3: it holds step 1"):
            assert saved.restore_latest(make_state()).step == 2
        assert saved.best_step() == 1


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
    state = {str(i): jnp.full((40, 40), float(i)) for i in range(180)}  # 1.2 MB
    blocked = []
    with checkpoint.Checkpoints(tmp_path) as saved:
        for step in range(5):
            begun = time.perf_counter()
            saved.save(step, state)
            blocked.append(time.perf_counter() - begun)
            saved.wait()
    # The bar is 0.15 s on an idle machine; tests may share theirs.
    assert min(blocked) < 0.15
    assert statistics.median(blocked) < 0.6
