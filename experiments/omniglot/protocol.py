"""Data, jitted functions and measures of a few-shot run; no flags, no files written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import prototype
from experiments import settings as settings_lib
from nmn_jax import adaptation, builders, losses, parallel, presets
from nmn_jax import learner as learner_lib
from nmn_jax import model as model_lib
from nmn_jax.data import episodes as episodes_lib
from nmn_jax.data import lake
from nmn_jax.feedback import Batch


class Best(NamedTuple):
    """The learner with the best validation accuracy so far (without optimisers)."""

    learner: learner_lib.LearnerState
    accuracy: jax.Array


class RunState(NamedTuple):
    """All that a checkpoint holds: the run goes on from it bit by bit.

    `key` decides every training episode; as part of the state, not of the program, it
    lets runs that differ in the seed alone share one compiled program.
    """

    learner: learner_lib.LearnerState
    best: Best
    key: jax.Array


class Functions(NamedTuple):
    """step: `(RunState, images) -> (RunState, metrics)`, donated, any number of steps
    answers: `(LearnerState, images, keys) -> (Batch, EpisodeRun)` of test episodes
    predict: `(LearnerState, Batch) -> EpisodeRun`
    """

    init: Callable[[], RunState]
    step: Callable[[RunState, jax.Array], tuple[RunState, dict[str, jax.Array]]]
    answers: Callable[..., tuple[Batch, model_lib.EpisodeRun]]
    predict: Callable[[Any, Batch], model_lib.EpisodeRun]
    parameters: int


class Score(NamedTuple):
    """Mean accuracy and half the width of its 95 % interval, over episodes."""

    accuracy: float
    ci95: float
    episodes: int


METHODS: dict[str, Callable[[settings_lib.Run], learner_lib.Learner]] = {
    "nmn": lambda run: presets.make_learner(
        settings_lib.resolve(run), classes=run.ways, steps=run.train.steps
    )[1],
    "prototype": lambda run: prototype.make_learner(
        settings_lib.resolve(run), steps=run.train.steps
    ),
}


def make_functions(run: settings_lib.Run, mesh: jax.sharding.Mesh) -> Functions:
    """Jitted training step and test answers of a run, episodes over the mesh."""
    learner = builders.pick(METHODS, run.method, "method")(run)
    parallel.check_divisible(mesh, run.train.episodes)
    sharding = parallel.episode_sharding(mesh)

    def one_step(state: RunState, images: jax.Array) -> tuple[RunState, dict]:
        drawn = episodes_lib.sample(
            jax.random.fold_in(state.key, state.learner.step),
            images,
            episodes=run.train.episodes,
            ways=run.ways,
            shots=run.shots,
            queries=run.train.queries,
        )
        batch = jax.lax.with_sharding_constraint(to_batch(drawn, run.ways), sharding)
        after, metrics = learner.step(state.learner, batch)
        return RunState(after, state.best, state.key), metrics

    def answers(state: Any, images: jax.Array, keys: jax.Array) -> tuple:
        batch = test_batch(run, images, keys)
        return batch, learner.predict(state, batch)

    def init() -> RunState:
        return start_state(learner, run.seed)

    shapes = jax.eval_shape(init)
    sizes = (math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.best.learner))
    step = _many_steps(one_step, run.train.steps_per_call)
    return Functions(
        init,
        jax.jit(step, donate_argnums=0),
        jax.jit(answers),
        jax.jit(learner.predict),
        sum(sizes),
    )


def test_batch(run: settings_lib.Run, images: jax.Array, keys: jax.Array) -> Batch:
    """Test episodes, one for each key."""
    drawn = episodes_lib.sample_each(
        keys,
        images,
        ways=run.ways,
        shots=run.shots,
        queries=settings_lib.queries_at_test(run),
    )
    return to_batch(drawn, run.ways)


def _many_steps(one_step: Callable, count: int) -> Callable:
    """Several steps in one dispatch: right on accelerators, slow on a CPU."""
    if count == 1:
        return one_step

    def steps(state: RunState, images: jax.Array) -> tuple[RunState, dict]:
        state, metrics = jax.lax.scan(
            lambda carried, _: one_step(carried, images), state, length=count
        )
        return state, jax.tree.map(lambda each: jnp.mean(each, axis=0), metrics)

    return steps


def start_state(learner: learner_lib.Learner, seed: int) -> RunState:
    """The state before the first step; nothing is best yet."""
    data_key, init_key = jax.random.split(jax.random.key(seed))
    # Copies: a donated state must not hold the same buffer twice.
    state = jax.tree.map(jnp.copy, learner.init(init_key))
    best = jax.tree.map(jnp.copy, without_optimizers(state))
    return RunState(state, Best(best, jnp.asarray(-1.0)), data_key)


def without_optimizers(state: learner_lib.LearnerState) -> learner_lib.LearnerState:
    """What answering needs of a learner."""
    return state._replace(
        network=state.network._replace(opt_state=()),
        synthetic=state.synthetic._replace(opt_state=()),
    )


def keep_best(state: RunState, accuracy: float) -> RunState:
    """The state with `best` replaced if this validation accuracy is higher."""
    if accuracy <= float(state.best.accuracy):
        return state
    # A copy: the learner's own buffers are donated to the next step.
    best = jax.tree.map(jnp.copy, without_optimizers(state.learner))
    return RunState(
        state.learner,
        Best(best, jnp.full_like(state.best.accuracy, accuracy)),
        state.key,
    )


def to_batch(drawn: episodes_lib.Episode, ways: int) -> Batch:
    """Support before queries in one image axis, labels one-hot."""
    return Batch(
        jnp.concatenate([drawn.support_images, drawn.query_images], axis=1),
        jax.nn.one_hot(drawn.support_labels, ways),
        jax.nn.one_hot(drawn.query_labels, ways),
    )


def chunks(keys: jax.Array, size: int) -> Iterator[jax.Array]:
    """Pieces of `size` keys; the last may be shorter."""
    for first in range(0, len(keys), size):
        yield keys[first : first + size]


def score(each: np.ndarray) -> Score:
    """Mean over episodes and its normal 95 % interval.

    Accuracies of queries within an episode depend on each other, so the interval is
    over episodes, not over images.
    """
    half = 1.96 * float(np.std(each, ddof=1)) / math.sqrt(len(each))
    return Score(float(np.mean(each)), half, len(each))


def evaluate(
    functions: Functions,
    state: Any,
    images: jax.Array,
    *,
    seed: int,
    count: int,
    batch: int,
) -> Score:
    """Accuracy over `count` episodes fixed by `seed`."""
    results = []
    for keys in chunks(episodes_lib.fixed_keys(seed, count), batch):
        asked, answered = functions.answers(state, images, keys)
        results.append(losses.accuracy(answered.logits, asked.query).mean(axis=-1))
    return score(np.concatenate(jax.device_get(results)))


def evaluate_lake(functions: Functions, state: Any, ways: int) -> Score:
    """Lake's 20 official runs: 20 characters of one alphabet, one drawing of each.

    Raises:
      ValueError: unless the model answers among 20 ways.
    """
    if ways != 20:
        raise ValueError(f"Lake's runs are 20-way 1-shot, the model is {ways}-way")
    runs = lake.load()
    images = np.concatenate([runs.training, runs.test], axis=1).astype(np.float32) / 255
    labels = np.broadcast_to(np.arange(20), runs.answers.shape)
    batch = Batch(
        jnp.asarray(images),
        jax.nn.one_hot(labels, 20),
        jax.nn.one_hot(runs.answers, 20),
    )
    answered = functions.predict(state, batch)
    return score(
        np.asarray(losses.accuracy(answered.logits, batch.query).mean(axis=-1))
    )


def evaluate_adapted(
    run: settings_lib.Run, state: Any, images: jax.Array
) -> dict[str, Score]:
    """Accuracy after 0, 1, 5, … gradient steps on each episode's support set (A10)."""
    settings = settings_lib.resolve(run)
    model, _ = presets.make_learner(settings, classes=run.ways, steps=run.train.steps)
    adapter = adaptation.make_adapter(
        model,
        presets.make_feedback(settings.sg),
        source=run.eval.adapt_source,
        subset=run.eval.adapt_params,
        lr=run.eval.adapt_lr,
    )
    update, predict = jax.jit(adapter.update), jax.jit(adapter.predict)
    keys = episodes_lib.fixed_keys(run.eval.seed, run.eval.episodes)
    results: dict[int, list[np.ndarray]] = {
        at: [] for at in sorted(run.eval.adapt_steps)
    }
    for chunk in chunks(keys, run.eval.batch):
        batch = test_batch(run, images, chunk)
        params, done = adapter.start(state, batch), 0
        for at, scores in results.items():
            for _ in range(at - done):
                params = update(state, batch, params)
            done = at
            logits = predict(state, batch, params)
            scores.append(np.asarray(losses.accuracy(logits, batch.query).mean(-1)))
    return {str(at): score(np.concatenate(each)) for at, each in results.items()}


def evidence(
    functions: Functions, state: Any, images: jax.Array, *, seed: int, count: int = 4
) -> dict[str, np.ndarray]:
    """A few test episodes with answers and addressing, for the pictures."""
    keys = episodes_lib.fixed_keys(seed, count)
    batch, run = jax.device_get(functions.answers(state, images, keys))
    supports = batch.support.shape[1]
    pixels = np.round(batch.images * 255).astype(np.uint8)
    seen = {
        "support_images": pixels[:, :supports],
        "support_labels": batch.support.argmax(-1),
        "query_images": pixels[:, supports:],
        "query_labels": batch.query.argmax(-1),
        "predictions": run.logits.argmax(-1),
    }
    if run.support is None:
        return seen
    return seen | {
        "support_weights": run.support.trace.weights,
        "support_writes": run.support.trace.writes,
        "query_weights": run.query.weights,
    }
