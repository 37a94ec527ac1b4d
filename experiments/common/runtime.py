"""Process settings that make JAX fast on a CPU; called before jax is imported.

Measured on the paper's encoder (benchmarks/encoder.py). The allocator setting is read
by the C library when a process starts, so `prepare` starts the same command once more.
Nothing is done where an accelerator is at hand, for jaxlib versions where nobody saw
the flag accepted (an unknown one aborts the process), or with NMN_CPU_TUNING=off.
"""

from __future__ import annotations

import glob
import importlib.metadata
import os
import platform
import sys

SWITCH = "NMN_CPU_TUNING"
# Huge pages: the passes over large arrays spend their time on page faults otherwise.
ALLOCATOR = "glibc.malloc.hugetlb=1"
XLA_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
# jaxlib versions in which a test saw the flag accepted.
ACCEPTED = ("0.10.2",)
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*", "/dev/kfd")


def wanted(environment: dict[str, str]) -> bool:
    """Whether this process runs on a CPU, and may be tuned."""
    if environment.get(SWITCH) in ("off", "done") or sys.platform != "linux":
        return False
    if environment.get("JAX_PLATFORMS"):
        return environment["JAX_PLATFORMS"] == "cpu"
    return not any(glob.glob(pattern) for pattern in ACCELERATORS)


def tuned(environment: dict[str, str]) -> dict[str, str]:
    """The environment with what is known to be fast added; what is set stays."""
    added = dict(environment, **{SWITCH: "done"})
    flags = environment.get("XLA_FLAGS", "")
    known = importlib.metadata.version("jaxlib") in ACCEPTED
    if known and XLA_FLAG.split("=")[0] not in flags:
        added["XLA_FLAGS"] = f"{flags} {XLA_FLAG}".strip()
    if platform.libc_ver()[0] == "glibc":
        added.setdefault("GLIBC_TUNABLES", ALLOCATOR)
    return added


def prepare() -> None:
    """Start this command once more in the tuned environment, if that is wanted."""
    if not wanted(dict(os.environ)):
        return
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, tuned(dict(os.environ)))
