"""Folders that a run writes into: found fit before anything is computed."""

from __future__ import annotations

import errno
import os
import pathlib
import tempfile

_CAUSES = {
    errno.ENAMETOOLONG: "its name is too long; give a shorter one",
    errno.EROFS: "its file system is read-only; give another place",
    errno.EACCES: "writing there is not permitted; change its permissions or give "
    "another place",
    errno.ENOSPC: "there is no space left; make room or give another place",
    errno.ELOOP: "its links point at one another; remove them or give another place",
}
_CAUSES[errno.EPERM] = _CAUSES[errno.EACCES]


def claim_folder(path: str | os.PathLike, what: str) -> pathlib.Path:
    """Make the folder if need be, and write into it once.

    Args:
      path: the folder.
      what: what it is to the user, such as `--workdir`; begins the message.

    Returns the path.

    Raises:
      ValueError: if it is no folder, or one that cannot be made or written into; says
        which, and what to do.
    """
    path = pathlib.Path(path)
    try:
        _check_kinds(path, what)
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        cause = _CAUSES.get(error.errno or 0, f"{error.strerror}; give another place")
        raise ValueError(f"{what}={_short(path)}: {cause}") from error
    return path


def _check_kinds(path: pathlib.Path, what: str) -> None:
    """Refuse a file or a link to nothing, in the path's place or on the way to it."""
    if "\0" in str(path):
        raise ValueError(f"{what}={str(path)!r}: a zero byte is in its name")
    for each in (path, *path.parents):
        if each.is_dir():
            return
        if each.is_symlink() and not each.exists():
            kind = f"a link to {os.readlink(each)}, which does not exist"
        elif each.exists():
            kind = "a file"
        else:
            continue
        place = "" if each == path else f" {each} is"
        raise ValueError(
            f"{what}={_short(path)}:{place or ' this is'} {kind}, where a folder "
            "belongs; remove it or give another place"
        )


def _short(path: pathlib.Path) -> str:
    text = str(path)
    return text if len(text) <= 120 else f"{text[:80]}... ({len(text)} letters)"
