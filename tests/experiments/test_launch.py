"""Flags: short names for configs, and one line for what the user can mend."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import ml_collections
import pytest

from experiments.common import launch

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A benchmark of its own, so that the launcher is tested and not a real one's fields.
CONFIG = """
import dataclasses
from typing import Any
from experiments.common import config
from nmn_jax.settings.checks import Checked, checked, choice, each, optional
from nmn_jax.settings.checks import positive, seed, whole

@dataclasses.dataclass(frozen=True)
class Train(Checked):
    where = "config.train"
    episodes: int = checked(16, positive)
    adapt_steps: tuple[int, ...] = checked((0,), each(whole()))

@dataclasses.dataclass(frozen=True)
class Run(Checked):
    where = "config"
    ways: int = checked(5, positive)
    seed: int = checked(0, seed)
    split: str | None = checked(None, optional(choice(("paper", "official"))))
    train: Train = dataclasses.field(default_factory=Train)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    sg: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)

def get_config(variant="quick"):
    found = config.from_record(Run())
    if variant == "wide":
        found.ways = 20
    elif variant != "quick":
        raise ValueError(f"unknown variant {variant!r}; use quick or wide")
    return found
"""
PROGRAM = """
import pathlib, sys
from experiments.common import launch
launch.EXPERIMENTS = pathlib.Path(sys.argv.pop(1))
sys.path.insert(0, str(launch.EXPERIMENTS))
from toy.config import Run
from nmn_jax import settings

def main(run, workdir, results):
    if run.seed == 1:
        raise ValueError("seed is odd")
    settings.resolve(
        "recommended", ways=run.ways, shots=1, uses=("model", "sg", "optim"),
        default_use="fast",
        overrides={"model": run.model, "sg": run.sg, "optim": run.optim},
    )
    print([
        run.ways, run.optim["lr"], run.sg["use"], run.split, run.train.adapt_steps,
        workdir and workdir.name, results,
    ])

launch.run(main, Run, default="toy")
"""
# Imports cost seconds, so they are made once: each command is run in a child.
MANY = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import nmn_jax.settings, experiments.common.launch, experiments.common.config
program, folder, commands = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
for number, command in enumerate(commands):
    child = os.fork()
    if not child:
        for stream, name in ((1, "out"), (2, "err")):
            path = f"{folder}/{number}.{name}"
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
        sys.argv = ["toy", folder, *command]
        exec(compile(program, "toy.py", "exec"), {"__name__": "__main__"})
        sys.exit()
    with open(f"{folder}/{number}.code", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of benchmarks with one toy in it."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "config.py").write_text(CONFIG)
    monkeypatch.setattr(launch, "EXPERIMENTS", tmp_path)
    return tmp_path


def load(*flags):
    return launch.load(launch.expand(["x", *flags], "toy"), "toy")


@pytest.fixture
def launched(folder):
    def run(*arguments, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder), *arguments],
            cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True,
        )  # fmt: skip

    return run


def test_short_forms_are_written_out(folder):
    file = folder / "toy" / "config.py"
    given = ["x", "--config", "wide", "--config.optim.lr", "0.1", "--config.on"]
    assert launch.expand([*given, "--workdir=w"], "toy") == [
        "x", f"--config={file}:wide", "--config.optim.lr=0.1", "--config.on",
        "--workdir=w",
    ]  # fmt: skip
    same = ["--config=a/b.py:c", "--config.sg.use=both", "--config.sg.rate=1"]
    assert launch.expand(["x", *same], "toy")[1:] == same
    short = ["x", "--config.sg=fast", "--config.sg", "both", "-config.sg=off"]
    assert launch.expand(short, "toy")[1:] == [
        "--config.sg.use=fast", "--config.sg.use=both", "--config.sg.use=off",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--config.way=3", r"config\.way: no such field; did you mean ways\?"),
        ("--config.optm.lr=1", r"config\.optm: no such field; did you mean optim\?"),
        ("--config.optim.lrr=1", r"config\.optim\.lrr: no such field; did you mean lr"),
        ("--config.optim.zzz=1", r"config\.optim\.zzz: no such field; known: .*lr"),
        ("--config.sg.core=lstm", r"config\.sg\.core: no such field"),
        ("--config.ways.x=1", r"config\.ways\.x: no such field, config\.ways is a"),
        ("--config.train=1", r"config\.train holds several fields; .*train\.adapt_st"),
        ("--config=wyde", r"unknown variant 'wyde'; use quick or wide"),
        ("--config=absent.py:x", r"there is no file absent\.py; give .* toy"),
    ],
)
def test_what_the_config_does_not_have_is_named(flag, said):
    with pytest.raises(ValueError, match=said):
        load(flag)


def test_a_config_has_what_its_variant_says():
    found = load("--config=wide", "--config.optim.lr=1")
    assert (found.ways, found.train.episodes) == (20, 16)
    assert found.optim.lr is None, "overrides are parsed with the flags"
    assert found.get_type("split") is str
    assert found.sg.get_type("controllers") is tuple


BAD_FILES = [
    (b"import absent_module", "line 1: ModuleNotFoundError: .*absent_module"),
    (
        b"x = 1\nraise RuntimeError('broken\\nhere')",
        "line 2: RuntimeError: broken here",
    ),
    (b"def get_config():\n    return 1 / 0", "in line 2: ZeroDivisionError"),
    (b"def get_config():\n    return None", "returned a NoneType; .*ConfigDict"),
    (b"x = 1", "has no function get_config"),
    (b"x = '\xff\xfe'", "is no config file: SyntaxError.*utf-8"),
    (b"x = '\x00'", "null bytes"),
    (b"def get_config(:", "SyntaxError"),
    (b"def get_config():\n    raise ValueError('five ways')", "py: five ways"),
]


@pytest.mark.parametrize(("content", "said"), BAD_FILES)
def test_a_file_that_gives_no_config_is_told_in_a_line(tmp_path, content, said):
    file = tmp_path / "mine.py"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=said) as raised:
        load(f"--config={file}")
    assert str(raised.value).startswith(f"--config={file}")


def test_a_variant_that_a_file_does_not_take_is_told(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def get_config():\n    return {}")
    with pytest.raises(ValueError, match="takes 0 positional arguments"):
        load(f"--config={file}:variant")
    assert load(f"--config={file}") == ml_collections.ConfigDict()


def test_a_program_gets_a_typed_record(launched):
    ran = launched(
        "--config=wide", "--config.optim.lr=2", "--workdir=here/run",
        "--config.train.adapt_steps=(0, 5)", "--results=there",
        "--config.sg.use=decoupled", "--config.sg=both", "--config.split=paper",
    )  # fmt: skip
    said = "[20, 2.0, 'both', 'paper', (0, 5), 'run', 'there']\n"
    assert ran.stdout == said, ran.stderr


PORT = "--coordinator=host --processes=2 --process=0"
BAD = [
    ("--config.optim.learning=1", "config.optim.learning: no such field"),
    ("--config.seed=1", "seed is odd"),
    ("--config.seed=x", "flag --config.seed=x: must be a whole number"),
    ("--config.seed=18446744073709551616", "config.seed=18446744073709551616: must be"),
    ("--config.train.episodes=0", "config.train.episodes=0: must be a whole number"),
    ("--config.ways=-1", "config.ways=-1: must be a whole number from 1"),
    ("--config.split=mine", "config.split='mine': must be None or one of 'paper'"),
    ("--config.optim.lr=nan", "optim.lr=nan: must be a number from 0"),
    ("--config.optim.lr=fast", "flag --config.optim.lr=fast: must be a number"),
    ("--config.model.layers=-1", "model.layers=-1: must be a whole number from 1"),
    ("--config.train.adapt_steps=(x,)", "config.train.adapt_steps"),
    ("--config.sg=on", "sg.use='on': must be one of 'off', 'decoupled'"),
    ("--wurkdir=w", "Unknown command line flag 'wurkdir'"),
    ("extra", "unexpected arguments: extra"),
    (PORT, "coordinator='host': give host:port"),
    ("--config={folder}/typed.py", "config.seed: 'x' is a str, expected int"),
    ("--config={folder}/model.py", "model.slotz: no such field; did you mean slots?"),
    ("--config={folder}/extra.py", "config.seeds: no such field in Run; did you mean"),
]
# Files that give a config, though not one of this benchmark.
FILES = {
    "typed.py": "found = {'seed': 'x'}",
    "model.py": "found = {'model': {'slotz': 3, 'slots': None}, 'optim': {}, 'sg': {}}",
    "extra.py": "found = {'seeds': 3}",
}


def test_bad_input_ends_in_one_line_and_a_failure(folder):
    for name, content in FILES.items():
        (folder / name).write_text(
            f"def get_config():\n    {content}\n    return found"
        )
    commands = [flags.format(folder=folder).split() for flags, _ in BAD]
    subprocess.run(
        [sys.executable, "-c", MANY, PROGRAM, str(folder), json.dumps(commands)],
        cwd=ROOT,
        check=True,
    )
    found, expected = [], []
    for number, (flags, said) in enumerate(BAD):
        code, out, err = (
            (folder / f"{number}.{name}").read_text() for name in ("code", "out", "err")
        )
        start = f"error: {said}"
        found.append([flags, code, out, err[: len(start)], err.count("\n")])
        expected.append([flags, "1", "", start, 1])
    assert found == expected


def test_a_backend_that_is_not_there_is_told(launched):
    ran = launched(JAX_PLATFORMS="cuda")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("error: JAX_PLATFORMS='cuda'")
    assert "Traceback" not in ran.stderr


def test_an_unreachable_coordinator_is_told_in_the_time_given(launched):
    flags = "--coordinator=localhost:1 --processes=2 --process=1"
    ran = launched(*flags.split(), "--coordinator_timeout=2")
    assert ran.returncode == 1
    assert "error: the processes of this job did not meet" in ran.stderr
    assert "within 2 s" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_where_an_error_was_found_is_shown_on_request(launched):
    ran = launched("--config.seed=1", "--traceback")
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
