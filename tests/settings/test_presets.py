"""Named settings: every one builds, the paper's say what it says, errors help."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from nmn_jax import builders, fast, feedback, presets
from nmn_jax import model as model_lib

WAYS, QUERIES = 3, 6


def abstract_batch():
    shape = jax.ShapeDtypeStruct
    return feedback.Batch(
        shape((2, WAYS + QUERIES, 28, 28), jnp.float32),
        shape((2, WAYS, WAYS), jnp.float32),
        shape((2, QUERIES, WAYS), jnp.float32),
    )


def steps_abstractly(settings):
    """Trace one whole step, without compiling or running it."""
    _, learner = presets.make_learner(settings, classes=WAYS, steps=10)
    state = jax.eval_shape(learner.init, jax.random.key(0))
    after, metrics = jax.eval_shape(learner.step, state, abstract_batch())
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize("sg", presets.SG)
@pytest.mark.parametrize("name", ["paper", "recommended"])
def test_every_preset_steps_with_every_use_of_synthetic_gradients(name, sg):
    steps_abstractly(presets.preset(name, ways=WAYS, shots=1, sg=sg))


@pytest.mark.parametrize("control", presets.CONTROL[1:])
def test_recommended_steps_under_every_control(control):
    settings = presets.preset(
        "recommended", ways=WAYS, shots=1, sg="both", control=control
    )
    steps_abstractly(settings)


@pytest.mark.parametrize("control", presets.CONTROL)
@pytest.mark.parametrize("sg", presets.SG)
@pytest.mark.parametrize("name", presets.PRESETS)
def test_the_whole_table_builds(name, sg, control):
    settings = presets.preset(name, ways=5, shots=1, sg=sg, control=control)
    assert (settings.preset, settings.sg.use) == (name, sg)
    assert settings.sg.control == control
    presets.make_learner(settings, classes=5, steps=10)
    built = presets.make_feedback(settings.sg)
    assert (built.rule != "backprop") is (sg in ("decoupled", "both"))
    assert (built.fast is not None) is (sg in ("fast", "both"))
    expected = "none" if sg == "off" or control == "double_rate" else control
    assert built.control is feedback.CONTROLS[expected]
    assert settings.optim.controller_factor == (2 if control == "double_rate" else 1)


def test_paper_is_the_text():
    """Section 1d of the methods cards: ten slots, LSTMs, Adam at 5e-6."""
    settings = presets.preset("paper", ways=20, shots=5, sg="decoupled")
    model = settings.model
    assert (model.slots, model.controller, model.compose) == (10, "lstm", "mem_only")
    assert (model.label_input, model.similarity, model.scale) == ("none", "dot", 1.0)
    assert (model.write_rule, model.channels, model.layers) == ("convex", 64, 3)
    assert (settings.sg.core, settings.sg.scale) == ("lstm", "none")
    assert (settings.sg.train, settings.sg.step_size) == ("regress", "plain")
    assert settings.optim == presets.OptimSettings(lr=5e-6, predictor_lr=5e-6)
    moving = presets.preset("paper_fast_lr", ways=20, shots=5, sg="decoupled")
    assert dataclasses.replace(moving, preset="paper", optim=settings.optim) == settings


def test_recommended_has_a_slot_for_every_example():
    settings = presets.preset("recommended", ways=20, shots=5)
    assert settings.model.slots >= 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "papers"}, r"'papers'.*paper.*paper_fast_lr.*recommended"),
        ({"sg": "on"}, r"'on'.*off.*decoupled.*fast.*both"),
        ({"control": "half_rate"}, r"'half_rate'.*zeroed.*oracle.*shuffled"),
    ],
)
def test_unknown_names_are_refused_with_the_list(arguments, message):
    with pytest.raises(ValueError, match=message):
        presets.preset(**{"name": "paper", "ways": 5, "shots": 1, **arguments})


MISSPELT = [
    ("model", "controller", "lstn", "lstm"),
    ("model", "compose", "both", "query_mem"),
    ("model", "label_input", "support", "offset"),
    ("model", "similarity", "cos", "cosine"),
    ("model", "write_rule", "ntm", "least_used"),
    ("model", "norm", "layer", "running"),
    ("sg", "core", "gru", "residual"),
    ("sg", "scale", "std", "rms"),
    ("sg", "control", "none?", "zeroed"),
    ("sg", "rule", "sum", "replace"),
    ("sg", "train", "maml", "regress"),
    ("sg", "step_size", "clip", "normalised"),
    ("sg", "order", "0", "second"),
    ("optim", "schedule", "linear", "cosine"),
]


@pytest.mark.parametrize(("group", "field", "given", "allowed"), MISSPELT)
def test_misspelt_choices_are_refused_with_the_list(group, field, given, allowed):
    settings = presets.preset("recommended", ways=5, shots=1, sg="both")
    wrong = dataclasses.replace(getattr(settings, group), **{field: given})
    settings = dataclasses.replace(settings, **{group: wrong})
    with pytest.raises(ValueError, match=f"{given}.*{allowed}".replace("?", r"\?")):
        presets.make_learner(settings, classes=5, steps=10)


def test_a_key_that_leaves_no_room_for_labels_is_refused():
    settings = presets.preset("recommended", ways=5, shots=1).model
    narrow = dataclasses.replace(settings, width=68)
    with pytest.raises(ValueError, match="no room"):
        builders.make_model(narrow, classes=5)


def test_untrained_recommended_model_is_a_matching_network(key):
    """Every example in its own slot, queries answered by their likeness to keys."""
    settings = presets.preset("recommended", ways=3, shots=2).model
    small = dataclasses.replace(settings, width=12, key_width=8, controller="stateless")
    model = builders.make_model(small, classes=3)._replace(encoder=tiny.dense_encoder())
    params, _ = model_lib.init(model, key)
    features, labels = tiny.normal(1, 6 + 4, tiny.D), tiny.one_hot([0, 2, 1, 1, 0, 2])
    taps = model_lib.zero_taps(model, 6, 4, jnp.float32)
    run = tiny.jit(
        functools.partial(model_lib.run_episode, model, model_lib.slow_support(model))
    )
    logits = run(params, features, labels, labels, taps).logits
    keys = np.asarray(features @ params.cell.controllers.input["skip"])[:, :8]
    keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    # A slot is longer than its key, but the likeness is that of the key part alone.
    powers = np.exp(10 * keys[6:] @ keys[:6].T)
    attention = powers / powers.sum(axis=1, keepdims=True)
    expected = np.sqrt(12) * attention @ np.asarray(labels)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def one_update(optimizer, grads, steps=1):
    state, updates = optimizer.init(grads), None
    for _ in range(steps):
        updates, state = optimizer.update(grads, state, grads)
    return updates


def test_optimizers_are_adam_with_schedule_and_clipping():
    grads = {"w": jnp.array([3.0, -4.0])}
    constant = presets.make_optimizer(presets.OptimSettings(), 0.1, steps=4)
    np.testing.assert_allclose(
        one_update(constant, grads, steps=5)["w"], [-0.1, 0.1], rtol=1e-5
    )
    cosine = presets.OptimSettings(schedule="cosine")
    cosine = presets.make_optimizer(cosine, 0.1, steps=4)
    np.testing.assert_allclose(
        one_update(cosine, grads, steps=3)["w"], [-0.05, 0.05], rtol=1e-5
    )
    np.testing.assert_allclose(one_update(cosine, grads, steps=5)["w"], 0, atol=1e-8)
    clipped = presets.make_optimizer(presets.OptimSettings(clip=1.0), 0.1, steps=4)
    first_moment = clipped.update(grads, clipped.init(grads), grads)[1]
    moments = optax.tree.get(first_moment, "mu")["w"]
    np.testing.assert_allclose(moments, [0.1 * 0.6, -0.1 * 0.8], rtol=1e-5)


def test_double_rate_doubles_the_updates_of_the_controllers_alone():
    params = tiny.model_params(1, tiny.make_model("linear"))
    updates = tiny.filled(5, params)
    doubling = presets.scale_controllers(2.0)
    found, _ = doubling.update(updates, doubling.init(params), params)
    expected = jax.tree.map(lambda u: 2 * u, updates.cell.controllers)
    chex.assert_trees_all_equal(found.cell.controllers, expected)
    still = found.cell._replace(controllers=updates.cell.controllers)
    chex.assert_trees_all_equal(found._replace(cell=still), updates)


def test_double_rate_of_a_preset_reaches_its_optimiser(monkeypatch):
    """Same gradients, same Adam: only the controllers move twice as far."""
    seen = []

    def make_learner(model, chosen, network, predictors):
        seen.append(network)
        return presets.learner_lib.Learner(None, None, None)

    monkeypatch.setattr(presets.learner_lib, "make_learner", make_learner)
    grads = tiny.model_params(1, tiny.make_model("linear"))
    for control in ("none", "double_rate"):
        settings = presets.preset("paper", ways=5, shots=1, control=control)
        presets.make_learner(settings, classes=5, steps=10)
    once, twice = (one_update(optimizer, grads) for optimizer in seen)
    doubled = jax.tree.map(lambda u: 2 * u, once.cell.controllers)
    expected = once._replace(cell=once.cell._replace(controllers=doubled))
    chex.assert_trees_all_close(twice, expected, rtol=1e-6)


def test_off_has_no_second_path():
    built = presets.make_feedback(presets.preset("paper", ways=5, shots=1).sg)
    assert built.fast is None and built.rule == "backprop"
    assert built.predictor.init(jax.random.key(0), 4, 5) == ()
    both = presets.preset("recommended", ways=5, shots=1, sg="both")
    path = presets.make_feedback(both.sg).fast
    assert path.controllers == ("output",) and path.tensors == ("skip",)
    assert path.writer is fast.slow_writes


def test_a_memory_of_keys_needs_an_output_controller_that_sees_the_query():
    settings = presets.preset("recommended", ways=5, shots=1).model
    blind = dataclasses.replace(settings, compose="mem_only")
    with pytest.raises(ValueError, match="key_width=64 with compose='mem_only'"):
        builders.make_model(blind, classes=5)


def test_one_slot_for_each_value_needs_keys():
    settings = presets.preset("paper", ways=5, shots=1).model
    flat = dataclasses.replace(settings, write_rule="same_value")
    with pytest.raises(ValueError, match="unknown write rule 'same_value'"):
        builders.make_model(flat, classes=5)
    keyed = presets.preset("recommended", ways=5, shots=1).model
    builders.make_model(dataclasses.replace(keyed, write_rule="same_value"), classes=5)


def test_overrides_replace_what_is_given_and_leave_none():
    settings = presets.preset("recommended", ways=5, shots=1)
    found = presets.override(
        settings, model={"width": 96, "slots": None}, optim={"clip": 0.0}
    )
    assert found.model == dataclasses.replace(settings.model, width=96)
    assert found.optim == dataclasses.replace(settings.optim, clip=0.0)
    assert found.sg == settings.sg
