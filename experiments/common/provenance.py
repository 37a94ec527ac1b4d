"""Where a result comes from: machine, code, command, and the bits of the state."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax

from nmn_jax.run import fingerprint

# Flags that say where files go and which of several processes this is.
PLACES = (
    "workdir", "results", "coordinator", "coordinator_timeout", "processes", "process",
)  # fmt: skip
ROOT = pathlib.Path(__file__).resolve().parents[2]


def of(state: Any) -> dict[str, Any]:
    """The fields of a result that say what made it; `state` is that at the end."""
    return {
        "state_digest": state_digest(state),
        "device": device_name(),
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "commit": commit(),
        "command": command(sys.argv),
    }


def state_digest(state: Any) -> str:
    """A digest of every bit of the state: equal for runs that ended the same."""
    leaves = fingerprint.describe(fingerprint.flatten(state))
    return hashlib.sha256(json.dumps(leaves, sort_keys=True).encode()).hexdigest()[:16]


def device_name() -> str:
    """Kind of device, with the number of cores where it is a CPU."""
    kind = jax.devices()[0].device_kind
    if kind != "cpu":
        return kind
    # Cores of this process: a study may pin each of its runs to one.
    own = getattr(os, "sched_getaffinity", None)
    return f"{kind} ({len(own(0)) if own else os.cpu_count()} cores)"


def commit() -> str:
    """The commit the code is at, marked where files differ from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def command(given: Sequence[str]) -> str:
    """The command line that makes a result, as a shell takes it, with no path of this
    machine."""
    program, *flags = given
    path = pathlib.Path(program)
    module = path.parent.name if path.stem == "__main__" else path.stem
    return shlex.join(["python", "-m", f"experiments.{module}", *_placeless(flags)])


def _placeless(flags: Iterable[str]) -> Iterator[str]:
    """Flags but those that say where files go, in both spellings of their value."""
    left = iter(flags)
    for flag in left:
        name, equals, _ = flag.partition("=")
        if name.lstrip("-") not in PLACES:
            yield flag
        elif not equals:
            next(left, None)
