"""One network for several settings: names, what is out of the question, one program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from experiments.common import training
from nmn_jax import losses
from nmn_jax.methods import end_to_end, prototype
from nmn_jax.methods.base import Method
from nmn_jax.nets.pixels import make_pixel_encoder
from nmn_jax.run import parallel
from nmn_jax.tasks import mixture
from nmn_jax.tasks.mixture import Kind

KINDS, NAMES, EPISODES, SIDE = (Kind(2, 1), Kind(3, 2)), 5, 4, 2
KEY = jax.random.key(3)


def task():
    return mixture.classification(
        KINDS, names=NAMES, queries=2, episodes=EPISODES, image_shape=(SIDE, SIDE)
    )


def source(classes=6, drawers=4):
    """The pixels of a class are its number."""
    numbers = np.arange(classes, dtype=np.uint8)[:, None, None, None]
    return jnp.asarray(np.broadcast_to(numbers, (classes, drawers, SIDE, SIDE)))


@pytest.mark.parametrize(("place", "kind"), list(enumerate(KINDS)))
def test_an_episode_has_names_of_its_own_and_says_which_are_absent(place, kind):
    batch = task().shapes[place](KEY, jnp.asarray(0), source())
    supports, queries = kind.ways * kind.shots, kind.ways * 2
    assert batch.context.targets.shape == (EPISODES, supports, NAMES)
    assert batch.answers.shape == (EPISODES, queries, NAMES)
    for episode in range(EPISODES):
        labels = np.asarray(batch.context.targets[episode])
        answers = np.asarray(batch.answers[episode])
        assert set(labels.ravel()) == {0.0, 1.0}
        present = labels.any(0)
        assert present.sum() == kind.ways
        np.testing.assert_array_equal(answers < 0, np.tile(~present, (queries, 1)))
        assert np.all((answers == 1).sum(1) == 1)
        # One name, one character: supports and queries agree.
        pixels = np.asarray(batch.context.inputs[episode, :, 0, 0])
        by_name = dict(zip(labels.argmax(1), pixels, strict=True))
        assert len(set(by_name.values())) == kind.ways
        asked = np.asarray(batch.queries[episode, :, 0, 0])
        assert [by_name[name] for name in answers.argmax(1)] == list(asked)
    named = {tuple(np.flatnonzero(each)) for each in batch.context.targets.any(1)}
    assert len(named) > 1


@tiny.float64
def test_loss_and_score_leave_absent_names_out():
    logits = tiny.normal(0, 4)
    target = jnp.asarray([-1.0, 0.0, 1.0, 0.0])
    among = np.asarray(logits)[1:]
    expected = np.log(np.exp(among).sum()) - among[1]
    found, slope = jax.value_and_grad(losses.present_cross_entropy)(logits, target)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert slope[0] == 0 and np.all(np.isfinite(slope)) and np.all(slope[1:] != 0)
    loud = jnp.asarray([9.0, 0.0, 1.0, 0.0])
    assert losses.present_scores(loud, target)["accuracy"] == 1
    assert losses.class_scores(loud, target)["accuracy"] == 0
    whole = jnp.asarray([0.0, 0.0, 1.0, 0.0])
    np.testing.assert_allclose(
        losses.present_cross_entropy(logits, whole),
        losses.cross_entropy(logits, whole), rtol=1e-12,
    )  # fmt: skip


def test_more_ways_than_names_are_refused():
    with pytest.raises(ValueError, match="more ways than there are names"):
        mixture.classification(KINDS, names=2, queries=1, episodes=1)
    with pytest.raises(ValueError, match="must be a kind"):
        mixture.classification((), names=2, queries=1, episodes=1)


def method() -> Method:
    """Prototypes on pixels, with a metric that says how many were asked."""
    chosen = task()
    design = end_to_end.Design(
        make_pixel_encoder(SIDE, (SIDE, SIDE)), prototype.READOUT, optax.sgd(0.1),
        chosen, functools.partial(end_to_end.query_loss, chosen),
    )  # fmt: skip
    made = end_to_end.make_method(design)

    def step(state, batch):
        after, metrics = made.step(state, batch)
        return after, {**metrics, "asked": jnp.asarray(batch.queries.shape[1])}

    return made._replace(step=step)


def test_a_training_of_all_kinds_is_one_program():
    made = method()
    mesh = jax.sharding.Mesh(jax.devices()[:1], (parallel.AXIS,))
    state = training.start_state(made, 0, selects=False)
    state, images = parallel.replicate(mesh, (state, source()))
    step = training.compile_step(made, task(), state, images, mesh=mesh)
    asked = []
    for _ in range(12):
        state, metrics = step(state, images)
        assert np.isfinite(metrics["loss"])
        asked.append(int(metrics["asked"]))
    assert set(asked) == {kind.ways * 2 for kind in KINDS}
    # Drawn, not in turn: what is logged every so many steps sees all kinds.
    assert asked != asked[:2] * 6
    # A name without supports is out of the question, and no reason for NaN.
    batch = task().sample(KEY, jnp.asarray(0), source())
    output = made.predict(made.slim(state.method), batch.context, batch.queries).output
    assert np.all(np.isfinite(output))
