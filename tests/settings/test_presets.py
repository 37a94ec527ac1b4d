"""Named settings say what they say, and what has no effect is refused."""

import dataclasses

import pytest

from nmn_jax import settings as settings_lib
from nmn_jax.methods import table
from nmn_jax.settings import OptimSettings, override, preset, resolve

ALL = ("model", "sg", "optim", "adapt", "stream", "replay")


def resolved(*, name="recommended", uses=ALL, default_use="fast", **overrides):
    return resolve(
        name, ways=5, shots=1, uses=uses, overrides=overrides, default_use=default_use
    )


def test_paper_is_the_text():
    """Section 1d of the methods cards: ten slots, LSTMs, Adam at 5e-6."""
    paper = preset("paper", ways=20, shots=5)
    model = paper.model
    assert (model.slots, model.controller, model.compose) == (10, "lstm", "mem_only")
    assert (model.label_input, model.similarity, model.scale) == ("none", "dot", 1.0)
    assert (model.write_rule, model.channels, model.layers) == ("convex", 64, 3)
    assert (paper.sg.predictor, paper.sg.scale) == ("lstm", "none")
    assert (paper.sg.train, paper.sg.step_size) == ("regress", "plain")
    assert paper.optim == OptimSettings(lr=5e-6, predictor_lr=5e-6)
    moving = preset("paper_fast_lr", ways=20, shots=5)
    assert dataclasses.replace(moving, preset="paper", optim=paper.optim) == paper


def test_recommended_has_a_slot_for_every_example():
    assert preset("recommended", ways=20, shots=5).model.slots >= 100


@pytest.mark.parametrize("name", settings_lib.PRESETS)
def test_a_preset_has_its_name_and_no_synthetic_gradients(name):
    found = preset(name, ways=5, shots=1)
    assert (found.preset, found.sg.use, found.sg.control) == (name, "off", "none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "papers"}, r"preset='papers'.*paper.*paper_fast_lr.*recommended"),
        ({"ways": 0}, "ways=0: must be a whole number from 1"),
        ({"shots": -1}, "shots=-1: must be a whole number from 1"),
    ],
)
def test_what_a_preset_cannot_be_made_for_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        preset(**{"name": "paper", "ways": 5, "shots": 1, **arguments})


def test_overrides_replace_what_is_given_and_leave_none():
    before = preset("recommended", ways=5, shots=1)
    found = override(before, model={"width": 96, "slots": None}, optim={"clip": 0.0})
    assert found.model == dataclasses.replace(before.model, width=96)
    assert found.optim == dataclasses.replace(before.optim, clip=0.0)
    assert found.sg == before.sg


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": {}}, "a record of settings='modle': must be one of 'model'"),
        ({"model": {"wdith": 3}}, "model.wdith: no such field; did you mean width"),
        ({"model": {"width": 0}}, "model.width=0: must be"),
        ({"model": {"width": 32}}, "key_width=64: must be below model.width=32"),
    ],
)
def test_overrides_that_cannot_be_are_refused(changes, message):
    before = preset("recommended", ways=5, shots=1)
    with pytest.raises(ValueError, match=message):
        override(before, **changes)


def test_fields_that_depend_on_one_another_change_together():
    found = resolved(model={"width": 32, "key_width": 16})
    assert (found.model.width, found.model.key_width) == (32, 16)
    found = resolved(name="paper", model={"key_width": 16, "compose": "query_mem"})
    assert found.model.key_width == 16


def test_a_run_stands_above_its_benchmark_and_that_above_the_preset():
    changes = {"model": {"slots": 20, "norm": "batch"}, "optim": {"lr": 0.5}}
    found = resolve(
        "recommended", ways=5, shots=1, uses=ALL, default_use="both",
        overrides={"model": {"slots": 7}, "optim": {"clip": None}}, changes=changes,
    )  # fmt: skip
    before = preset("recommended", ways=5, shots=1)
    model = dataclasses.replace(before.model, slots=7, norm="batch")
    optim = dataclasses.replace(before.optim, lr=0.5)
    sg = dataclasses.replace(before.sg, use="both")
    expected = dataclasses.replace(before, model=model, optim=optim, sg=sg)
    assert found == expected


def test_what_a_benchmark_changes_may_be_without_effect():
    changes = {"model": {"slots": 20}}
    found = resolve(
        "recommended", ways=5, shots=1, uses=("model.norm", "optim.lr"),
        overrides={}, default_use="both", changes=changes,
    )  # fmt: skip
    assert (found.model.slots, found.sg.use) == (20, "off")


@pytest.mark.parametrize(
    ("uses", "given", "use"),
    [
        (ALL, {}, "fast"),
        (ALL, {"use": None}, "fast"),
        (ALL, {"use": "off"}, "off"),
        (ALL, {"use": "both", "control": "shuffled"}, "both"),
        (("model",), {}, "off"),
        (("model",), {"use": "off", "control": "none"}, "off"),
        (("model", "sg.use"), {}, "fast"),
    ],
)
def test_synthetic_gradients_are_used_where_they_can_be(uses, given, use):
    assert resolved(uses=uses, sg=given).sg.use == use


IDLE = [
    (("model.norm", "optim.lr"), {"sg": {"use": "both"}}, "sg.use='both'"),
    (("model.norm", "optim.lr"), {"model": {"slots": 3}}, "model.slots=3"),
    (("model.norm", "optim.lr"), {"optim": {"predictor_lr": 1.0}}, "predictor_lr=1.0"),
    (("model", "sg"), {"replay": {"count": 3}}, "replay.count=3"),
    (("model", "-model.norm"), {"model": {"norm": "batch"}}, "model.norm='batch'"),
    (ALL, {"sg": {"use": "off", "predictor": "mlp"}}, "predictor='mlp'.* sg.use='off'"),
    (ALL, {"sg": {"use": "off", "rule": "add"}}, "sg.rule='add'.* sg.use='off'"),
    (ALL, {"sg": {"use": "off", "rate": 1.0}}, "sg.rate=1.0.* 'fast', 'both'"),
    (ALL, {"sg": {"use": "off"}, "optim": {"predictor_lr": 1.0}}, "predictor_lr=1.0"),
    (ALL, {"sg": {"use": "off"}, "stream": {"target": "step"}}, "target='step'"),
    (ALL, {"sg": {"use": "fast", "weight": 0.5}}, "weight=0.5.* 'decoupled', 'both'"),
    (ALL, {"sg": {"use": "decoupled", "rate": 0.5}}, "rate=0.5.* 'fast', 'both'"),
    (ALL, {"sg": {"use": "decoupled", "train": "meta"}}, "train='meta'"),
    (ALL, {"sg": {"use": "off", "control": "zeroed"}}, "control='zeroed' with sg.use"),
]  # fmt: skip


@pytest.mark.parametrize(("uses", "given", "said"), IDLE)
def test_what_has_no_effect_is_refused(uses, given, said):
    with pytest.raises(ValueError, match=said):
        resolved(uses=uses, **given)


ACTIVE = [
    {"sg": {"use": "decoupled", "rule": "replace", "scale": "none", "warmup": 3}},
    {"sg": {"use": "fast", "rate": 0.5, "writer": "fast", "control": "oracle_step"}},
    {"sg": {"use": "both", "rate": 0.5, "weight": 0.5, "predictor": "mlp"}},
    {"sg": {"use": "off"}, "stream": {"carry": "memory"}, "replay": {"kept": 3}},
    {"adapt": {"source": "sg", "params": "controllers"}},
]


@pytest.mark.parametrize("given", ACTIVE)
def test_what_has_an_effect_reaches_the_settings(given):
    found = resolved(**given)
    for record, fields in given.items():
        for name, value in fields.items():
            assert getattr(getattr(found, record), name) == value


def test_a_misspelt_field_is_told_as_such_before_it_is_without_effect():
    with pytest.raises(ValueError, match=r"sg\.core: no such field"):
        resolved(sg={"use": "off", "core": "lstm"})


@pytest.mark.parametrize("name", table.METHODS)
def test_what_a_method_uses_are_settings_that_there_are(name):
    known = {
        f"{record}.{field.name}"
        for record in settings_lib.records.RECORDS
        for field in dataclasses.fields(getattr(settings_lib.Settings(), record))
    } | set(settings_lib.records.RECORDS)
    assert {each.removeprefix("-") for each in table.METHODS[name].uses} <= known


@pytest.mark.parametrize("method", table.METHODS)
def test_what_is_the_case_anyway_may_be_said_of_every_method(method):
    given = {"sg": {"use": "off", "control": "none"}, "model": {"label_input": "none"}}
    found = resolved(uses=table.METHODS[method].uses, **given)
    assert (found.sg.use, found.model.label_input) == ("off", "none")


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("nmn", {"sg": {"keep": 0.5}}),
        ("nmn", {"stream": {"carry": "memory"}}),
        ("nmn_stream", {"model": {"presentations": 2}}),
        ("nmn_stream", {"adapt": {"lr": 0.1}}),
        ("nmn_replay", {"model": {"presentations": 2}}),
        ("prototype", {"sg": {"use": "both"}}),
        ("prototype", {"model": {"slots": 3}}),
        ("cnn", {"sg": {"use": "both"}}),
        ("cnn", {"optim": {"controller_factor": 2.0}}),
        ("cnn_replay", {"model": {"width": 32}}),
    ],
)
def test_a_method_refuses_what_it_does_not_use(method, given):
    with pytest.raises(ValueError, match="has no effect on this method"):
        resolved(name="paper", uses=table.METHODS[method].uses, **given)
