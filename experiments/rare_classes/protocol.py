"""Data, jitted functions and measures of a rare-class run; no files are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import cnn, fewshot
from experiments import rare_settings as settings_lib
from nmn_jax import builders, losses, presets, replay
from nmn_jax.data import mnist
from nmn_jax.stream import StreamLearner
from nmn_jax.window import Window


class Pools(NamedTuple):
    """Training images `[N, H, W]`, labels `[N]`, and which are of which kind."""

    images: jax.Array
    labels: jax.Array
    frequent: jax.Array
    rare: jax.Array


class Asked(NamedTuple):
    """Images `[N, H, W]` and labels `[N]` that no training step sees."""

    images: np.ndarray
    labels: np.ndarray


class Sources(NamedTuple):
    """What to train on, and unseen images of each kind."""

    pools: Pools
    rare: Asked
    frequent: Asked


class RunState(NamedTuple):
    """All that a checkpoint holds; `key` decides what the stream brings."""

    learner: Any
    key: jax.Array


class Functions(NamedTuple):
    """init: `() -> RunState`
    step: `(RunState, Pools) -> (RunState, metrics)`, donated
    predict: `(learner state, images [N, H, W]) -> logits [N, C]`
    """

    init: Callable[[], RunState]
    step: Callable[[RunState, Pools], tuple[RunState, dict[str, jax.Array]]]
    predict: Callable[[Any, jax.Array], jax.Array]


DATA: dict[str, Callable[[], mnist.Digits]] = {
    "mnist": mnist.load,
    "digits": mnist.digits,
}


def load(data: settings_lib.Data, part: str) -> Sources:
    """Training pools, and the images of `part` (`test` or `validation`).

    Validation images are the last `held_out` training images, in no pool.

    Raises:
      ValueError: for an unknown source or part, frequent classes that are no classes or
        all of them, or no image left to train on.
      FileNotFoundError: if MNIST is not at hand; says what to do.
    """
    digits = builders.pick(DATA, data.source, "data.source")()
    _check(data, len(digits.train_labels))
    cut = len(digits.train_labels) - data.held_out
    parts = {
        "test": Asked(digits.test_images, digits.test_labels),
        "validation": Asked(digits.train_images[cut:], digits.train_labels[cut:]),
    }
    asked = builders.pick(parts, part, "eval.part")
    labels = digits.train_labels[:cut]
    often = np.isin(labels, data.frequent)
    pools = Pools(
        *map(jnp.asarray, (digits.train_images[:cut], labels)),
        *(jnp.asarray(np.flatnonzero(chosen)) for chosen in (often, ~often)),
    )
    often = np.isin(asked.labels, data.frequent)
    rare, frequent = (Asked(*(each[chosen] for each in asked)) for chosen in
                      (~often, often))  # fmt: skip
    return Sources(pools, rare, frequent)


def _check(data: settings_lib.Data, images: int) -> None:
    known = set(range(settings_lib.CLASSES))
    if not (set(data.frequent) < known and data.frequent):
        raise ValueError(
            f"data.frequent={data.frequent}: name some of the classes 0 to "
            f"{settings_lib.CLASSES - 1}, but not all"
        )
    if data.period < 2:
        raise ValueError(f"data.period={data.period}: must be at least 2")
    if not 0 < data.held_out < images:
        raise ValueError(
            f"data.held_out={data.held_out}: must be positive and leave some of the "
            f"{images} images of {data.source} to train on"
        )


def draw(
    pools: Pools, key: jax.Array, iteration: jax.Array, *, period: int, batch: int
) -> Window:
    """The window of iteration 1, 2, …: rare classes alone at every `period`-th."""
    key = jax.random.fold_in(key, iteration)
    often, seldom = (
        pool[jax.random.randint(key, (batch,), 0, len(pool))]
        for pool in (pools.frequent, pools.rare)
    )
    chosen = jnp.where(iteration % period == 0, seldom, often)
    labels = jax.nn.one_hot(pools.labels[chosen], settings_lib.CLASSES)
    return Window(pools.images[chosen].astype(jnp.float32) / 255, labels)


def _nmn(run: settings_lib.Run) -> StreamLearner:
    return presets.make_stream_learner(
        settings_lib.resolve(run),
        classes=settings_lib.CLASSES,
        steps=run.train.steps,
        target=run.stream.target,
        carry=run.stream.carry,
    )[1]


def _cnn(run: settings_lib.Run) -> StreamLearner:
    return cnn.make_learner(
        settings_lib.resolve(run), classes=settings_lib.CLASSES, steps=run.train.steps
    )


METHODS = {"nmn": _nmn, "cnn": _cnn}


def make_learner(run: settings_lib.Run) -> StreamLearner:
    """The learner of a run, with replay if its config asks for it.

    Raises:
      ValueError: for an unknown method, preset or choice.
    """
    learner = builders.pick(METHODS, run.method, "method")(run)
    if not run.stream.replayed:
        return learner
    return replay.with_replay(
        learner,
        classes=settings_lib.CLASSES,
        count=run.stream.replayed,
        kept=run.stream.kept,
    )


def make_functions(run: settings_lib.Run) -> Functions:
    """Jitted functions of a run; raises as `make_learner`."""
    learner = make_learner(run)

    def init() -> RunState:
        data_key, init_key = jax.random.split(jax.random.key(run.seed))
        # Copies: a donated state must not hold the same buffer twice.
        return RunState(jax.tree.map(jnp.copy, learner.init(init_key)), data_key)

    def step(state: RunState, pools: Pools) -> tuple[RunState, dict]:
        window = draw(
            pools, state.key, state.learner.step + 1,
            period=run.data.period, batch=run.train.batch,
        )  # fmt: skip
        after, metrics = learner.step(state.learner, window)
        # A number per slot and iteration is more than anyone looks at.
        metrics.pop("memory/write_share", None)
        return RunState(after, state.key), metrics

    return Functions(init, jax.jit(step, donate_argnums=0), jax.jit(learner.predict))


def score(functions: Functions, learner: Any, asked: Asked, size: int) -> fewshot.Score:
    """Accuracy among all classes on unseen images, asked `size` at a time.

    The interval is over images; each is asked of the same state.
    """
    right = []
    for first in range(0, len(asked.labels), size):
        images = asked.images[first : first + size]
        short = size - len(images)
        padded = np.pad(images, [(0, short), (0, 0), (0, 0)]).astype(np.float32) / 255
        logits = functions.predict(learner, jnp.asarray(padded))[: len(images)]
        labels = jax.nn.one_hot(asked.labels[first : first + size], logits.shape[1])
        right.append(np.asarray(losses.accuracy(logits, labels)))
    return fewshot.score(np.concatenate(right))


def some(asked: Asked, count: int) -> Asked:
    """`count` images in an order fixed for all runs."""
    order = np.random.default_rng(0).permutation(len(asked.labels))[:count]
    return Asked(asked.images[order], asked.labels[order])
