"""Settings become parts: every choice builds, and the parts are what was asked for."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from nmn_jax import cell as cell_lib
from nmn_jax import model as model_lib
from nmn_jax.feedback import controls, fast
from nmn_jax.settings import builders, preset, records
from nmn_jax.tasks.base import Spec
from nmn_jax.types import Inputs, PerController

SPEC = Spec("episodes", "classification", (28, 28), 5)
VECTORS = Spec("episodes", "regression", (3,), 2)


def recommended(**changes):
    return dataclasses.replace(preset("recommended", ways=5, shots=1).model, **changes)


def sg_settings(**changes):
    return dataclasses.replace(preset("recommended", ways=5, shots=1).sg, **changes)


def names(record, field):
    """The choices of a field, from the error that lists them."""
    (declared,) = [f for f in dataclasses.fields(record) if f.name == field]
    allowed = declared.metadata["check"].allowed
    return [each.strip("'") for each in allowed.removeprefix("one of ").split(", ")]


CHOICES = [
    (record, field.name, name)
    for record in (records.ModelSettings, records.SGSettings, records.OptimSettings)
    for field in dataclasses.fields(record)
    if field.metadata["check"].allowed.startswith("one of ")
    for name in names(record, field.name)
]


@pytest.mark.parametrize(("record", "field", "name"), CHOICES)
def test_every_choice_builds(record, field, name):
    if record is records.ModelSettings:
        if (field, name) == ("compose", "mem_only"):
            builders.make_model(recommended(compose=name, key_width=0), SPEC)
        elif field == "search":
            few = {"reads": 2, "compose": "query_mem", field: name}
            builders.make_model(recommended(**few), SPEC)
        else:
            builders.make_model(recommended(**{field: name}), SPEC)
    elif record is records.SGSettings:
        builders.make_sg(sg_settings(**{"use": "both", field: name, "control": "none"}))
    else:
        builders.make_optimizers(records.OptimSettings(**{field: name}), steps=10)


@pytest.mark.parametrize("control", controls.CONTROLS)
@pytest.mark.parametrize("use", records.USES)
def test_the_second_path_acts_where_it_is_used(use, control):
    if use == "off" and control != "none":
        return
    built = builders.make_sg(sg_settings(use=use, control=control))
    assert (built.rule != "backprop") is (use in ("decoupled", "both"))
    assert (built.fast is not None) is (use in ("fast", "both"))
    assert built.control is controls.CONTROLS[control]


def test_off_has_no_second_path():
    built = builders.make_sg(preset("paper", ways=5, shots=1).sg)
    assert built.fast is None and built.rule == "backprop"
    assert built.predictor.init(jax.random.key(0), 4, 5) == ()
    path = builders.make_sg(sg_settings(use="both", keep=0.5)).fast
    assert path.controllers == ("output",) and path.tensors == ("skip",)
    assert path.writer is fast.slow_writes
    assert path.keep == 0.5


def test_a_model_fits_its_task():
    model = builders.make_model(recommended(presentations=3, slots=7), SPEC)
    assert (model.encoder.width, model.cell.width, model.targets) == (576, 128, 5)
    assert (model.presentations, model.cell.memory.slots) == (3, 7)
    small = builders.make_model(recommended(), SPEC._replace(input_shape=(16, 24)))
    assert small.encoder.width == 2 * 3 * 64
    vectors = builders.make_model(recommended(), VECTORS)
    assert (vectors.encoder.width, vectors.targets) == (128, 2)
    params, _ = jax.eval_shape(vectors.encoder.init, jax.random.key(0))
    assert params["kernel"].shape == (3, 128)


@pytest.mark.parametrize(
    ("settings", "spec", "said"),
    [
        (recommended(width=68), SPEC, "width=68 has no room for .* 5 classes"),
        (recommended(layers=5), SPEC, "5 poolings leave nothing"),
        (recommended(), SPEC._replace(input_shape=(2, 3, 4)), r"shape \(2, 3, 4\)"),
        (recommended(precision="bfloat16"), VECTORS, "'bfloat16' has no effect on vec"),
    ],
)
def test_a_model_that_does_not_fit_its_task_is_refused(settings, spec, said):
    with pytest.raises(ValueError, match=said):
        builders.make_model(settings, spec)


def test_one_slot_for_each_value_where_there_is_a_key():
    """The same value twice moves its slot; another value takes a slot of its own."""
    settings = recommended(write_rule="same_value", width=4, key_width=2, slots=3)
    memory = builders.make_memory(settings)
    params = memory.init(jax.random.key(0))
    state, found = memory.start(params), []
    for value in ([1.0, 0], [1.0, 0], [0, 1.0]):
        update = jnp.asarray([0.5, -0.5, *value])
        reading = memory.read(params, state, update)
        state, weights = memory.write(params, state, reading, update)
        found.append(np.argmax(weights))
    assert found[0] == found[1] != found[2]


def test_untrained_recommended_model_is_a_matching_network(key):
    """Every example in its own slot, queries answered by their likeness to keys."""
    settings = recommended(slots=6, width=12, key_width=8, controller="stateless")
    cell = builders.make_cell(dataclasses.replace(settings, presentations=1))
    params = cell.init(key, features=tiny.D, classes=3)
    features, labels = tiny.normal(1, 6 + 4, tiny.D), tiny.one_hot([0, 2, 1, 1, 0, 2])
    decoder = builders.make_decoder(settings, 3)
    outputs = tiny.jit(functools.partial(_answers, cell))(params, features, labels)
    answers = jax.vmap(decoder.apply, (None, 0))(decoder.init(key, 12), outputs)
    keys = np.asarray(features @ params.controllers.input["skip"])[:, :8]
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    # A slot is longer than its key, but the likeness is that of the key part alone.
    powers = np.exp(10 * keys[6:] @ keys[:6].T)
    attention = powers / powers.sum(axis=1, keepdims=True)
    expected = np.sqrt(12) * attention @ np.asarray(labels)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)


def _answers(cell, params, features, labels):
    """What the output controller says to the features that have no label."""
    stored, asked = len(labels), len(features) - len(labels)
    nothing = jnp.zeros_like(labels)
    given = Inputs(features[:stored], labels, nothing)
    state, _ = cell_lib.unroll(cell, params, cell.initial_state(params), given)
    none = jnp.zeros((asked, labels.shape[1]))
    questions = Inputs(features[stored:], none, none)
    return cell_lib.ask(cell, params, state, questions).outputs.output


def one_update(optimizer, grads, steps=1):
    state, updates = optimizer.init(grads), None
    for _ in range(steps):
        updates, state = optimizer.update(grads, state, grads)
    return updates


def test_optimizers_are_adam_with_schedule_and_clipping():
    grads = {"w": jnp.array([3.0, -4.0])}
    constant = builders.make_optimizer(records.OptimSettings(), 0.1, steps=4)
    np.testing.assert_allclose(
        one_update(constant, grads, steps=5)["w"], [-0.1, 0.1], rtol=1e-5
    )
    cosine = records.OptimSettings(schedule="cosine")
    cosine = builders.make_optimizer(cosine, 0.1, steps=4)
    np.testing.assert_allclose(
        one_update(cosine, grads, steps=3)["w"], [-0.05, 0.05], rtol=1e-5
    )
    np.testing.assert_allclose(one_update(cosine, grads, steps=5)["w"], 0, atol=1e-8)
    clipped = builders.make_optimizer(records.OptimSettings(clip=1.0), 0.1, steps=4)
    first_moment = clipped.update(grads, clipped.init(grads), grads)[1]
    moments = optax.tree.get(first_moment, "mu")["w"]
    np.testing.assert_allclose(moments, [0.1 * 0.6, -0.1 * 0.8], rtol=1e-5)


def controller_gradients():
    """The same for every part of a model."""
    some = {"w": jnp.array([3.0, -4.0])}
    cell = cell_lib.CellParams(some, PerController(some, some, some))
    return model_lib.ModelParams(some, cell, some)


def test_a_factor_on_the_controllers_reaches_them_alone():
    """Same gradients, same Adam: only the controllers move twice as far."""
    grads = controller_gradients()
    once, twice = (
        one_update(
            builders.make_optimizers(
                records.OptimSettings(lr=0.1, controller_factor=factor), steps=10
            )[0],
            grads,
        )
        for factor in (1.0, 2.0)
    )
    doubled = jax.tree.map(lambda u: 2 * u, once.cell.controllers)
    expected = once._replace(cell=once.cell._replace(controllers=doubled))
    chex.assert_trees_all_close(twice, expected, rtol=1e-6)


def test_a_frozen_controller_stays_as_it_begins():
    grads = controller_gradients()
    plain, frozen = (
        one_update(
            builders.make_optimizers(
                records.OptimSettings(lr=0.1, frozen=names), steps=10
            )[0],
            grads,
        )
        for names in ((), ("write",))
    )
    still = jax.tree.map(jnp.zeros_like, plain.cell.controllers.write)
    controllers = plain.cell.controllers._replace(write=still)
    expected = plain._replace(cell=plain.cell._replace(controllers=controllers))
    chex.assert_trees_all_close(frozen, expected, rtol=1e-6)
    assert np.any(plain.cell.controllers.write["w"])


def test_network_and_predictors_have_rates_of_their_own():
    optim = records.OptimSettings(lr=0.1, predictor_lr=0.3)
    grads = {"w": jnp.array([3.0, -4.0])}
    found = [
        one_update(each, grads)["w"]
        for each in builders.make_optimizers(optim, steps=10)
    ]
    np.testing.assert_allclose(found, [[-0.1, 0.1], [-0.3, 0.3]], rtol=1e-5)
