"""The house rules that a reader relies on, checked on the source."""

import ast
import functools
import graphlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "nmn_jax"
CODE = ("nmn_jax", "experiments", "benchmarks")

# A room, a folder or a file, imports only rooms that stand above it. New ones are
# entered here.
ROOMS = [
    "types",
    "losses",
    "diagnostics",
    "nets",
    "memory",
    "controllers",
    "unrolling",
    "cell",
    "model",
    "feedback",
    "data",
    "tasks",
    "settings",
    "methods",
]
# What a long run needs knows nothing of the memory network.
RUN = {"types", "diagnostics"}
# Imported by whoever trains, not with the library.
APART = {"data", "run"}
# Kernels with a gradient of their own, inside a forward pass; the last two are the way
# back through a scan, for which the compiler's own would keep every memory.
KERNELS = {
    "nmn_jax/nets/tiled.py",
    "nmn_jax/nets/windows.py",
    "nmn_jax/nets/bilinear.py",
    "nmn_jax/nets/per_task.py",
    "nmn_jax/nets/lstm.py",
    "nmn_jax/memory/journal.py",
    "nmn_jax/unrolling.py",
}
DERIVATIVES = {
    "grad", "value_and_grad", "vjp", "jvp", "linearize", "linear_transpose", "jacfwd",
    "jacrev", "hessian", "custom_vjp", "custom_jvp", "custom_gradient",
}  # fmt: skip
MODULE_LINES = 300
FUNCTION_LINES = 40
POSITIONAL = 4
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


def modules_of(path: pathlib.Path, package: str) -> set[str]:
    """What a file imports out of a package of ours, by names without the package's."""
    start = package + "."
    return {each[len(start) :] for each in imports(path) if each.startswith(start)}


def rooms_of(path: pathlib.Path, package: str = "nmn_jax") -> set[str]:
    """Rooms that a file imports from, such as `cell` or `data`."""
    return {each.split(".")[0] for each in modules_of(path, package)}


def files_of(folder: pathlib.Path, room: str) -> list[pathlib.Path]:
    """The files of a room, which is a folder or one file."""
    alone = folder / f"{room}.py"
    return [alone] if alone.exists() else sorted((folder / room).rglob("*.py"))


def test_every_room_has_its_place():
    found = {each.stem for each in LIBRARY.glob("*.py")} - {"__init__"}
    found |= {each.parent.name for each in LIBRARY.glob("*/__init__.py")}
    assert found == {*ROOMS, "run"}, "enter them in ROOMS"


@pytest.mark.parametrize("room", [*ROOMS, "run"])
def test_imports_point_one_way(room):
    allowed = RUN if room == "run" else set(ROOMS[: ROOMS.index(room)])
    for path in files_of(LIBRARY, room):
        below = rooms_of(path) - allowed - {room}
        assert not below, f"{name(path)} imports {sorted(below)}, which stand below it"


def test_a_benchmark_knows_what_is_common_and_no_other_benchmark():
    folder = ROOT / "experiments"
    benchmarks = {each.parent.name for each in folder.glob("*/__main__.py")}
    assert {"omniglot", "rare_classes"} <= benchmarks
    for path in sources("experiments"):
        own = path.parent.name
        known = rooms_of(path, "experiments")
        if own == "common":
            assert known <= {"common"}, name(path)
        elif own in benchmarks and path.name != "__main__.py":
            assert known <= {"common", own}, name(path)
        else:
            # The commands, and what gathers all results, name no other benchmark.
            assert not (known & benchmarks) - {own}, name(path)


@pytest.mark.parametrize("package", ["nmn_jax", "experiments"])
def test_no_modules_import_each_other_in_a_circle(package):
    places = {
        ".".join(path.relative_to(ROOT / package).with_suffix("").parts): path
        for path in sources(package)
        if path.name != "__init__.py"
    }
    graph = {
        module: {
            known
            for each in modules_of(path, package)
            for known in (each, each.rpartition(".")[0])
            if known in places
        }
        for module, path in places.items()
    }
    assert any(graph.values())
    graphlib.TopologicalSorter(graph).prepare()


def test_the_library_does_not_know_the_experiments():
    for path in sources("nmn_jax"):
        assert not packages(path) & {"experiments", "benchmarks", "tests"}, name(path)


def test_data_is_read_without_jax_and_without_the_library():
    for path in sources("nmn_jax/data"):
        assert rooms_of(path) <= {"data"}, name(path)
        if path.name != "episodes.py":
            assert not packages(path) & {"jax", "flax", "optax"}, name(path)
            assert "data.episodes" not in modules_of(path, "nmn_jax"), name(path)


def test_configs_need_no_jax_of_their_own():
    for path in sources("experiments"):
        if path.name in ("config.py", "records.py"):
            assert not packages(path) & {"jax", "flax", "optax"}, name(path)


def test_flax_is_in_one_file_and_tensorflow_in_none():
    flax = {name(path) for path in sources(*CODE) if "flax" in packages(path)}
    assert flax == {"nmn_jax/nets/leaves.py"}
    assert not {name(path) for path in sources(*CODE) if packages(path) & NEVER}


def mentions(path: pathlib.Path, names: set[str]) -> set[str]:
    """Which of these names a file uses, as attributes or imported."""
    used = {
        getattr(node, "attr", getattr(node, "name", ""))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.alias)
    }
    return used & names


def test_gradient_is_stopped_in_one_file():
    stopping = {
        name(path) for path in sources(*CODE) if mentions(path, {"stop_gradient"})
    }
    assert stopping == {"nmn_jax/feedback/plumbing.py"}


def test_every_backward_pass_is_in_one_room():
    """Benchmarks differentiate what they time; nothing else does."""
    for path in sources("nmn_jax", "experiments"):
        found = {
            node.attr
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "jax"
            and node.attr in DERIVATIVES
        } | {each for each in DERIVATIVES if f"jax.{each}" in imports(path)}
        if path.parent != LIBRARY / "feedback" and name(path) not in KERNELS:
            assert not found, f"{name(path)} calls {sorted(found)}; feedback/ does that"
    plumbing = LIBRARY / "feedback" / "plumbing.py"
    assert mentions(plumbing, DERIVATIVES) == {"vjp", "value_and_grad"}


def test_no_module_is_long():
    lengths = {
        name(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources(*CODE)
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
        for path in sources(*CODE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and body_lines(node) > FUNCTION_LINES
    }
    assert long == {}


def positional(function: ast.FunctionDef | ast.Lambda) -> int:
    """Parameters that can be given by position, without the object itself."""
    given = [*function.args.posonlyargs, *function.args.args]
    return len([each for each in given if each.arg not in ("self", "cls")])


def test_no_function_takes_many_arguments_by_position():
    many = {
        f"{name(path)}:{node.lineno}": positional(node)
        for path in sources(*CODE)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.Lambda)
        and positional(node) > POSITIONAL
    }
    assert many == {}


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


def test_every_room_is_at_hand_but_those_of_training():
    listed = rooms_of(LIBRARY / "__init__.py")
    assert listed == set(ROOMS) - APART


def test_the_types_are_shipped():
    assert (LIBRARY / "py.typed").is_file()
