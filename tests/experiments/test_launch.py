"""Flags: short names for configs, and one line for what the user can mend."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from experiments import launch

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = """
from experiments import launch, settings

def main(run, workdir, results):
    if run.seed:
        raise ValueError("seed is odd")
    print([run.ways, run.optim["lr"], run.eval.adapt_steps, workdir.name, results])

launch.run(main, settings.Run, default="omniglot")
"""


def launched(*arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "NMN_CPU_TUNING": "off"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip


def test_a_variant_stands_for_its_file():
    file = launch.CONFIGS / "omniglot.py"
    given = ["x", "--config", "5way1shot", "--config.optim.lr", "0.1", "--config.on"]
    assert launch.expand([*given, "--workdir=w"], "omniglot") == [
        "x", f"--config={file}:5way1shot", "--config.optim.lr=0.1", "--config.on",
        "--workdir=w",
    ]  # fmt: skip
    assert launch.expand(["x", "--config=a/b.py:c"], "omniglot")[1:] == [
        "--config=a/b.py:c"
    ]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.way=3", r"config\.way: no such field; did you mean ways\?"),
        ("--config.optm.lr=1", r"config\.optm: no such field; did you mean optim\?"),
        ("--config.optim.lrr=1", r"config\.optim\.lrr: no such field; did you mean lr"),
        ("--config.optim.zzz=1", r"config\.optim\.zzz: no such field; known: .*lr"),
        ("--config.ways.x=1", r"config\.ways\.x: no such field, config\.ways is a"),
        ("--config=5way1sht", r"unknown variant '5way1sht'; use quick or"),
        ("--config=absent.py:x", r"there is no file absent\.py; give .* omniglot"),
    ],
)
def test_what_the_config_does_not_have_is_named(flag, said):
    with pytest.raises(ValueError, match=said):
        launch.check(launch.expand(["x", flag], "omniglot"), "omniglot")


def test_what_it_has_passes():
    flags = [
        "x",
        "--config=20way5shot",
        "--config.optim.lr=1",
        "--config.data.source=a",
    ]
    launch.check(launch.expand(flags, "omniglot"), "omniglot")


def test_a_program_gets_a_typed_record():
    ran = launched(
        "--config=20way1shot", "--config.optim.lr=2", "--workdir=here/run",
        "--config.eval.adapt_steps=(0, 5)", "--results=there",
    )  # fmt: skip
    assert ran.stdout == "[20, 2.0, (0, 5), 'run', 'there']\n", ran.stderr


def test_bad_input_ends_in_one_line_and_a_failure():
    ran = launched("--config.optim.learning=1")
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: config.optim.learning: no such field")
    assert len(ran.stderr.splitlines()) == 1
    ran = launched("--config.seed=1", "--workdir=w")
    assert (ran.returncode, ran.stderr) == (1, "error: seed is odd\n")
    ran = launched("--config.seed=1", "--workdir=w", "--traceback")
    assert ran.returncode == 1
    assert "Traceback" in ran.stderr


def test_compiled_programs_are_kept_where_the_user_says(monkeypatch):
    chosen = jax.config.values["jax_compilation_cache_dir"]
    launch.keep_programs()
    assert jax.config.values["jax_compilation_cache_dir"] == chosen
    monkeypatch.setenv("NMN_CACHE_DIR", "elsewhere")
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        launch.keep_programs()
        assert jax.config.values["jax_compilation_cache_dir"] == "elsewhere/xla"
    finally:
        jax.config.update("jax_compilation_cache_dir", chosen)
