"""Damage is named and never restored, wherever in a checkpoint it is."""

import json
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable

import pytest
from run.states import assert_same, make_state, save_steps

from nmn_jax.run import checkpoint, fingerprint

# Orbax closes its event loop under its own feet when a file is damaged.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


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


def test_a_damaged_best_gives_way_to_the_next_best(tmp_path):
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        for step, score in enumerate([0.9, 0.1, 0.2]):
            saved.save(step, make_state(step), metrics={"accuracy": score})
        saved.wait()
        truncate(tmp_path / "0")
        with pytest.warns(UserWarning, match="step 0: "):
            assert saved.restore_best(make_state()).step == 2
        assert saved.best_step() == 2


def test_the_best_is_not_a_copy_under_another_name(tmp_path):
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        saved.save(1, make_state(1), metrics={"accuracy": 0.9})
        saved.save(2, make_state(2), metrics={"accuracy": 0.1})
    shutil.copytree(tmp_path / "1", tmp_path / "3")
    with checkpoint.Checkpoints(tmp_path, metric="accuracy") as saved:
        with pytest.warns(UserWarning, match="step 3: it holds step 1"):
            assert saved.restore_latest(make_state()).step == 2
        assert saved.best_step() == 1
