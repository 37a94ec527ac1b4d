"""Training and answering of any method on any task: one program each, compiled once.

Nothing here knows a benchmark or a method, only their contracts (`nmn_jax.tasks.base`,
`nmn_jax.methods.base`). Episodes are spread over the devices of the mesh; a stream is
one thing after the other, so every device follows all of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from nmn_jax.methods import parts
from nmn_jax.methods.base import Answer, Method
from nmn_jax.run import parallel
from nmn_jax.tasks.base import Context, Task

# Below every score: the first validation is the best so far.
NOTHING = -np.inf
# Folded into the run's key, so that the shape of a batch is drawn apart from it.
SHAPE = 0x5A


class Best(NamedTuple):
    """What answering needs of the method at the best validation so far, and its score.

    score: `[]`, minus infinity before the first validation
    """

    state: Any
    score: jax.Array


class RunState(NamedTuple):
    """All that a checkpoint holds: the run goes on from it bit by bit.

    method: the method's state
    best: None in a benchmark that does not select
    key: decides every training batch; as part of the state, not of the program, it lets
      runs that differ in the seed alone share one compiled program
    """

    method: Any
    best: Best | None
    key: jax.Array


def start_state(method: Method, seed: int, *, selects: bool) -> RunState:
    """The state before the first step, made of buffers of its own and of strong types.

    Args:
      method: who learns.
      seed: decides the initial parameters and every batch.
      selects: whether `keep_best` is to remember the best state.
    """
    data_key, init_key = jax.random.split(jax.random.key(seed))
    state = parts.own_buffers(method.init(init_key))
    best = None
    if selects:
        slim = parts.own_buffers(method.slim(state))
        best = Best(slim, jnp.full((), NOTHING, jnp.float32))
    return RunState(state, best, data_key)


def _strong(leaf: jax.Array) -> jax.Array:
    """Without a weak type, which would make a second program of the same step."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(leaf, leaf.dtype)


def parameters(state: RunState) -> int:
    """Numbers in what answering needs; without a best, in all of the method's state."""
    counted = state.best.state if state.best else state.method
    return sum(leaf.size for leaf in jax.tree.leaves(counted))


def compile_step(
    method: Method, task: Task, state: RunState, source: Any, *,
    mesh: Mesh, steps_per_call: int = 1,
) -> jax.stages.Compiled:  # fmt: skip
    """The training step as one program, compiled here and never again.

    Args:
      method: who learns.
      task: what is drawn and learned from.
      state: the state before the first step, replicated over `mesh`.
      source: the task's data, replicated over `mesh`.
      mesh: the devices; episodes are split over them.
      steps_per_call: steps of one call, whose metrics are averaged.

    Returns `(state, source) -> (state, metrics)`; the state is donated. Anything of
    another shape, type or placement is an error, not another program.

    Raises:
      ValueError: if the episodes of a batch cannot be shared out evenly.
    """
    spread = batch_sharding(task, mesh)
    if task.spec.form == "episodes":
        drawn = jax.eval_shape(task.sample, state.key, state.method.step, source)
        parallel.check_divisible(mesh, len(jax.tree.leaves(drawn)[0]))

    def one_step(state: RunState, source: Any) -> tuple[RunState, dict]:
        def learn(sample: Callable) -> tuple[Any, dict]:
            batch = sample(state.key, state.method.step, source)
            batch = jax.lax.with_sharding_constraint(batch, spread)
            after, metrics = method.step(state.method, batch)
            return jax.tree.map(_strong, after), metrics

        after, metrics = of_one_shape(task, state, learn)
        return state._replace(method=after), metrics

    def train_step(state: RunState, source: Any) -> tuple[RunState, dict]:
        if steps_per_call == 1:
            return one_step(state, source)
        state, metrics = jax.lax.scan(
            lambda carried, _: one_step(carried, source), state, length=steps_per_call
        )
        return state, jax.tree.map(lambda each: jnp.mean(each, axis=0), metrics)

    whole = NamedSharding(mesh, PartitionSpec())
    jitted = jax.jit(
        train_step, donate_argnums=0, in_shardings=whole, out_shardings=whole
    )
    return jitted.lower(state, source).compile()


def of_one_shape(task: Task, state: RunState, learn: Callable) -> tuple[Any, dict]:
    """`learn(sample)` of the task's, or of that of its shapes which the step draws."""
    if not task.shapes:
        found: tuple[Any, dict] = learn(task.sample)
        return found
    key = jax.random.fold_in(jax.random.fold_in(state.key, SHAPE), state.method.step)
    place = jax.random.randint(key, (), 0, len(task.shapes))
    branches = [functools.partial(learn, sample) for sample in task.shapes]
    chosen: tuple[Any, dict] = jax.lax.switch(place, branches)
    return chosen


def batch_sharding(task: Task, mesh: Mesh) -> NamedSharding:
    """Episodes over the devices; a stream whole on each of them."""
    if task.spec.form == "episodes":
        return parallel.episode_sharding(mesh)
    return NamedSharding(mesh, PartitionSpec())


def make_keep_best(method: Method, mesh: Mesh) -> Callable[[RunState, float], RunState]:
    """`(state, score) -> state`, with `best` replaced if this score is higher.

    What is kept is a copy: the method's own buffers are donated to the next step.
    """
    whole = NamedSharding(mesh, PartitionSpec())

    @functools.partial(jax.jit, out_shardings=whole)
    def chosen(state: RunState, score: jax.Array) -> Best:
        assert state.best is not None
        new = Best(jax.tree.map(_strong, method.slim(state.method)), score)
        better = score > state.best.score
        return jax.tree.map(functools.partial(jnp.where, better), new, state.best)

    def keep_best(state: RunState, score: float) -> RunState:
        return state._replace(best=chosen(state, np.float32(score)))

    return keep_best


Answering = Callable[[Any, tuple, jax.Array], tuple[Answer, dict[str, jax.Array]]]


def make_answering(method: Method, task: Task, mesh: Mesh) -> Answering:
    """Answers and scores of one chunk, `(state, asked, answers) -> (Answer, scores)`.

    `asked` is what `Method.predict` is given after the state: `(context, queries)`, or
    `(inputs,)` of a stream. The leading axis of everything asked is spread over the
    mesh, so its length has to be a multiple of the devices (`parallel.pad_to_devices`).
    Scores are means `[B]` over the queries of an episode, or of examples `[N]`.
    """
    whole = NamedSharding(mesh, PartitionSpec())
    spread = parallel.episode_sharding(mesh)

    @functools.partial(
        jax.jit, in_shardings=(whole, spread, spread), out_shardings=whole
    )
    def answering(state: Any, asked: tuple, answers: jax.Array) -> tuple[Answer, dict]:
        answered = method.predict(state, *asked)
        return answered, scores(task, answered.output, answers)

    return answering


def scores(task: Task, output: jax.Array, answers: jax.Array) -> dict[str, jax.Array]:
    """Every score of the task by name, its mean over all but the leading axis."""
    score = task.score
    for _ in range(answers.ndim - 1):
        score = jax.vmap(score)
    each = score(output, answers)
    return {name: v.reshape(len(v), -1).mean(axis=1) for name, v in each.items()}


def chunks(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Numbers 0 to `count` in pieces `[size]`, and how many of a piece are meant.

    The last is filled up with its last number, so that all are of one shape.
    """
    for first in range(0, count, size):
        numbers = np.minimum(np.arange(first, first + size), count - 1)
        yield numbers, min(size, count - first)


def evaluate(
    score: Callable[[np.ndarray], dict[str, jax.Array]], *, count: int, size: int
) -> dict[str, np.ndarray]:
    """Scores `[count]` by name of things asked about `size` at a time.

    Args:
      score: `(numbers [size]) -> {name: [size]}`, scores of the things so numbered.
      count: how many things there are.
      size: of a chunk, a multiple of the devices (`parallel.pad_to_devices`).
    """
    pieces = [(score(numbers), meant) for numbers, meant in chunks(count, size)]
    # Fetched at the end: the device goes on while the next chunk is prepared.
    fetched = [(jax.device_get(found), meant) for found, meant in pieces]
    return {
        name: np.concatenate([found[name][:meant] for found, meant in fetched])
        for name in fetched[0][0]
    }


def make_adapted_answering(
    method: Method, task: Task, mesh: Mesh, *, steps: int
) -> Answering:
    """As `make_answering`, after gradient steps on every episode's own context.

    Each episode starts from the same state; nothing is left of them afterwards.

    Raises:
      ValueError: if the method cannot learn at test time.
    """
    adapt = method.adapt
    if adapt is None:
        raise ValueError(f"{method.columns}: no gradient steps at test time")

    def predict(state: Any, context: Context, queries: jax.Array) -> Answer:
        def one(context: Context, queries: jax.Array) -> Answer:
            alone, asked = jax.tree.map(lambda leaf: leaf[None], (context, queries))
            answer = method.predict(adapt(state, alone, steps), alone, asked)
            return jax.tree.map(lambda leaf: leaf[0], answer)

        return jax.vmap(one)(context, queries)

    return make_answering(method._replace(predict=predict), task, mesh)
