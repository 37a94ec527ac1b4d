"""Measures, the yardstick, and what a run remembers."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import fewshot, prototype, settings, sources
from nmn_jax.run import parallel

RUN = settings.Run(
    train=settings.Train(steps=4, episodes=8, queries=1),
    eval=settings.Evaluate(episodes=12, queries=1, batch=8),
    model={"channels": 4, "width": 16, "key_width": 8},
)


@pytest.fixture(scope="module")
def images() -> jax.Array:
    drawn = np.random.default_rng(0).integers(0, 256, (9, 6, 28, 28), dtype=np.uint8)
    return jnp.asarray(drawn)


@pytest.fixture(scope="module")
def functions() -> fewshot.Functions:
    return fewshot.make_functions(RUN, parallel.make_mesh())


def test_score_is_mean_and_normal_interval_by_hand():
    found = fewshot.score(np.array([0.5, 1.0, 0.75, 0.75]))
    assert found.accuracy == 0.75
    np.testing.assert_allclose(found.ci95, 1.96 * np.sqrt(0.125 / 3) / 2)
    assert found.episodes == 4


def test_accuracy_does_not_depend_on_how_episodes_are_batched(functions, images):
    state = fewshot.without_optimizers(functions.init().learner)
    found = [
        fewshot.evaluate(functions, state, images, seed=3, count=12, batch=batch)
        for batch in (12, 5)
    ]
    assert found[0] == found[1]


def test_best_is_a_copy_and_only_a_better_one_replaces_it(functions, images):
    state = fewshot.keep_best(functions.init(), 0.5)
    kept = jax.device_get(state.best.learner.network.params)
    state, _ = functions.step(state, images)
    state = fewshot.keep_best(state, 0.5)
    jax.tree.map(np.testing.assert_array_equal, kept, state.best.learner.network.params)
    state = fewshot.keep_best(state, 0.75)
    now, before = state.best.learner.network.params.decoder["kernel"], kept.decoder
    assert np.abs(now - before["kernel"]).max() > 0


def test_prototypes_by_hand():
    features = jnp.array([[0.0, 0.0], [2.0, 2.0], [4.0, 0.0], [1.0, 1.0]])
    support = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = prototype.logits(features, support, jnp.log(2.0))
    # Prototypes (1, 1) and (4, 0); the query is (1, 1).
    np.testing.assert_allclose(found, [[0.0, -2 * (9 + 1) / 2]], atol=1e-6)


def test_the_yardstick_answers_the_same_calls_and_learns(images):
    run = dataclasses.replace(RUN, method="prototype", optim={"lr": 1e-2})
    functions = fewshot.make_functions(run, parallel.make_mesh())
    state, losses = functions.init(), []
    for _ in range(4):
        state, measured = functions.step(state, images)
        losses.append(float(measured["loss"]))
    assert np.isfinite(losses).all()
    seen = fewshot.evidence(functions, state.learner, images, seed=0, count=2)
    assert seen["predictions"].shape == (2, 5)
    assert "support_weights" not in seen


def test_several_steps_in_one_call_are_the_same_steps(functions, images):
    train = dataclasses.replace(RUN.train, steps_per_call=2)
    many = dataclasses.replace(RUN, train=train)
    together, _ = fewshot.make_functions(many, parallel.make_mesh()).step(
        functions.init(), images
    )
    apart = functions.init()
    for _ in range(2):
        apart, _ = functions.step(apart, images)
    assert int(together.learner.step) == 2
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3),
        together.learner.network.params.decoder,
        apart.learner.network.params.decoder,
    )


def test_seeds_share_one_program(images):
    texts = set()
    for seed in (0, 1):
        run = dataclasses.replace(RUN, seed=seed)
        functions = fewshot.make_functions(run, parallel.make_mesh())
        texts.add(functions.step.lower(functions.init(), images).as_text())
    assert len(texts) == 1


def test_bad_choices_are_refused_with_the_list(functions):
    with pytest.raises(ValueError, match="'omniglot', 'glyphs'"):
        sources.load(settings.Data(source="cifar"))
    with pytest.raises(ValueError, match="unknown method 'knn'.*prototype"):
        fewshot.make_functions(
            dataclasses.replace(RUN, method="knn"), parallel.make_mesh()
        )
    with pytest.raises(ValueError, match="20-way 1-shot, the model is 5-way"):
        fewshot.evaluate_lake(functions, None, 5)


def test_adaptation_of_no_step_is_the_plain_answer(functions, images):
    state = fewshot.without_optimizers(functions.init().learner)
    adapted = fewshot.evaluate_adapted(RUN, state, images)
    plain = fewshot.evaluate(
        functions, state, images, seed=RUN.eval.seed, count=12, batch=8
    )
    assert set(adapted) == {"0"}
    np.testing.assert_allclose(adapted["0"].accuracy, plain.accuracy, atol=0.02)
