"""A memory-augmented network: who knows which label when, and what it is trained on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from experiments.omniglot import presentations, records
from nmn_jax.methods import end_to_end, mann, table
from nmn_jax.methods.base import SUPPORT_OUTPUTS, Answer
from nmn_jax.nets.pixels import make_pixel_encoder
from nmn_jax.settings.rivals import MannSettings
from nmn_jax.tasks import episodes
from nmn_jax.tasks.base import Batch, Context

CLASSES, WIDTH, SUPPORTS, QUERIES = 3, 4, 5, 2
SMALL = MannSettings(units=6, slots=5, width=3, heads=2)


@functools.cache
def network():
    readout = mann.make_readout(SMALL, CLASSES)
    params = tiny.drawn(1, readout.init, WIDTH, scale=1.0)
    return tiny.jit(functools.partial(readout.answer, params))


def episode():
    targets = tiny.one_hot([0, 1, 2, 1, 0])
    return tiny.normal(2, SUPPORTS, WIDTH), targets, tiny.normal(3, QUERIES, WIDTH)


def test_a_label_is_told_after_its_answer_and_matters_from_then_on():
    supports, targets, queries = episode()
    whole = network()(supports, targets, queries)
    told = whole.evidence[SUPPORT_OUTPUTS]
    for step in (0, 2, 4):
        changed = targets.at[step].set(jnp.roll(targets[step], 1))
        other = network()(supports, changed, queries)
        found = other.evidence[SUPPORT_OUTPUTS]
        np.testing.assert_array_equal(found[: step + 1], told[: step + 1])
        if step + 1 < SUPPORTS:
            assert np.all(np.any(found[step + 1 :] != told[step + 1 :], axis=1))
        assert np.all(np.any(other.output != whole.output, axis=1))


def test_a_query_is_the_next_support_and_alone():
    """Asked and not stored: what a longer support set would have answered."""
    supports, targets, queries = episode()
    asked = network()(supports, targets, queries).output
    for query, found in zip(queries, asked, strict=True):
        longer = jnp.concatenate([supports, query[None]])
        unknown = jnp.concatenate([targets, jnp.zeros_like(targets[:1])])
        told = network()(longer, unknown, queries).evidence[SUPPORT_OUTPUTS]
        np.testing.assert_allclose(found, told[-1], rtol=1e-5, atol=1e-6)


def test_every_step_is_in_the_loss_as_published_or_the_queries_alone():
    task = episodes.classification(ways=3, shots=1, queries=1, episodes=2)
    supports, queries = tiny.normal(0, 2, 4, CLASSES), tiny.normal(1, 2, 3, CLASSES)
    targets = jnp.stack([tiny.one_hot([0, 1, 2, 2])] * 2)
    answers = jnp.stack([tiny.one_hot([1, 0, 2])] * 2)
    said = Answer(queries, {SUPPORT_OUTPUTS: supports})
    batch = Batch(Context(supports, targets), queries, answers)
    outputs = np.concatenate([supports, queries], axis=1).reshape(-1, CLASSES)
    right = np.concatenate([targets, answers], axis=1).reshape(-1, CLASSES)
    each = -np.sum(right * np.log(np.asarray(jax.nn.softmax(outputs))), axis=1)
    np.testing.assert_allclose(mann.step_loss(task, said, batch), each.mean(), 1e-5)
    each = each.reshape(2, -1)[:, 4:]
    found = end_to_end.query_loss(task, said, batch)
    np.testing.assert_allclose(found, each.mean(), rtol=1e-5)


def test_the_kth_presentation_is_the_kth_of_its_class():
    labels = np.array([[0, 1, 0, 2, 1, 2], [2, 2, 1, 1, 0, 0]])
    targets = np.eye(3)[labels]
    right = np.array([[1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 1, 0]])
    # Wrong answers name the next class.
    outputs = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
    found = presentations.accuracies(jnp.asarray(outputs), jnp.asarray(targets), 2)
    # First presentations: steps 0, 1, 3 of one episode and 0, 2, 4 of the other.
    np.testing.assert_allclose(found["accuracy at presentation 1"], [2 / 3, 1 / 3])
    np.testing.assert_allclose(found["accuracy at presentation 2"], [2 / 3, 2 / 3])


def test_pixels_are_means_and_nothing_of_an_encoder_may_be_given():
    images = tiny.normal(0, 1, 2, 4, 4)
    encoder = make_pixel_encoder(2, (4, 4))
    found, _ = encoder.apply((), (), images, supports=1, phase="test")
    assert found.shape == (1, 2, encoder.width)
    flat = make_pixel_encoder(4, (4, 4)).apply((), (), images, supports=1, phase="test")
    np.testing.assert_array_equal(flat[0], images.reshape(1, 2, 16))
    constant, _ = encoder.apply((), (), jnp.ones_like(images), supports=1, phase="test")
    np.testing.assert_allclose(constant, 1, rtol=1e-6)
    with pytest.raises(ValueError, match="cannot be shrunk to 5 x 5"):
        make_pixel_encoder(5, (4, 4))
    line = table.METHODS["mann"]
    run = records.Run(method="mann", model={"layers": 4})
    settings = records.resolve(run, line.uses, line.published(5, 1))
    task = episodes.classification(ways=5, shots=1, queries=1, episodes=8)
    with pytest.raises(ValueError, match="model.layers=4 has no effect with mann.pix"):
        line.make(settings, task, steps=1)


def test_published_settings_are_the_defaults():
    line = table.METHODS["mann"]
    settings = records.resolve(
        records.Run(method="mann"), line.uses, line.published(5, 1)
    )
    given = settings.mann
    assert (given.pixels, given.units, given.slots, given.width) == (20, 200, 128, 40)
    assert (given.heads, given.decay, given.loss) == (4, 0.99, "every_step")
    task = episodes.classification(ways=5, shots=1, queries=1, episodes=8)
    method = line.make(settings, task, steps=1)
    assert method.columns["encoder"] == "20x20 pixels"
    assert not method.transductive
