"""Process settings: given once, only on a CPU, only where they were seen to work."""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.common import runtime

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAIN = {k: v for k, v in os.environ.items() if k not in (runtime.SWITCH, "XLA_FLAGS")}
CPU = {**PLAIN, "JAX_PLATFORMS": "cpu"}
RESTART = """
import json, os, sys
from experiments.common import runtime
runtime.prepare()
print(json.dumps([sys.argv[1:], dict(os.environ)]))
"""
GRADIENT = """
import json, jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_compilation_cache", False)
images = np.sin(np.arange(4 * 14 * 14 * 8.0, dtype=np.float32)).reshape(4, 14, 14, 8)
kernel = np.cos(np.arange(3 * 3 * 8 * 8.0, dtype=np.float32)).reshape(3, 3, 8, 8)
axes = ("NHWC", "HWIO", "NHWC")
def loss(kernel):
    convolve = jax.lax.conv_general_dilated
    found = convolve(images, kernel, (1, 1), "SAME", dimension_numbers=axes)
    return jnp.sum(jnp.tanh(found))
print(json.dumps(np.asarray(jax.jit(jax.grad(loss))(kernel)).ravel().tolist()))
"""


def said_by(program: str, environment: dict[str, str], *arguments: str) -> list:
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_only_a_linux_process_on_a_cpu_is_tuned(monkeypatch):
    assert runtime.wanted(CPU)
    assert not runtime.wanted({**CPU, runtime.SWITCH: "off"})
    assert not runtime.wanted({**CPU, "JAX_PLATFORMS": "cuda,cpu"})
    unset = {k: v for k, v in PLAIN.items() if k != "JAX_PLATFORMS"}
    monkeypatch.setattr("glob.glob", lambda pattern: [])
    assert runtime.wanted(unset)
    monkeypatch.setattr("glob.glob", lambda pattern: ["/dev/nvidia0"])
    assert not runtime.wanted(unset)
    assert runtime.wanted(CPU)
    monkeypatch.setattr("sys.platform", "darwin")
    assert not runtime.wanted(CPU)


def test_what_the_user_set_stays():
    given = {"XLA_FLAGS": "--xla_foo=1", "GLIBC_TUNABLES": "glibc.malloc.check=0"}
    tuned = runtime.tuned(given)
    assert tuned["XLA_FLAGS"].startswith("--xla_foo=1")
    assert tuned["GLIBC_TUNABLES"] == "glibc.malloc.check=0"
    own = runtime.XLA_FLAG.split("=")[0] + "=x"
    assert runtime.tuned({"XLA_FLAGS": own})["XLA_FLAGS"] == own
    assert not runtime.wanted({**CPU, **tuned})


@pytest.mark.parametrize("version", ["0.0.1", runtime.ACCEPTED[0]])
def test_the_flag_is_given_to_versions_that_accept_it_only(monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    tuned = runtime.tuned({})
    assert (runtime.XLA_FLAG in tuned.get("XLA_FLAGS", "")) == (version != "0.0.1")


def test_a_command_starts_once_more_with_its_arguments_and_no_more():
    arguments, environment = said_by(RESTART, CPU, "--config=a b", "--x")
    assert arguments == ["--config=a b", "--x"]
    assert environment == runtime.tuned(CPU)
    _, untouched = said_by(RESTART, {**CPU, runtime.SWITCH: "off"})
    assert "XLA_FLAGS" not in untouched


def test_the_installed_version_accepts_what_it_is_given_and_computes_the_same():
    plain = said_by(GRADIENT, {**CPU, runtime.SWITCH: "off"})
    tuned = said_by(GRADIENT, runtime.tuned(CPU))
    assert tuned == pytest.approx(plain, rel=1e-4, abs=1e-3)
