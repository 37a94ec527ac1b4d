"""Does a memory that reads a few slots recall as well as one that reads them all?

    python -m benchmarks.recall --train 100 --out benchmarks/recall.json

One store of 1,000 pairs of key and class, then queries by noisy keys. Keys are 32
normal numbers, classes 10 and random; a query is a key with noise of a given deviation
added. The network (encoder, controllers, memory, decoder) is trained from scratch for
every way of reading, on the same drawn episodes; nothing of an episode is seen twice.
One JSON line per way and size: accuracy on fresh episodes in percent with its 95 %
interval over episodes, and seconds. Sizes after the first are asked with the weights
trained on the first and a freshly drawn initial memory.
"""

from __future__ import annotations

from experiments.common import runtime

if __name__ == "__main__":
    runtime.prepare()

import argparse
import functools
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.common import statistics
from nmn_jax import model as model_lib
from nmn_jax.settings import builders
from nmn_jax.settings.records import ModelSettings
from nmn_jax.tasks.base import Spec

PAIRS, KEY, CLASSES, READS = 1000, 32, 10, 8
SPEC = Spec("episodes", "classification", (KEY,), CLASSES)
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "sparse": {"reads": READS},
    "signs": {"reads": READS, "search": "signs"},
}


def settings(way: str, slots: int) -> ModelSettings:
    """A network around a memory of so many slots, read in one of the ways."""
    return ModelSettings(
        slots=slots, width=64, key_width=32, controller="skip_lstm",
        compose="query_mem", label_input="write", similarity="cosine", scale=10.0,
        write_rule="in_turn", **WAYS[way],
    )  # fmt: skip


def draw(key: jax.Array, queries: int, noise: float) -> tuple[jax.Array, ...]:
    """Keys, classes of the pairs; noisy keys and the classes that are asked for."""
    keys = jax.random.split(key, 4)
    stored = jax.random.normal(keys[0], (PAIRS, KEY))
    classes = jax.random.randint(keys[1], (PAIRS,), 0, CLASSES)
    asked = jax.random.choice(keys[2], PAIRS, (queries,), replace=False)
    noisy = stored[asked] + noise * jax.random.normal(keys[3], (queries, KEY))
    return stored, classes, noisy, classes[asked]


def answers(model: model_lib.Model, params: Any, episode: tuple) -> jax.Array:
    """Logits `[Q, C]` of one episode."""
    stored, classes, noisy, _ = episode
    inputs = jnp.concatenate([stored, noisy])[None]
    features = model.encoder.apply(
        params.encoder, (), inputs, supports=PAIRS, phase="train"
    )[0][0]
    given = model_lib.Episode(
        features[:PAIRS], jax.nn.one_hot(classes, CLASSES), features[PAIRS:]
    )
    probes = model_lib.zero_probes(model, PAIRS, len(noisy), features.dtype)
    run = model_lib.run_episode(
        model, params, given, support_pass=model_lib.slow_support(model), probes=probes
    )
    return run.outputs


def train(way: str, options: argparse.Namespace) -> Any:
    """Parameters after training on fresh episodes."""
    model = builders.make_model(settings(way, options.slots[0]), SPEC)
    params, _ = model_lib.init(model, jax.random.key(0))
    optimizer = optax.adam(options.lr)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        episode = draw(key, options.queries, options.noise)
        logits = answers(model, params, episode)
        return jnp.mean(
            optax.softmax_cross_entropy_with_integer_labels(logits, episode[3])
        )

    @jax.jit
    def step(params: Any, state: Any, key: jax.Array) -> tuple:
        keys = jax.random.split(key, options.episodes)

        def mean_loss(params: Any) -> jax.Array:
            return jnp.mean(jax.vmap(loss, (None, 0))(params, keys))

        value, grads = jax.value_and_grad(mean_loss)(params)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    for number in range(options.train):
        key = jax.random.fold_in(jax.random.key(1), number)
        params, state, _ = step(params, state, key)
    return jax.block_until_ready(params)


def accuracies(way: str, slots: int, params: Any, options: Any) -> np.ndarray:
    """Percent right in every one of the fresh episodes."""
    model = builders.make_model(settings(way, slots), SPEC)
    if slots != options.slots[0]:
        fresh = model.cell.memory.init(jax.random.key(2)).rows
        memory = params.cell.memory._replace(rows=fresh)
        params = params._replace(cell=params.cell._replace(memory=memory))

    @functools.partial(jax.jit)
    def right(key: jax.Array) -> jax.Array:
        episode = draw(key, PAIRS, options.noise)
        found = jnp.argmax(answers(model, params, episode), axis=-1)
        return 100 * jnp.mean(found == episode[3])

    return np.array(
        [
            right(jax.random.fold_in(jax.random.key(3), number))
            for number in range(options.tests)
        ]
    )


def measure(way: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The JSON lines of one way of reading."""
    begun = time.perf_counter()
    params = train(way, options)
    trained, lines = time.perf_counter() - begun, []
    for slots in options.slots:
        begun = time.perf_counter()
        found = accuracies(way, slots, params, options)
        known = statistics.estimate(found.tolist())
        lines.append(
            {
                "benchmark": "recall", "way": way, "slots": slots, "pairs": PAIRS,
                "trained_on_slots": options.slots[0], "train_steps": options.train,
                "noise": options.noise, "accuracy": round(known.mean, 2),
                "half_interval": round(known.half or 0.0, 2), "episodes": options.tests,
                "train_seconds": round(trained, 1),
                "test_seconds": round(time.perf_counter() - begun, 1),
                "log_scale": round(float(params.cell.memory.log_scale), 3),
                "device": jax.devices()[0].device_kind,
            }
        )  # fmt: skip
    return lines


def main() -> None:
    """Print one JSON line per way and size, and write them where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--slots", nargs="+", type=int, default=[1024])
    parser.add_argument("--train", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--queries", type=int, default=250)
    parser.add_argument("--tests", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    lines = []
    for way in options.ways:
        for line in measure(way, options):
            lines.append(json.dumps(line))
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
