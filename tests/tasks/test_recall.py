"""Far recall: every question is about a pair that was in the stream, and answerable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nmn_jax.tasks import recall
from nmn_jax.tasks.recall import FarRecall

KIND = FarRecall(
    streams=3, window=4, nearest=2, farthest=5, key_width=3, values=4, beyond=2
)
KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def windows():
    task = recall.far_recall(KIND)
    sample = jax.jit(lambda step: task.sample(KEY, step, ()))
    return [sample(jnp.asarray(step)) for step in range(14)]


def test_a_question_names_a_pair_of_so_many_windows_before(windows):
    asked = 0
    for step, window in enumerate(windows):
        for stream in range(KIND.streams):
            target = np.asarray(window.targets[stream, 0])
            gap = round(float(target[-1]) * KIND.farthest)
            if not gap:
                continue
            asked += 1
            assert KIND.nearest <= gap <= min(KIND.farthest, step)
            old = windows[step - gap]
            keys, asked_for = np.asarray(old.inputs), np.asarray(window.inputs)
            same = np.all(keys[stream, 1:] == asked_for[stream, 0], axis=1)
            assert same.sum() == 1
            value = np.asarray(old.targets[stream, 1:])[same][0, :-1]
            np.testing.assert_array_equal(value, target[:-1])
    assert asked > 20
    # Nothing before the stream began is asked for, and new pairs are never questions.
    for step, window in enumerate(windows):
        np.testing.assert_array_equal(window.targets[:, 1:, -1], 0.0)
        assert step >= KIND.nearest or not np.any(window.targets[:, 0, -1])


def test_streams_differ_and_windows_to_come_are_those_that_come(windows):
    first = np.asarray(windows[6].inputs)
    assert not np.any(first[0] == first[1])
    np.testing.assert_allclose(np.linalg.norm(first, axis=-1), 1.0, rtol=1e-6)
    for ahead in range(KIND.beyond):
        for name in ("inputs", "targets"):
            np.testing.assert_array_equal(
                getattr(windows[6].beyond, name)[ahead],
                getattr(windows[7 + ahead], name),
            )


def test_only_questions_are_judged():
    task = recall.far_recall(KIND)
    output = jnp.asarray([0.0, 2.0, 0.0, 0.0, 9.0])
    pair = jnp.asarray([0.0, 1.0, 0.0, 0.0, 0.0])
    assert task.loss(output, pair) == 0.0
    assert not any(map(float, task.score(output, pair).values()))
    question = pair.at[-1].set(3 / KIND.farthest)
    expected = -jax.nn.log_softmax(output[:-1])[1]
    np.testing.assert_allclose(task.loss(output, question), expected, rtol=1e-6)
    told = {name: float(each) for name, each in task.score(output, question).items()}
    assert {name for name, each in told.items() if each} == {"asked/03", "right/03"}
    wrong = task.score(output, question.at[:2].set(jnp.asarray([1.0, 0.0])))
    assert {name for name, each in wrong.items() if each} == {"asked/03"}


@pytest.mark.parametrize("change", [{"window": 1}, {"nearest": 0}, {"nearest": 9}])
def test_a_stream_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match="1 <= nearest <= farthest"):
        recall.far_recall(KIND._replace(**change))
