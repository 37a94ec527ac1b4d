"""A folder is found fit, or refused with one line that says why."""

import errno
import os

import pytest

from nmn_jax.run import place


def test_a_folder_is_made_with_those_above_it(tmp_path):
    path = tmp_path / "runs" / "mine"
    assert place.claim_folder(str(path), "--workdir") == path
    assert path.is_dir() and list(path.iterdir()) == []
    assert place.claim_folder(path, "--workdir") == path


def a_file(folder):
    (folder / "runs").write_text("mine")
    return folder / "runs"


def below_a_file(folder):
    return a_file(folder) / "mine"


def a_link_to_nothing(folder):
    (folder / "runs").symlink_to(folder / "gone")
    return folder / "runs"


def below_a_link_to_nothing(folder):
    return a_link_to_nothing(folder) / "mine"


def a_circle(folder):
    (folder / "runs").symlink_to("runs")
    return folder / "runs"


def a_long_name(folder):
    return folder / ("x" * 300)


def a_zero_byte(folder):
    return folder / "a\0b"


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (a_file, "this is a file, where a folder belongs; remove it or give another"),
        (below_a_file, "runs is a file, where a folder belongs"),
        (a_link_to_nothing, "a link to .*gone, which does not exist"),
        (below_a_link_to_nothing, "runs is a link to .*gone, which does not exist"),
        (a_circle, "runs"),
        (a_long_name, "letters.: its name is too long; give a shorter one"),
        (a_zero_byte, "a zero byte"),
    ],
)
def test_what_is_no_folder_is_refused_in_one_line(tmp_path, make, cause):
    with pytest.raises(ValueError, match=rf"^--workdir=.*{cause}") as said:
        place.claim_folder(make(tmp_path), "--workdir")
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.EROFS, "its file system is read-only"),
        (errno.EACCES, "writing there is not permitted; change its permissions"),
        (errno.EPERM, "writing there is not permitted"),
        (errno.ENOSPC, "there is no space left"),
        (errno.EIO, "Input/output error; give another place"),
    ],
)
def test_a_folder_that_cannot_be_written_into_is_refused(
    tmp_path, monkeypatch, number, cause
):
    """By the error alone: the superuser may write where permissions forbid it."""

    def fail(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    with pytest.raises(ValueError, match=f"^results=.*: {cause}"):
        place.claim_folder(tmp_path, "results")
