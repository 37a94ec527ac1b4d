"""Rare classes: what the stream brings, what is measured, and resume in mid-stream."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import (
    cnn,
    rare_classes,
    rare_measures,
    rare_settings,
    rare_stream,
    rare_tables,
    report,
    results,
    tables,
)
from nmn_jax import builders
from nmn_jax.window import Window

SMALL = {"channels": 2, "width": 16, "key_width": 4, "slots": 12}
RUN = rare_settings.Run(
    data=rare_settings.Data("digits", period=5, held_out=300),
    train=rare_settings.Train(steps=12, validate_every=5, checkpoint_every=4),
    eval=rare_settings.Evaluate(images=50),
    model=SMALL,
)


@pytest.fixture(scope="module")
def sources():
    return rare_stream.load(RUN.data, "test")


def test_rare_windows_hold_the_other_classes_alone(sources):
    draw = jax.jit(
        lambda at: rare_stream.draw(
            sources.pools, jax.random.key(0), at, period=5, batch=40
        )
    )
    for at in range(1, 11):
        kinds = np.asarray(draw(at).labels).argmax(axis=1)
        assert np.all((kinds >= 5) == (at % 5 == 0))
        assert len(set(kinds)) == 5
    assert not np.array_equal(draw(1).images, draw(2).images)
    assert float(jnp.max(draw(1).images)) <= 1.0


def test_what_is_asked_is_in_no_window(sources):
    held = rare_stream.load(RUN.data, "validation")
    seen = {image.tobytes() for image in np.asarray(sources.pools.images)}
    assert len(sources.pools.labels) == 1797 - 360 - 300
    for part in (sources, held):
        assert set(part.rare.labels) == {5, 6, 7, 8, 9}
        assert set(part.frequent.labels) == {0, 1, 2, 3, 4}
        for asked in (part.rare, part.frequent):
            assert not seen & {image.tobytes() for image in asked.images}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"frequent": (0, 11)}, "name some of the classes"),
        ({"frequent": tuple(range(10))}, "name some of the classes"),
        ({"period": 1}, "data.period=1"),
        ({"held_out": 5_000}, "data.held_out=5000"),
        ({"source": "cifar"}, "choose one of"),
    ],
)
def test_a_stream_that_cannot_be_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        rare_stream.load(dataclasses.replace(RUN.data, **changed), "test")


def test_a_score_counts_each_image_once_whatever_the_batch():
    labels = np.array([0, 1, 2, 3, 4, 5, 6])
    images = np.zeros((7, 28, 28), np.uint8)
    images[:, 0, 0] = [0, 1, 2, 3, 0, 0, 0]

    def predict(learner, images):
        return jax.nn.one_hot(jnp.round(images[:, 0, 0] * 255).astype(int), 10)

    functions = rare_stream.Functions(None, None, predict)
    asked = rare_stream.Asked(images, labels)
    for size in (1, 3, 7, 50):
        found = rare_stream.score(functions, None, asked, size)
        assert found.accuracy == pytest.approx(4 / 7)
        assert found.episodes == 7


def test_peaks_by_hand():
    steps = np.arange(1, 21)
    values = np.where(steps % 5 == 0, 6.0, 2.0)
    values[0] = 100.0  # before half a period: left out
    found = rare_measures.peaks(steps, values, 5)
    kept = values[2:]
    assert found["ratio"] == 3.0
    assert found["among_highest"] == 1.0
    assert found["variation"] == pytest.approx(kept.std() / kept.mean())
    silent = rare_measures.peaks(steps, np.zeros(20), 5)
    assert all(np.isnan(each) for each in silent.values())


def test_curves_by_hand():
    rare = {10: 0.0, 20: 0.6, 30: 0.2, 40: 0.8, 50: 0.4}
    rows = [
        {"step": step, "rare/accuracy": value, "frequent/accuracy": 1.0}
        for step, value in rare.items()
    ]
    found = rare_measures.curves(rows, 20)
    assert found["rare_mean"] == pytest.approx(0.5)
    assert found["rare_after"] == pytest.approx(0.7)
    assert found["rare_before"] == pytest.approx(0.2)


def test_differences_are_between_the_same_seeds():
    def results(values):
        return [{"seed": seed, "accuracy": value} for seed, value in values.items()]

    found = rare_tables.differences(
        results({0: 0.5, 1: 0.7, 3: 0.9}), results({1: 0.6, 0: 0.1, 2: 0.0}),
        lambda each: each["accuracy"],
    )  # fmt: skip
    np.testing.assert_allclose(found, [0.4, 0.1])
    unmeasured = rare_tables.differences(
        results({0: None, 1: 0.7}), results({0: 0.1, 1: None}),
        lambda each: each["accuracy"],
    )  # fmt: skip
    assert unmeasured == []


def test_the_plain_network_steps_along_its_gradient():
    settings = rare_settings.resolve(dataclasses.replace(RUN, sg="off"))
    learner = cnn.make_learner(settings, classes=10, steps=10)
    state = learner.init(jax.random.key(0))
    draw = np.random.default_rng(0)
    images = jnp.asarray(draw.random((6, 28, 28)), jnp.float32)
    window = Window(images, jax.nn.one_hot(jnp.arange(6), 10))
    after, measured = jax.jit(learner.step)(state, window)
    # Adam's first step is the rate times the sign of the gradient. By hand: the head's
    # bias has the gradient mean(softmax - label).
    before = jax.nn.softmax(_train_logits(learner, settings, state, images))
    expected = -1e-3 * np.sign(np.mean(before - window.labels, axis=0))
    moved = after.network.params["head"]["bias"] - state.network.params["head"]["bias"]
    np.testing.assert_allclose(moved, expected, rtol=1e-3)
    assert measured["loss"] > 0 and after.step == 1


def _train_logits(learner, settings, state, images):
    """Of one window, normalised by its own moments, as in training."""
    encoder = builders.make_encoder(settings.model)
    features, _ = encoder.apply(
        state.network.params["encoder"], state.stats, images[None],
        supports=len(images), phase="train",
    )  # fmt: skip
    head = state.network.params["head"]
    return features[0] @ head["kernel"] + head["bias"][None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    place = tmp_path_factory.mktemp("rare")
    return rare_classes.main(RUN, place / "run", str(place / "results")), place


def test_a_run_leaves_result_pictures_and_every_iteration(finished):
    result, place = finished
    assert json.loads((place / "results" / "run.json").read_text()) == json.loads(
        json.dumps(result)
    )
    assert result["curves"]["steps"] == [5, 10, 12]
    true = result["gradients"]["output"]["true"]
    assert true["curve"]["rare_steps"] == [5, 10]
    drawn = {path.name for path in (place / "run" / "figures").iterdir()}
    assert drawn == {"accuracy.png", "gradients.png"}
    assert "nmn recommended, both" in rare_tables.everything([result])


def test_a_study_is_drawn_and_told_from_results_alone(finished, tmp_path):
    result, _ = finished
    other = {**result, "seed": 1}
    drawn = report.draw_study([result, other], tmp_path)
    assert [p.name for p in drawn] == ["rare_accuracy.png", "rare_gradients.png"]
    told = report.all_tables([result, other])
    assert "| nmn recommended, both |" in told and "12 iterations of 10 images" in told
    assert "| nmn recommended, both | nmn recommended, off |" not in told
    with pytest.raises(ValueError, match="no rare-class results"):
        report.draw_study([{**result, "experiment": "omniglot"}], tmp_path)


def test_variants_are_contrasted_seed_by_seed(finished):
    result, _ = finished

    def at(sg, seed, rare_mean):
        curves = {**result["curves"], "rare_mean": rare_mean}
        return {**result, "sg": sg, "seed": seed, "curves": curves}

    told = rare_tables.contrasts([
        at("both", 0, 0.50), at("both", 1, 0.70),
        at("off", 0, 0.40), at("off", 1, 0.40),
    ])  # fmt: skip
    # By hand: mean of 10 and 30; 12.706 is Student's t for one degree of freedom.
    half = 12.706 * np.std([10, 30], ddof=1) / np.sqrt(2)
    line = f"| nmn recommended, both | nmn recommended, off | 20.00 ± {half:.2f} |"
    assert line in told


def test_every_contrast_is_between_variants_of_the_committed_study():
    committed = tables.load([results.ROOT / "results"])
    found = [each for each in committed if each["experiment"] == "rare_classes"]
    contrasted = {name for pair in rare_tables.CONTRASTS for name in pair}
    assert contrasted <= set(rare_tables.grouped(found))


def test_ratios_of_norms_are_averaged_as_factors(finished):
    result, _ = finished

    def at(seed, ratio):
        each = {"ratio": ratio, "variation": 1.0}
        gradients = {"output": dict.fromkeys(("synthetic", "true", "applied"), each)}
        return {**result, "seed": seed, "gradients": gradients}

    told = rare_tables.peaks([at(0, 10.0), at(1, 1000.0), at(2, 100.0)])
    # By hand: logarithms to ten 1, 3, 2; 4.303 is Student's t for two degrees.
    low, high = (10 ** (2 + sign * 4.303 / np.sqrt(3)) for sign in (-1, 1))
    assert f"| 100 [{low:.2g}, {high:.0f}] |" in told
    assert told.splitlines()[-1].endswith("| 0.00 ± 0.00 |")


def test_every_variant_of_a_study_stands_in_one_row_of_panels(finished):
    result, _ = finished
    config = {**result["config"], "stream": {"replayed": 5}}
    groups = rare_tables.grouped([
        result, {**result, "control": "zeroed"}, {**result, "config": config},
    ])  # fmt: skip
    parts = rare_tables.parted(groups)
    assert {title: list(part) for title, part in parts.items()} == {
        rare_tables.VARIANTS: ["nmn recommended, both"],
        rare_tables.CONTROLS: ["nmn recommended, both (zeroed)"],
        rare_tables.REPLAY: ["nmn recommended, both + replay"],
    }


def test_interrupted_in_mid_stream_it_ends_the_same(finished, tmp_path, monkeypatch):
    whole, _ = finished
    made = rare_stream.make_functions

    def breaking(run):
        functions = made(run)

        def step(state, pools):
            if int(state.learner.step) == 7:
                raise KeyboardInterrupt
            return functions.step(state, pools)

        return functions._replace(step=step)

    monkeypatch.setattr(rare_stream, "make_functions", breaking)
    with pytest.raises(KeyboardInterrupt):
        rare_classes.main(RUN, tmp_path, "")
    monkeypatch.undo()
    result = rare_classes.main(RUN, tmp_path, "")
    assert result["state_digest"] == whole["state_digest"]
    assert result["curves"] == whole["curves"]
    assert result["gradients"] == whole["gradients"]


def test_replay_and_the_plain_network_run_through_the_same_job(tmp_path):
    stream = rare_settings.Stream(replayed=3)
    run = dataclasses.replace(RUN, method="cnn", sg="off", stream=stream)
    result = rare_classes.main(run, tmp_path, "")
    assert result["gradients"] == {}
    assert rare_tables.name_of(result) == "cnn + replay"
    resting = {**result, "config": {**result["config"], "optim": {"lr": 1e-7}}}
    assert rare_tables.name_of(resting) == "cnn, rate 1e-07 + replay"
    with pytest.raises(ValueError, match="method"):
        rare_stream.make_learner(dataclasses.replace(run, method="svm"))
