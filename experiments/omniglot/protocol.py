"""What a few-shot run trains on, selects by and is tested on; no files are written.

Training characters make the batches, validation characters choose the state that is
kept, test characters are seen once, by that state. All of it speaks to the method
through its contract alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.common import bench as bench_lib
from experiments.common import loop, statistics, training
from experiments.common.bench import Bench
from experiments.common.training import Answering, RunState
from experiments.omniglot import presentations, records
from nmn_jax.data import lake
from nmn_jax.data.types import Partition
from nmn_jax.methods import base, table, views
from nmn_jax.run import parallel
from nmn_jax.settings import augment
from nmn_jax.settings.records import Settings
from nmn_jax.tasks import augmented, episodes, mixture
from nmn_jax.tasks.base import Batch, Context, Task

# The score that decides and that is reported first.
SCORE = "accuracy"


class Pools(NamedTuple):
    """Images `[classes, drawers, H, W]` of the three parts, on every device."""

    train: jax.Array
    validation: jax.Array
    test: jax.Array


class Exam(NamedTuple):
    """What is asked.

    draw: `(numbers [size]) -> Batch` of the episodes so numbered, spread over the mesh
    episodes: how many there are
    size: of a chunk
    """

    draw: Callable[[np.ndarray], Batch]
    episodes: int
    size: int


def prepare(run: records.Run, mesh: Mesh) -> Bench:
    """The task, the method and its answers; everything that needs no data is checked.

    Raises:
      ValueError: for an unknown method, a setting without effect, a plan or a batch
        that cannot be, or adaptation of a method that has none.
    """
    entry = table.entry(run.method, form="episodes")
    published = entry.published(run.ways, run.shots)
    settings = records.resolve(run, entry.uses, published)
    task = make_task(run, settings)
    parallel.check_divisible(mesh, run.train.episodes)
    loop.check_plan(bench_lib.plan(run))
    method = entry.make(settings, task, steps=run.train.steps)
    columns = {**method.columns, **records.columns(run, settings)}
    method = method._replace(columns=columns)
    if any(run.eval.adapt_steps) and method.adapt is None:
        raise ValueError(
            f"eval.adapt_steps={run.eval.adapt_steps} with method={run.method!r}: it "
            "takes no gradient steps at test time; leave eval.adapt_steps at (0,)"
        )
    _check_views(run, settings)
    answering = training.make_answering(method, task, mesh)
    return Bench(run, settings, task, method, mesh, answering)


def _check_views(run: records.Run, settings: Settings) -> None:
    """Raises ValueError for views that are not distorted, or that adapt."""
    count = run.eval.views
    if count == 1:
        return
    if settings.augment == augment.AugmentSettings():
        raise ValueError(
            f"eval.views={count} without distortions: every view would be the same; "
            "give augment.shift or another of its limits, or eval.views=1"
        )
    if any(run.eval.adapt_steps):
        raise ValueError(
            f"eval.views={count} with eval.adapt_steps={run.eval.adapt_steps}: views "
            "are averaged without gradient steps; give one of them"
        )


def make_task(run: records.Run, settings: Settings) -> Task:
    """What is trained on, its images distorted where the settings say so."""
    task = _plain_task(run)
    recast = augment.make_recast(settings.augment, settings.recast)
    return augmented.with_distortions(task, recast) if recast else task


def _plain_task(run: records.Run) -> Task:
    """Episodes of one kind, or of several with labels from as many names as ways."""
    queries, size = run.train.queries, run.train.episodes
    if run.mixture:
        kinds = [mixture.Kind(*kind) for kind in records.practised(run)]
        return mixture.classification(
            kinds, names=run.ways, queries=queries, episodes=size
        )
    return episodes.classification(
        ways=run.ways, shots=run.shots, queries=queries, episodes=size
    )


def start(bench: Bench) -> RunState:
    """The state before the first step, on every device; the best is remembered."""
    return bench_lib.start(bench, selects=True)


def place(bench: Bench, partition: Partition) -> Pools:
    """The data on every device."""
    return Pools(*(parallel.replicate(bench.mesh, images) for images in partition))


def make_validate(bench: Bench, images: jax.Array) -> loop.Validate:
    """`(state) -> (state, scalars)`: ask about validation characters, keep the best."""
    asked = exams(bench, images, bench.run.validate)
    keep_best = training.make_keep_best(bench.method, bench.mesh)

    def validate(state: RunState) -> tuple[RunState, dict[str, float]]:
        slim = bench.method.slim(state.method)
        found = [scored(bench, slim, exam)[SCORE] for exam in asked.values()]
        mean, half, _ = statistics.estimate(np.concatenate(found))
        scalars = {f"validation/{SCORE}": mean, "validation/ci95": half or 0.0}
        return keep_best(state, mean), scalars

    return validate


def exams(
    bench: Bench, images: jax.Array, part: records.Validate | records.Evaluate
) -> dict[str, Exam]:
    """Episodes of every kind of the run, by its short name; see `episodes_exam`."""
    return {
        records.short(kind): episodes_exam(bench, images, part, kind)
        for kind in records.kinds(bench.run)
    }


def episodes_exam(
    bench: Bench,
    images: jax.Array,
    part: records.Validate | records.Evaluate,
    kind: tuple[int, int] | None = None,
) -> Exam:
    """Episodes of these characters `[classes, drawers, H, W]`, fixed by `part.seed`.

    Args:
      kind: ways and shots, if there are several.
    """
    run, whole = bench.run, NamedSharding(bench.mesh, PartitionSpec())
    ways, shots = kind or (run.ways, run.shots)
    queries = records.queries_asked(part, ways)
    key_data = np.asarray(jax.random.key_data(jax.random.key(part.seed)))

    def drawn(key_data: jax.Array, numbers: jax.Array, images: jax.Array) -> Batch:
        key = jax.random.wrap_key_data(key_data)
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
        if run.mixture:
            return mixture.fixed(
                keys, images, kind=mixture.Kind(ways, shots), names=run.ways,
                queries=queries,
            )  # fmt: skip
        return episodes.fixed(keys, images, ways=ways, shots=shots, queries=queries)

    spread = parallel.episode_sharding(bench.mesh)
    program = jax.jit(drawn, in_shardings=whole, out_shardings=spread)

    def draw(numbers: np.ndarray) -> Batch:
        return program(key_data, numbers.astype(np.int32), images)

    return Exam(draw, part.episodes, parallel.pad_to_devices(bench.mesh, part.batch))


def lake_exam(bench: Bench, runs: lake.Runs) -> Exam:
    """Lake's 20 official runs: 20 characters of one alphabet, one drawing of each."""
    labels = np.broadcast_to(np.arange(lake.ITEMS), runs.answers.shape)
    one_hot = np.eye(lake.ITEMS, dtype=np.float32)
    ink = [each.astype(np.float32) / 255 for each in (runs.training, runs.test)]
    # On the host: a chunk is placed as a whole, also where there are more processes.
    whole: Any = (ink[0], one_hot[labels], ink[1], one_hot[runs.answers])

    def draw(numbers: np.ndarray) -> Batch:
        chosen = [each[numbers] for each in whole]
        inputs, targets, queries, answers = parallel.spread(bench.mesh, chosen)
        return Batch(Context(inputs, targets), queries, answers)

    return Exam(draw, lake.RUNS, parallel.pad_to_devices(bench.mesh, lake.RUNS))


def scored(
    bench: Bench, state: Any, exam: Exam, answering: Answering | None = None
) -> dict[str, np.ndarray]:
    """Every score by name, one number `[count]` for each episode of an exam.

    Queries of one episode depend on each other, so an interval is over episodes.

    Args:
      state: as `Method.slim` leaves it.
      answering: who answers, if not the method as it stands.
    """
    answering = answering or bench.answering
    by_presentation = jax.jit(
        functools.partial(presentations.accuracies, shots=bench.run.shots)
    )

    def score(numbers: np.ndarray) -> dict[str, jax.Array]:
        batch = exam.draw(numbers)
        asked = (batch.context, batch.queries)
        said, found = answering(state, asked, batch.answers)
        if base.SUPPORT_OUTPUTS in said.evidence and not bench.run.mixture:
            early = said.evidence[base.SUPPORT_OUTPUTS]
            found |= by_presentation(early, batch.context.targets)
        return found

    return training.evaluate(score, count=exam.episodes, size=exam.size)


def make_viewing(bench: Bench) -> Answering:
    """Who answers a test: the method, by as many views as `eval.views` says."""
    part, limits = bench.run.eval, bench.settings.augment
    if part.views == 1:
        return bench.answering
    distort = augment.make_distort(limits, part.spread)
    method = views.with_views(bench.method, distort, part.views)
    return training.make_answering(method, bench.task, bench.mesh)


def test(bench: Bench, state: Any, exam: Exam) -> dict[int, dict[str, np.ndarray]]:
    """Scores of every episode by the number of gradient steps on its context.

    Zero steps always; the others as `eval.adapt_steps` says (methods card A10).
    """
    found = {0: scored(bench, state, exam, make_viewing(bench))}
    for steps in sorted(set(bench.run.eval.adapt_steps) - {0}):
        adapted = training.make_adapted_answering(
            bench.method, bench.task, bench.mesh, steps=steps
        )
        found[steps] = scored(bench, state, exam, adapted)
    return found


def test_kinds(
    bench: Bench, state: Any, asked: dict[str, Exam]
) -> dict[int, dict[str, np.ndarray]]:
    """As `test`; of a mixture all episodes, and those of each exam by its name."""
    each = {name: test(bench, state, exam) for name, exam in asked.items()}
    if not bench.run.mixture:
        return next(iter(each.values()))
    return {
        steps: {
            SCORE: np.concatenate([found[steps][SCORE] for found in each.values()]),
            **{f"{SCORE} {name}": found[steps][SCORE] for name, found in each.items()},
        }
        for steps in next(iter(each.values()))
    }


def evidence(
    bench: Bench, state: Any, exam: Exam, *, count: int = 4
) -> dict[str, np.ndarray]:
    """A few episodes of an exam with answers and what the method tells of them.

    Images are uint8 `[count, S or Q, H, W]`, labels and predictions class numbers.
    """
    batch = exam.draw(np.minimum(np.arange(exam.size), exam.episodes - 1))
    answer, _ = bench.answering(state, (batch.context, batch.queries), batch.answers)
    batch, answer = jax.tree.map(
        lambda leaf: leaf[:count], parallel.host_value((batch, answer))
    )
    return {
        "support_images": _pixels(batch.context.inputs),
        "support_labels": batch.context.targets.argmax(-1),
        "query_images": _pixels(batch.queries),
        "query_labels": batch.answers.argmax(-1),
        # Names that no class of the episode has are out of the question.
        "predictions": np.where(batch.answers < 0, -np.inf, answer.output).argmax(-1),
        **answer.evidence,
    }


def _pixels(images: np.ndarray) -> np.ndarray:
    return np.round(images * 255).astype(np.uint8)
