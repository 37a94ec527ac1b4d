"""One process, or one job of several, at work in a folder at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import warnings
from collections.abc import Iterator
from typing import TextIO

import jax

from nmn_jax.run import parallel

FILE = ".lock"
_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL, errno.ENOSYS)


class LockedError(ValueError):
    """Another process is at work in the folder."""


@contextlib.contextmanager
def hold(folder: str | os.PathLike) -> Iterator[None]:
    """Hold the folder while the block runs.

    The first process of a job locks for all. The lock belongs to the open file, so it
    ends with its process however that ends; the file `.lock` stays and says who was
    last. A file system without locks is used without one, with a warning.

    Raises:
      LockedError: if another process holds it; names that process.
    """
    if jax.process_index() != 0:
        _agree("")
        yield
        return
    path = pathlib.Path(folder) / FILE
    with path.open("a+", encoding="utf-8") as file:
        _agree(_taken(file))
        yield


def _agree(fault: str) -> None:
    """Raise in every process what the first one found."""
    if not parallel.everywhere(not fault):
        raise LockedError(fault or "process 0 found another job in this folder")


def _taken(file: TextIO) -> str:
    """Lock the file and put our name into it; "" or why it cannot be locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        who = file.read().strip() or "another process"
        folder = pathlib.Path(file.name).parent
        return (
            f"{folder}: {who} is at work there; wait until it has ended, end it, or "
            "give another folder"
        )
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        warnings.warn(
            f"{file.name}: this file system has no locks ({error.strerror}); see to "
            "it that no second process is started in that folder",
            stacklevel=4,
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} of {socket.gethostname()}")
    file.flush()
    return ""
