"""A memory-augmented network: labels arrive one step late, and a memory binds them.

Santoro et al. (2016): an LSTM is given an example and the label of the one before it
(and what it read last), emits keys, and answers from its state and what the memory
recalls. Weights learn over episodes; within one, only the memory does. The memory is
`memory.lrua`.

Both protocols are served. *k-th presentation*, as in the paper: every support is
answered before its label is told, and an example that is the k-th of its class has
k - 1 labelled predecessors; such answers are the evidence `support_outputs`. *N-way
S-shot*: each query follows the whole support set, alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nmn_jax import memory as memory_lib
from nmn_jax import model as model_lib
from nmn_jax.methods import end_to_end, parts
from nmn_jax.methods.base import SUPPORT_OUTPUTS, Answer, Entry, Method
from nmn_jax.methods.end_to_end import Readout
from nmn_jax.nets import leaves
from nmn_jax.nets.pixels import make_pixel_encoder
from nmn_jax.settings.records import ModelSettings, Settings
from nmn_jax.settings.rivals import MannSettings
from nmn_jax.tasks.base import Batch, Task
from nmn_jax.types import Network

ENCODER = ("channels", "layers", "norm", "precision")
# What no run has to give where images are not encoded.
UNUSED: dict[str, Any] = {"channels": 64, "layers": 3, "norm": "running"}


class Parts(NamedTuple):
    """An LSTM, the memory it reads and writes, and what it says to it and to us."""

    memory: memory_lib.Memory
    lstm: leaves.Recurrent
    keys: Network
    output: Network


class State(NamedTuple):
    """What is carried from one step of an episode to the next."""

    memory: Any
    lstm: Any
    recalled: jax.Array


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """The network of `settings.mann`, on pixels or behind the encoder.

    Raises:
      ValueError: for a task that is no classification, images smaller than
        `mann.pixels`, fewer slots than heads, or settings of an encoder that is not
        used.
    """
    given, encoder = settings.mann, None
    told = parts.encoder_columns(settings.model)
    transductive = settings.model.norm == "batch"
    if given.pixels:
        _check_unused(settings.model, given.pixels)
        encoder = make_pixel_encoder(given.pixels, task.spec.input_shape)
        told, transductive = {"encoder": f"{given.pixels}x{given.pixels} pixels"}, False
    readout = make_readout(given, task.spec.targets)
    design = end_to_end.make_design(
        "mann", readout, settings, task, steps=steps, encoder=encoder
    )
    if given.loss == "every_step":
        design = design._replace(loss=lambda said, batch: step_loss(task, said, batch))
    columns = {"method": "mann", **told, "loss": given.loss.replace("_", " ")}
    method = end_to_end.make_method(design)
    return method._replace(columns=columns, transductive=transductive)


def _check_unused(model: ModelSettings, pixels: int) -> None:
    expected = dataclasses.replace(model, **UNUSED, precision=ModelSettings.precision)
    for name in ENCODER:
        if getattr(model, name) != getattr(expected, name):
            raise ValueError(
                f"model.{name}={getattr(model, name)!r} has no effect with mann.pixels="
                f"{pixels}: images are not encoded; leave it out, or give mann.pixels=0"
            )


def published(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    """Card 3: Adam 1e-3 (a reimplementation's; the paper's own is not known)."""
    del ways, shots
    return {
        "model": UNUSED,
        "optim": {"lr": 1e-3, "schedule": "constant", "clip": 0.0},
    }


ENTRY = Entry(make, "episodes", (*parts.ENCODER_AND_OPTIMIZER, "mann"), published)


def step_loss(task: Task, said: Answer, batch: Batch) -> jax.Array:
    """The loss of every step, supports before their label is told among them."""
    each = jax.vmap(jax.vmap(task.loss))
    losses = (
        each(said.evidence[SUPPORT_OUTPUTS], batch.context.targets),
        each(said.output, batch.answers),
    )
    return jnp.mean(jnp.concatenate(losses, axis=1))


def make_readout(settings: MannSettings, classes: int) -> Readout:
    """The network that is given features.

    Raises:
      ValueError: for fewer slots than heads.
    """
    memory = memory_lib.lrua(
        slots=settings.slots, width=settings.width,
        heads=settings.heads, decay=settings.decay,
    )  # fmt: skip
    made = Parts(
        memory,
        leaves.make_lstm(settings.units),
        leaves.make_dense(memory.width),
        leaves.make_dense(classes),
    )

    def init(key: jax.Array, width: int) -> dict[str, Any]:
        memory_key, lstm_key, keys_key, output_key = jax.random.split(key, 4)
        return {
            "memory": memory.init(memory_key),
            "lstm": made.lstm.init(lstm_key, width + classes + memory.width),
            "keys": made.keys.init(keys_key, settings.units),
            "output": made.output.init(output_key, settings.units + memory.width),
        }

    def answer(params: Any, supports: jax.Array, *asked: jax.Array) -> Answer:
        return _answer(made, params, supports, *asked)

    return Readout(init, answer)


def _answer(made: Parts, params: Any, supports: jax.Array, *asked: jax.Array) -> Answer:
    """The supports in turn, each told its predecessor's label, then every query."""
    targets, queries = asked
    late = model_lib.previous(targets, jnp.zeros_like(targets[0]))
    state, answered = jax.lax.scan(
        lambda state, given: step(made, params, state, given),
        start(made, params),
        jnp.concatenate([supports, late], axis=1),
    )

    def one(query: jax.Array) -> jax.Array:
        return step(made, params, state, jnp.concatenate([query, targets[-1]]))[1]

    return Answer(jax.vmap(one)(queries), {SUPPORT_OUTPUTS: answered})


def start(made: Parts, params: Any) -> State:
    """Before the first step of an episode: a memory that is wiped."""
    recalled = jnp.zeros((made.memory.width,), params["output"]["kernel"].dtype)
    return State(made.memory.start(params["memory"]), made.lstm.carry(), recalled)


def step(
    made: Parts, params: Any, state: State, given: jax.Array
) -> tuple[State, jax.Array]:
    """One example with the label of the one before, `[D + C]` -> outputs `[C]`."""
    inputs = jnp.concatenate([given, state.recalled])
    carry, hidden = made.lstm.apply(params["lstm"], state.lstm, inputs)
    keys = jnp.tanh(made.keys.apply(params["keys"], hidden))
    reading = made.memory.read(params["memory"], state.memory, keys)
    stored = made.memory.write(params["memory"], state.memory, reading, keys)
    known = jnp.concatenate([hidden, reading.recalled])
    after = State(stored.state, carry, reading.recalled)
    return after, made.output.apply(params["output"], known)
