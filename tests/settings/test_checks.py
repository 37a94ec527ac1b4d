"""Every field of every record refuses what it cannot be, in Python as in a config.

The table is made from the records: a field added anywhere is tried with everything, and
has to be entered in `VALID` for what it may be.
"""

import dataclasses
import inspect
import math

import pytest

from experiments.copy import records as copy
from experiments.far_recall import records as far_recall
from experiments.omniglot import records as omniglot
from experiments.rare_classes import records as rare_classes
from nmn_jax.settings import checks, records

# Whose fields are tried, and the fields of the records within them.
ROOTS = {
    "library": records.Settings,
    "omniglot": omniglot.Run,
    "rare_classes": rare_classes.Run,
    "far_recall": far_recall.Run,
    "copy": copy.Run,
}

NAME, TWICE = "no such name", ("input", "input")
PROBES = [
    -1, -1.0, 0, 0.0, 10**30, 1e300, math.nan, math.inf, -math.inf, "", NAME, (), (3,),
    TWICE, None, True, [], {}, {3: 4}, object(),
]  # fmt: skip
# What is valid among the probes; of a field that is not here, nothing is.
LIBRARY = {
    "preset": [NAME],
    "model.key_width": [0],
    "model.memory_scale": [0, 0.0],
    "model.reads": [0],
    "sg.weight": [0, 0.0],
    "sg.warmup": [0],
    "sg.tensors": [(), []],
    "sg.keep": [0, 0.0],
    "optim.lr": [0, 0.0],
    "optim.predictor_lr": [0, 0.0],
    "optim.clip": [0, 0.0],
    "optim.controller_factor": [0, 0.0],
    "optim.frozen": [(), []],
    "optim.average": [0, 0.0],
    **{
        f"augment.{name}": [0, 0.0]
        for name in ("rotate", "stretch", "shear", "shift", "stroke", "bend")
    },
    **{
        f"recast.{name}": [0, 0.0]
        for name in ("rotate", "stretch", "shear", "mirror", "bend")
    },
    "stream.trace": [0, 0.0],
    "stream.auxiliary": [0, 0.0],
    "adapt.lr": [0, 0.0],
    "maml.test_steps": [0],
    "maml_plus.multi_step": [0],
    "maml_plus.first_order": [0],
    "mann.pixels": [0],
    "mann.decay": [0, 0.0],
    "reptile.test_steps": [0],
}
EXPERIMENT = {
    "method": [NAME],
    "seed": [0],
    "study": ["", NAME],
    "train.minutes": [0, 0.0],
    "train.steps_per_call": [0],
    **{name: [{}] for name in records.RECORDS},
}
VALID = {
    "library": LIBRARY,
    "omniglot": EXPERIMENT
    | {"data.split": [None], "validate.queries": [0], "validate.seed": [0]}
    | {"mixture": [(), []], "practice": [(), []]}
    | {"eval.queries": [0], "eval.seed": [0], "eval.adapt_steps": [(3,)]},
    "rare_classes": EXPERIMENT | {"data.frequent": [(3,)]},
    "far_recall": EXPERIMENT
    | {"method": [], "train.steps_per_call": [], "data.ahead": [0]},
    "copy": EXPERIMENT | {"method": [], "train.steps_per_call": [], "data.window": [0]},
}


def inner(record):
    """The records that a record has as fields."""
    made = [field.default_factory for field in dataclasses.fields(record)]
    return [each for each in made if dataclasses.is_dataclass(each)]


def family(record):
    return [record, *(below for each in inner(record) for below in family(each))]


RECORDS = [(name, each) for name, root in ROOTS.items() for each in family(root)]
FIELDS = [(root, r, f.name) for root, r in RECORDS for f in dataclasses.fields(r)]


def full_name(root, record, field):
    """A field's name within its root, e.g. `train.steps`."""
    within = "" if record is ROOTS[root] else f"{record.where}."
    return f"{within}{field}"


def make(record, **fields):
    """A record without the tests' own check of types, which would come first."""
    made = object.__new__(record)
    inspect.unwrap(record.__init__)(made, **fields)
    return made


@pytest.mark.parametrize(("root", "record", "name"), FIELDS)
def test_a_field_takes_what_is_valid_and_names_what_is_not(root, record, name):
    full = f"{record.where}.{name}" if record.where else name
    accepted = []
    for value in PROBES:
        try:
            make(record, **{name: value})
        except ValueError as error:
            said = str(error)
            assert said.startswith(f"{full}={value!r:.80}: must be "), said
        else:
            accepted.append(value)
    valid = VALID[root].get(full_name(root, record, name), [])
    assert list(map(repr, accepted)) == list(map(repr, valid))


def test_the_table_names_fields_that_there_are():
    names = {full_name(*field) for field in FIELDS}
    assert {each for valid in VALID.values() for each in valid} <= names


@pytest.mark.parametrize(("root", "record"), RECORDS)
def test_every_field_says_what_it_may_be_and_its_default_is(root, record):
    for field in dataclasses.fields(record):
        assert checks.check_of(field) is not None, field.name
    assert record() == record()
    assert dataclasses.replace(record()) == record()


def test_numbers_and_tuples_become_what_the_field_is():
    optim = make(records.OptimSettings, lr=1)
    assert type(optim.lr) is float
    sg = make(records.SGSettings, controllers=["write"])
    assert sg.controllers == ("write",)


@pytest.mark.parametrize(
    ("check", "inside", "outside"),
    [
        (checks.whole(2, 5), [2, 5], [1, 6, 2.0, True, "2"]),
        (checks.real(1, 2), [1, 1.0, 2], [0.999, 2.001, math.nan, math.inf, True]),
        (checks.real(1, 2, above=True), [1.001, 2], [1, 0]),
        (checks.positive, [1, 10**9], [0, 10**9 + 1]),
        (checks.seed, [0, 2**32 - 1], [-1, 2**32]),
        (checks.minutes, [0, 1.5], [-0.1, math.nan, math.inf]),
        (checks.share, [0, 0.5, 1], [-0.01, 1.01]),
        (checks.choice(("a", "b")), ["a"], ["c", "", ("a",), None]),
        (checks.text(least=1, most=3), ["a", "abc"], ["", "abcd", "a\n", 3]),
        (checks.optional(checks.positive), [None, 1], [0, "x"]),
        (checks.each(checks.positive), [(1,), [1, 2]], [(), (0,), (1, 1), 1, "12"]),
        (checks.each(checks.positive, least=0), [()], [(0,)]),
    ],
)  # fmt: skip
def test_checks_draw_their_line_where_they_say(check, inside, outside):
    assert [each for each in inside if not check.accepts(each)] == []
    assert [each for each in outside if check.accepts(each)] == []


def test_an_unknown_field_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"model\.slot: no such field; did .* slots"):
        checks.replaced(records.ModelSettings(), {"slot": 3})


ONE = {"write_rule": "least_used"}
CONTRADICTIONS = [
    (records.ModelSettings, {"key_width": 64}, "must be below model.width=64"),
    (records.ModelSettings, {"key_width": 3}, "key_width=3 with compose='mem_only'"),
    (records.ModelSettings, {"write_rule": "same_value"}, "with model.key_width=0"),
    (
        records.ModelSettings,
        {"gradients": "journal"},
        "least_used, in_turn, same_value",
    ),
    (records.ModelSettings, {"reads": 2}, "model.reads=2 with write_rule='convex'"),
    (records.ModelSettings, {**ONE, "reads": 11}, "must not be more than there are"),
    (
        records.ModelSettings,
        {**ONE, "reads": 2, "compose": "query_mem_weights"},
        "do not say which ones; choose compose 'query_mem'",
    ),
    (records.ModelSettings, {"search": "signs"}, "none is searched for"),
    (
        records.ModelSettings,
        {**ONE, "reads": 2, "search": "signs", "similarity": "euclidean"},
        "signs compare directions",
    ),
    (
        records.Settings,
        {
            "model": records.ModelSettings(gradients="recompute"),
            "sg": records.SGSettings(use="fast"),
        },
        "model.gradients='recompute' with sg.use='fast'",
    ),
    (records.SGSettings, {"control": "shuffled"}, "'shuffled' with sg.use='off'"),
    (records.AdaptSettings, {"source": "sg", "params": "decoder"}, "move controllers"),
    (
        records.Settings,
        {"adapt": records.AdaptSettings(source="both")},
        "adapt.source='both' with sg.use='off'",
    ),
]


@pytest.mark.parametrize(("record", "fields", "said"), CONTRADICTIONS)
def test_fields_that_contradict_one_another_are_refused(record, fields, said):
    with pytest.raises(ValueError, match=said):
        record(**fields)


def test_fields_that_fit_one_another_are_accepted():
    records.ModelSettings(
        key_width=32, compose="query_mem", write_rule="same_value", width=64
    )
    records.ModelSettings(**ONE, reads=10, search="signs", gradients="journal")
    kept = records.ModelSettings(gradients="recompute")
    slow = records.SGSettings(use="fast", writer="slow", controllers=("output",))
    records.Settings(model=kept, sg=slow)
    sg = records.SGSettings(use="fast", control="shuffled")
    records.Settings(sg=sg, adapt=records.AdaptSettings(source="sg"))
