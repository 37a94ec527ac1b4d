"""Every method of the table on tiny tasks: its first state, and its loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from nmn_jax import losses
from nmn_jax.methods import mann
from nmn_jax.methods.table import METHODS, entry
from nmn_jax.settings import override, preset
from nmn_jax.tasks.base import (
    Batch,
    Context,
    ForecastBatch,
    Spec,
    StreamBatch,
    Task,
)

WIDTH, TARGETS = 3, 2
SMALL = {"slots": 6, "width": 8, "key_width": 0, "channels": 2, "layers": 1}


def no_data(key, step, source):
    raise AssertionError("these tests hand their batches over")


def make_task(form, kind, input_shape):
    if form == "forecast":
        spec = Spec(form, "regression", (4, TARGETS), TARGETS, horizon=4)
        return Task(spec, no_data, losses.squared_error, losses.regression_scores)
    loss, score = {
        "classification": (losses.cross_entropy, losses.class_scores),
        "regression": (losses.squared_error, losses.regression_scores),
    }[kind]
    return Task(Spec(form, kind, input_shape, TARGETS), no_data, loss, score)


def make(name, task, *, use="both", **optim):
    """A small method of the table; `both` where synthetic gradients have a say."""
    line = METHODS[name]
    settings = preset("recommended", ways=TARGETS, shots=1)
    settings = override(settings, **line.published(TARGETS, 1))
    if not {"sg", "sg.use"} & set(line.uses):
        use = "off"
    optim = {"lr": 1e-2, "predictor_lr": 1e-2, "schedule": "constant", **optim}
    small = {**SMALL, **mann.UNUSED} if name == "mann" else SMALL
    settings = override(
        settings, model=small, sg={"use": use}, optim=optim,
        replay={"count": 2, "kept": 2}, mann={"pixels": 4},
        snail={"reach": 1},
    )  # fmt: skip
    return line.make(settings, task, steps=10)


def a_batch(form, targets, *, input_shape, count=4):
    """Inputs at random; targets as the function makes them of the inputs."""
    inputs = tiny.normal(1, 2, count, *input_shape)
    if form == "forecast":
        return ForecastBatch(*tiny.normal(1, 2, count, 4, TARGETS))
    if form == "stream":
        return StreamBatch(inputs[0], targets(inputs[:1])[0])
    asked = tiny.normal(2, 2, count, *input_shape)
    return Batch(Context(inputs, targets(inputs)), asked, targets(asked))


def classes(inputs):
    """One-hot, the classes by turns."""
    labels = np.arange(inputs.shape[1]) % TARGETS
    return jnp.stack([tiny.one_hot(labels, TARGETS)] * len(inputs))


def plane(inputs):
    """A linear map of vectors."""
    return jnp.einsum("bsd,dc->bsc", inputs, tiny.normal(3, WIDTH, TARGETS))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_first_state_has_buffers_of_its_own_and_the_types_of_every_later_one(
    name, key
):
    form = METHODS[name].form
    task = make_task(form, "classification", (4, 4))
    method = make(name, task)
    state = method.init(key)
    leaves = [
        leaf
        for leaf in jax.tree.leaves(state)
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    ]
    assert not [leaf for leaf in leaves if leaf.weak_type]
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves if leaf.size]
    assert len(set(pointers)) == len(pointers)
    # A state of another type would be compiled for again.
    batch = a_batch(form, classes, input_shape=(4, 4))
    after, metrics = jax.eval_shape(method.step, state, batch)
    types = lambda tree: [  # noqa: E731
        (leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False))
        for leaf in jax.tree.leaves(tree)
    ]
    assert types(after) == types(state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    scores = task.score(*(jnp.ones(TARGETS),) * 2)
    assert {"loss", *scores} <= set(metrics)


@pytest.mark.parametrize("name", ["nmn", "nmn_stream"])
def test_a_regression_enters_and_its_loss_falls(name, key):
    form = METHODS[name].form
    method = make(name, make_task(form, "regression", (WIDTH,)))
    batch = a_batch(form, plane, input_shape=(WIDTH,))
    step = tiny.jit(method.step)
    state, first = step(method.init(key), batch)
    for _ in range(60):
        state, metrics = step(state, batch)
    assert float(metrics["loss"]) < 0.5 * float(first["loss"])
    # Its score is the squared error, which is also the loss of the batch.
    np.testing.assert_allclose(metrics["squared_error"], metrics["loss"], rtol=1e-4)


@pytest.mark.parametrize("name", ["prototype", "nmn_replay", "cnn_replay"])
def test_what_needs_classes_refuses_a_regression(name):
    task = make_task(METHODS[name].form, "regression", (4, 4))
    with pytest.raises(ValueError, match="this task is a regression"):
        make(name, task)


def test_a_method_of_another_form_is_unknown_and_the_known_ones_are_named():
    assert entry("nmn", form="episodes") is METHODS["nmn"]
    with pytest.raises(ValueError, match=r"unknown method 'nmn'.*cnn.*nmn_stream"):
        entry("nmn", form="stream")
