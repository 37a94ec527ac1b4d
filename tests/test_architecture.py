"""The house rules that a reader relies on, checked on the source."""

import ast
import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "nmn_jax"

# A module imports only modules that stand above it. New modules are entered here.
ORDER = [
    "types",
    "settings",
    "winograd",
    "convolution",
    "tiled",
    "networks",
    "memory",
    "controllers",
    "cell",
    "synthetic",
    "gradients",
    "signals",
    "fast",
    "losses",
    "diagnostics",
    "model",
    "feedback",
    "learner",
    "window",
    "stream",
    "replay",
    "adaptation",
    "builders",
    "presets",
]
# These know nothing of the memory network, and import one another in this order.
TOOLS = ["config", "parallel", "fingerprint", "checkpoint", "preemption", "metrics"]
MODULE_LINES = 300
FUNCTION_LINES = 40
IMPORT_SECONDS = 1.5
# Slow to import, and needed by few: imported inside the functions that use them.
LATE = ["tensorflow_datasets", "orbax", "matplotlib", "tensorboardX", "ml_collections"]
NEVER = {"tensorflow", "clu", "torch"}


def sources(*folders: str) -> list[pathlib.Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names of everything a file imports, also inside functions."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: pathlib.Path) -> set[str]:
    return {each.split(".")[0] for each in imports(path)}


def library_imports(path: pathlib.Path) -> set[str]:
    """Modules of the library that a file imports, such as `cell` or `data.files`."""
    found = set()
    for each in imports(path):
        parts = each.split(".")
        if parts[0] == "nmn_jax" and len(parts) > 1:
            found.add(".".join(parts[1:3]) if parts[1] == "data" else parts[1])
    return found


def test_every_module_has_its_place():
    modules = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}
    assert modules - set(ORDER) - set(TOOLS) == set(), "enter them in ORDER"
    assert set(ORDER) | set(TOOLS) <= modules


@pytest.mark.parametrize("modules", [ORDER, TOOLS], ids=["core", "tools"])
def test_imports_point_one_way(modules):
    for place, module in enumerate(modules):
        below = library_imports(LIBRARY / f"{module}.py") - set(modules[:place])
        assert not below, f"{module} imports {sorted(below)}, which stand below it"


def test_the_library_does_not_know_the_experiments():
    for path in sources("nmn_jax"):
        assert not packages(path) & {"experiments", "benchmarks", "tests"}, name(path)


def test_data_is_read_without_jax_and_without_the_library():
    for path in sources("nmn_jax/data"):
        outside = {
            each for each in library_imports(path) if not each.startswith("data")
        }
        assert not outside, name(path)
        if path.name != "episodes.py":
            assert not packages(path) & {"jax", "flax", "optax"}, name(path)
            assert "data.episodes" not in library_imports(path), name(path)


def test_configs_need_no_jax_of_their_own():
    for path in sources("experiments/configs"):
        assert not packages(path) & {"jax", "flax", "optax"}, name(path)


def test_flax_is_in_one_file_and_tensorflow_in_none():
    every = sources("nmn_jax", "experiments", "benchmarks")
    assert {name(p) for p in every if "flax" in packages(p)} == {"nmn_jax/networks.py"}
    assert not {name(p) for p in every if packages(p) & NEVER}


def test_gradient_is_stopped_in_one_file():
    stopping = [
        name(path)
        for path in sources("nmn_jax", "experiments", "benchmarks")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.alias)
        and "stop_gradient" in (getattr(node, "attr", ""), getattr(node, "name", ""))
    ]
    assert set(stopping) == {"nmn_jax/gradients.py"}


def test_no_module_is_long():
    lengths = {
        name(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources("nmn_jax", "experiments", "benchmarks")
    }
    assert {p: n for p, n in lengths.items() if n > MODULE_LINES} == {}


def body_lines(function: ast.FunctionDef) -> int:
    """From the first statement after the docstring to the last."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_function_is_long():
    long = {
        f"{name(path)}:{node.lineno} {node.name}": body_lines(node)
        for path in sources("nmn_jax", "experiments", "benchmarks")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and body_lines(node) > FUNCTION_LINES
    }
    assert long == {}


def test_every_module_and_public_function_says_what_it_is():
    silent = []
    for path in sources("nmn_jax", "experiments"):
        public = [
            node
            for node in tree(path).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
        ]
        silent += [
            f"{name(path)} {getattr(node, 'name', 'module')}"
            for node in (tree(path), *public)
            if ast.get_docstring(node) is None
        ]
    assert silent == []


IMPORTING = """
import sys, time
import nmn_jax
import json
print(json.dumps([time.process_time(), sorted(sys.modules)]))
"""


def test_importing_is_quick_and_leaves_out_what_few_need():
    """Processor time, so that other programs on the machine do not count."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seconds = []
    for _ in range(3):
        said = subprocess.run(
            [sys.executable, "-c", IMPORTING],
            env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        spent, modules = json.loads(said)
        seconds.append(spent)
    assert min(seconds) < IMPORT_SECONDS
    assert [each for each in LATE if each in modules] == []


def test_the_types_are_shipped():
    assert (LIBRARY / "py.typed").is_file()
