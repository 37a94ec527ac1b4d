"""MetaNet: gradients of the support set become fast weights beside the slow ones.

Munkhdalai & Yu (2017). With u the embedder (slow weights Q) and b the base learner (W):

    task level      ∇_i = ∇_Q loss(b(W, u(Q, x_i)), y_i),          Q* = d(∇_1, …, ∇_T)
    example level   ∇_i = ∇_W loss(b(W, r_i), y_i), r_i = u(Q, Q*, x_i),  W*_i = m(∇_i)
    query           r = u(Q, Q*, x),  W* = Σ_i softmax_i(cos(r_i, r)) W*_i,
                    answer b(W, W*, r)

A layer with fast weights adds what both make of its input, relu(x W) + relu(x W*), the
last one before its softmax. d, an LSTM over the T gradients, and m, a network of three
layers, see one coordinate of a gradient at a time and share their weights over them.

u ends in one dense layer and b is two, the last three of the whole, which alone have
fast weights; b reads u's representation, which the paper allows. Chosen here, since it
does not say: gradients are constants to slow learning (`metanet.order`), the softmax
that task-level gradients pass is the base learner's, with any number of shots T is the
number of classes (the first so many supports, in their random order) and that loss is
cross-entropy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from nmn_jax import losses
from nmn_jax.feedback import plumbing
from nmn_jax.feedback.fast import ORDERS
from nmn_jax.memory import addressing
from nmn_jax.methods import end_to_end, parts
from nmn_jax.methods.base import Answer, Entry, Method
from nmn_jax.methods.end_to_end import Readout
from nmn_jax.nets import leaves
from nmn_jax.settings.records import Settings
from nmn_jax.settings.rivals import MetaNetSettings
from nmn_jax.tasks.base import Task
from nmn_jax.types import Network

# Beyond e^-7 a gradient is told by its logarithm (Andrychowicz et al., 2016, p).
LOGARITHMIC = 7.0


class Parts(NamedTuple):
    """The networks: of u its last layer, both of b, d's LSTM and output, and m."""

    embed: Network
    hidden: Network
    output: Network
    reader: leaves.Recurrent
    read: Network
    example: tuple[Network, ...]
    order: str


def make(settings: Settings, task: Task, *, steps: int) -> Method:
    """MetaNet behind the encoder of `settings`.

    Raises:
      ValueError: for a task that is no classification.
    """
    given = settings.metanet
    readout = make_readout(given, task.spec.targets)
    made = end_to_end.make("metanet", readout, settings, task, steps=steps)
    return made._replace(columns={**made.columns, "gradients": f"{given.order} order"})


def published(ways: int, shots: int) -> dict[str, dict[str, Any]]:
    """Card 5: Adam 1e-3; four of its five poolings, which leave nothing of 28 pixels
    rounded down."""
    del ways, shots
    return {
        "model": {"layers": 4},
        "optim": {"lr": 1e-3, "schedule": "constant", "clip": 0.0},
    }


USES = (*parts.ENCODER_AND_OPTIMIZER, "metanet")
ENTRY = Entry(make, "episodes", USES, published)


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: Any = None) -> jax.Array:
    """U[-0.1, 0.1], the paper's."""
    return jax.random.uniform(key, shape, dtype or float, -0.1, 0.1)


def make_parts(settings: MetaNetSettings, classes: int) -> Parts:
    """The networks of `make_readout`."""
    units, narrow = settings.units, settings.meta_units
    widths = {"embed": units, "hidden": units, "output": classes, "read": 1}
    dense = {name: leaves.make_dense(width, _uniform) for name, width in widths.items()}
    return Parts(
        **dense,
        reader=leaves.make_lstm(narrow),
        example=tuple(leaves.make_dense(n, _uniform) for n in (narrow, narrow, 1)),
        order=settings.order,
    )


def make_readout(settings: MetaNetSettings, classes: int) -> Readout:
    """MetaNet without its encoder; see the module."""
    units, narrow = settings.units, settings.meta_units
    made = make_parts(settings, classes)

    def init(key: jax.Array, width: int) -> dict[str, Any]:
        keys = jax.random.split(key, 8)
        inputs = (2, narrow, narrow)
        pairs = zip(made.example, keys[5:], inputs, strict=True)
        return {
            "embed": made.embed.init(keys[0], width),
            "base": {
                "hidden": made.hidden.init(keys[1], units),
                "output": made.output.init(keys[2], units),
            },
            "task": {
                "reader": made.reader.init(keys[3], 2),
                "read": made.read.init(keys[4], narrow),
            },
            "example": [layer.init(own, size) for layer, own, size in pairs],
        }

    def answer(params: Any, supports: jax.Array, *asked: jax.Array) -> Answer:
        return _answer(made, params, supports, *asked)

    return Readout(init, answer)


def _answer(made: Parts, params: Any, supports: jax.Array, *asked: jax.Array) -> Answer:
    targets, queries = asked
    count = min(targets.shape)
    fast = task_weights(made, params, supports[:count], targets[:count])
    keys, about = (_embed(made, params, fast, each) for each in (supports, queries))
    rows = example_weights(made, params, keys, targets)
    unravel = ravel_pytree(params["base"])[1]

    def one(query: jax.Array) -> tuple[jax.Array, jax.Array]:
        weights = addressing.address(keys, query, similarity=addressing.cosine)
        return _classify(made, params["base"], unravel(weights @ rows), query), weights

    outputs, weights = jax.vmap(one)(about)
    return Answer(outputs, {"query_weights": weights})


def _embed(made: Parts, params: Any, fast: Any, features: jax.Array) -> jax.Array:
    """u(Q, Q*, x) `[..., H]`; without fast weights where `fast` is None."""
    slow = jax.nn.relu(made.embed.apply(params["embed"], features))
    return (
        slow if fast is None else slow + jax.nn.relu(made.embed.apply(fast, features))
    )


def _classify(made: Parts, slow: Any, fast: Any, inputs: jax.Array) -> jax.Array:
    """b(W, W*, r) `[C]`; without fast weights where `fast` is None."""
    hidden = jax.nn.relu(made.hidden.apply(slow["hidden"], inputs))
    if fast is None:
        return jnp.asarray(made.output.apply(slow["output"], hidden))
    hidden = hidden + jax.nn.relu(made.hidden.apply(fast["hidden"], inputs))
    each = (made.output.apply(w["output"], hidden) for w in (slow, fast))
    return jnp.asarray(sum(each))


def _gradients(made: Parts, loss: Any, at: Any, examples: tuple) -> jax.Array:
    """Of every example by itself, flat: `[S, P]`."""

    def one(*example: jax.Array) -> jax.Array:
        slope = plumbing.gradient(lambda at: (loss(at, *example), ()), at)[2]
        flat: jax.Array = ravel_pytree(slope)[0]
        return flat

    found = ORDERS[made.order](jax.vmap(one)(*examples))
    return jnp.asarray(found)


def task_weights(
    made: Parts, params: Any, features: jax.Array, targets: jax.Array
) -> Any:
    """Q* from supports `[T, D]` with labels `[T, C]`."""

    def loss(embed: Any, example: jax.Array, target: jax.Array) -> jax.Array:
        inputs = _embed(made, {"embed": embed}, None, example)
        return losses.cross_entropy(
            _classify(made, params["base"], None, inputs), target
        )

    slopes = _gradients(made, loss, params["embed"], (features, targets))
    told = jnp.moveaxis(preprocessed(slopes), 0, 1)

    def one(coordinate: jax.Array) -> jax.Array:
        task, reader = params["task"], made.reader
        _, outputs, _ = reader.unroll(task["reader"], reader.carry(), coordinate)
        read: jax.Array = made.read.apply(task["read"], outputs[-1])[0]
        return read

    return ravel_pytree(params["embed"])[1](jax.vmap(one)(told))


def example_weights(
    made: Parts, params: Any, keys: jax.Array, targets: jax.Array
) -> jax.Array:
    """W*_i of every support, flat: `[S, P]`, from representations `[S, H]`."""

    def loss(base: Any, example: jax.Array, target: jax.Array) -> jax.Array:
        return losses.cross_entropy(_classify(made, base, None, example), target)

    hidden = preprocessed(_gradients(made, loss, params["base"], (keys, targets)))
    for layer, each in zip(made.example[:-1], params["example"], strict=False):
        hidden = jax.nn.relu(layer.apply(each, hidden))
    last: jax.Array = made.example[-1].apply(params["example"][-1], hidden)
    return last[..., 0]


def preprocessed(slopes: jax.Array) -> jax.Array:
    """(log|g| / p, sign g) where |g| ≥ e^-p, else (-1, e^p g): `[..., 2]`."""
    size = jnp.abs(slopes)
    least = jnp.exp(-LOGARITHMIC)
    told = jnp.log(jnp.maximum(size, least)) / LOGARITHMIC
    signs = jnp.where(size >= least, jnp.sign(slopes), slopes / least)
    return jnp.stack([told, signs], axis=-1)
