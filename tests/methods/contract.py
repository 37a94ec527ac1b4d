"""Small tasks and settings under which every line of the table can be run."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nmn_jax.methods import mann, table
from nmn_jax.methods.base import Entry, Method
from nmn_jax.settings import presets
from nmn_jax.tasks import episodes, streams, trajectories
from nmn_jax.tasks.base import Task
from tests import tiny

WAYS, CLASSES, SIDE, STEPS = 3, 4, 8, 20
SMALL = {"channels": 4, "layers": 2}
MEMORY = {"width": 12, "key_width": 6}
# Rows of a stream's slots; few, so that all of them are written soon.
STREAM = {"slots": 6, "write_rule": "same_value", "norm": "running"}
# A forecast has no labels and no keys.
FORECAST = {
    "slots": 4, "width": 6, "key_width": 0, "compose": "query_mem",
    "label_input": "none", "write_rule": "convex",
}  # fmt: skip


class Case(NamedTuple):
    """One method on one small task, with the task's data.

    fixed: leaves of the slim state that no gradient is to move, with the reason
    permutes: whether permuting classes permutes outputs from the start
    """

    method: Method
    task: Task
    source: Any
    fixed: dict[str, str]
    permutes: bool


# A head that is a dense layer tells classes apart before it has learned anything.
HEADS = ("maml", "anil", "meta_sgd", "maml_plus", "reptile", "mann", "metanet", "snail")

# Method, preset, overrides of settings, leaves that stay as they are.
LINES: dict[str, tuple[str, str, dict, dict[str, str]]] = {
    "nmn": ("nmn", "recommended", {"sg": {"use": "both"}}, {}),
    "nmn-paper": ("nmn", "paper_fast_lr", {"sg": {"use": "both"}}, {}),
    "prototype": ("prototype", "recommended", {}, {}),
    "prototype-bfloat16": (
        "prototype",
        "recommended",
        {"model": {"precision": "bfloat16"}},
        {},
    ),
    "prototype-average": (
        "prototype",
        "recommended",
        {"optim": {"average": 0.5}},
        {},
    ),
    "mann": (
        "mann",
        "recommended",
        {
            "mann": {"pixels": 4, "units": 8, "slots": 6, "width": 4, "heads": 2},
            "model": mann.UNUSED,
        },
        {},
    ),
    "metanet": (
        "metanet",
        "recommended",
        {"metanet": {"units": 6, "meta_units": 4}, "model": {"layers": 1}},
        {},
    ),
    "snail": (
        "snail",
        "recommended",
        {
            "snail": {"keys": 3, "values": 2, "filters": 3, "reach": 1},
            "model": {"layers": 1},
        },
        {},
    ),
    # As few inner steps as tell one from another: every one is compiled.
    "maml": ("maml", "recommended", {"maml": {"test_steps": 2}}, {}),
    "meta_sgd": (
        "meta_sgd",
        "recommended",
        {"maml": {"test_steps": 1}, "model": {"layers": 1}},
        {},
    ),
    "maml_plus": (
        "maml_plus",
        "recommended",
        {"maml": {"steps": 2, "test_steps": 2}, "model": {"layers": 1}},
        {},
    ),
    "reptile": (
        "reptile",
        "recommended",
        {
            "reptile": {"steps": 2, "test_steps": 3, "rate": 0.01, "batch": 4},
            "model": {"layers": 1},
        },
        {},
    ),
    "nmn_stream": (
        "nmn_stream",
        "recommended",
        {"sg": {"use": "both"}},
        {"network.params.cell.memory.rows": "a stream starts with them once"},
    ),
    "nmn_replay": (
        "nmn_replay",
        "recommended",
        {"sg": {"use": "off"}, "replay": {"count": 2, "kept": 3}},
        {"inner.network.params.cell.memory.rows": "a stream starts with them once"},
    ),
    # What predicts the future of the whole state, along a chain of windows.
    "nmn_stream-future": (
        "nmn_stream",
        "recommended",
        {"stream": {"target": "bootstrap", "trace": 0.5, "horizon": 2}},
        {"network.params.cell.memory.rows": "a stream starts with them once"},
    ),
    "cnn": ("cnn", "recommended", {}, {}),
    "cnn_replay": ("cnn_replay", "recommended", {"replay": {"count": 2}}, {}),
    "nmn_forecast": (
        "nmn_forecast",
        "recommended",
        {
            "sg": {"use": "both", "predictor": "linear", "rate": 0.1},
            "forecast": {"units": 4, "frame": "displacement", "velocity_frames": 2},
            "stream": {"carry": "memory"},
        },
        {"network.params.cell.memory.rows": "a stream starts with them once"},
    ),
    "attention": (
        "attention",
        "recommended",
        {"forecast": {"units": 4, "frame": "velocity"}},
        {},
    ),
    "maml_forecast": (
        "maml_forecast",
        "recommended",
        {"forecast": {"units": 4}, "maml": {"steps": 1}},
        {},
    ),
    "maml_plus_forecast": (
        "maml_plus_forecast",
        "recommended",
        {"forecast": {"units": 4}, "maml": {"steps": 2}},
        {},
    ),
}


def entry(name: str) -> Entry:
    """The line of the table that a case is of."""
    return table.METHODS[LINES[name][0] if name in LINES else name]


def form(name: str) -> str:
    return entry(name).form


@functools.cache
def case(name: str) -> Case:
    """A case by name; a method without a line here gets its preset's settings."""
    method, preset, overrides, fixed = LINES.get(name, (name, "recommended", {}, {}))
    line = table.METHODS[method]
    if line.form == "forecast":
        return forecast_case(line, overrides, fixed)
    stream = line.form == "stream"
    remembers = preset == "recommended" and "model" in line.uses
    changes = line.published(WAYS, 1)
    small = {**SMALL, **(MEMORY if remembers else {})}
    changes["model"] = {**changes.get("model", {}), **small}
    if stream:
        changes["model"].update(STREAM if remembers else {"norm": "running"})
    settings = presets.resolve(
        preset, ways=CLASSES if stream else WAYS, shots=1, uses=line.uses,
        overrides=overrides, default_use="off", changes=changes,
    )  # fmt: skip
    task = stream_task() if stream else episode_task()
    source = pools() if stream else characters()
    made = line.make(settings, task, steps=STEPS)
    permutes = not stream and preset == "recommended" and method not in HEADS
    return Case(made, task, source, fixed, permutes)


def episode_task(queries: int = 2) -> Task:
    """3-way 1-shot, four episodes a batch."""
    return episodes.classification(
        ways=WAYS, shots=1, queries=queries, episodes=4, image_shape=(SIDE, SIDE)
    )


def forecast_case(line: Entry, overrides: dict, fixed: dict[str, str]) -> Case:
    """Three steps of paths that turn are seen, three are asked for, four at a time."""
    changes = {"model": FORECAST} if "model" in line.uses else {}
    settings = presets.resolve(
        "recommended", ways=WAYS, shots=1, uses=line.uses, overrides=overrides,
        default_use="off", changes=changes,
    )  # fmt: skip
    task = trajectories.forecast(observed=3, horizon=3, batch=4)
    made = line.make(settings, task, steps=STEPS)
    return Case(made, task, paths(), fixed, permutes=False)


def paths(count: int = 9, steps: int = 6) -> jax.Array:
    """Walks at about one speed in directions of their own, `[count, steps, 2]`."""
    draw = np.random.default_rng(2)
    turns = draw.uniform(0, 6, (count, 1)) + 0.3 * np.arange(steps)
    moves = 0.1 * np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    return jnp.asarray(np.cumsum(moves, axis=1) - 0.2, jnp.float32)


def stream_task() -> Task:
    """Four classes in windows of four, two of them in every fifth window only."""
    return streams.rare_classes(
        classes=CLASSES, period=5, batch=4, image_shape=(SIDE, SIDE)
    )


def characters() -> jax.Array:
    """Classes that differ: a bright block each, with noise, `[8, 5, 8, 8]`."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 90, (8, 5, SIDE, SIDE))
    for kind in range(8):
        row, column = divmod(kind, 4)
        images[kind, :, 4 * row : 4 * row + 4, 2 * column : 2 * column + 2] += 160
    return jnp.asarray(images, jnp.uint8)


def pools() -> streams.Pools:
    images = characters()[:CLASSES].reshape(-1, SIDE, SIDE)
    labels = jnp.repeat(jnp.arange(CLASSES), 5)
    return streams.Pools(images, labels, jnp.arange(10), jnp.arange(10, 20))


@functools.cache
def program(name: str) -> Any:
    """`(state, key, source) -> (state, metrics)`, compiled once per case."""
    chosen = case(name)

    def step(state: Any, key: jax.Array, source: Any) -> tuple:
        return chosen.method.step(state, chosen.task.sample(key, state.step, source))

    return tiny.jit(step)


@functools.cache
def trained(name: str, steps: int = 6) -> Any:
    """The state after so many steps."""
    chosen = case(name)
    key, start = jax.random.split(jax.random.key(1))
    state = chosen.method.init(start)
    for _ in range(steps):
        state, _ = program(name)(state, key, chosen.source)
    return state


def leaves(tree: Any) -> dict[str, jax.Array]:
    """Leaves by name."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in jax.tree.leaves_with_path(tree)
    }
