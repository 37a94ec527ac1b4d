"""Mappings become frozen records, and nothing that is not understood is ignored."""

import dataclasses
from typing import Any, Literal

import ml_collections
import pytest

from nmn_jax.settings import reader


@dataclasses.dataclass(frozen=True)
class Optim:
    lr: float = 1e-3
    clip: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)


@dataclasses.dataclass(frozen=True)
class Run:
    ways: int
    rule: Literal["add", "mix"] = "add"
    shuffle: bool = True
    optim: Optim = Optim()
    steps: tuple[int, ...] = (0,)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)


def test_nested_mappings_become_records():
    given = {
        "ways": 5, "rule": "mix", "shuffle": False, "steps": [0, 10],
        "optim": {"lr": 1, "clip": 2.0}, "model": {"width": 3},
    }  # fmt: skip
    wanted = Run(
        5, "mix", False, Optim(1.0, 2.0), steps=(0, 10), model={"width": 3}
    )  # fmt: skip
    assert reader.from_mapping(Run, given) == wanted
    found = reader.from_mapping(Run, ml_collections.ConfigDict(given))
    assert found == wanted
    assert type(found.optim.lr) is float
    assert type(found.model) is dict
    assert reader.from_mapping(Run, {"ways": 2}) == Run(2)


def test_a_record_that_was_written_out_comes_back():
    run = Run(3, optim=Optim(clip=None))
    assert reader.from_mapping(Run, dataclasses.asdict(run)) == run


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"way": 5}, r"config\.way: no such field in Run; did you mean ways\?"),
        (
            {"ways": 5, "optim": {"learning_rate": 1.0}},
            r"config\.optim\.learning_rate: no such field .* known: betas, clip, lr",
        ),
        ({"ways": "5"}, r"config\.ways: '5' is a str, expected int"),
        ({"ways": True}, r"config\.ways: True is a bool, expected int"),
        ({"ways": 5.0}, r"config\.ways: 5\.0 is a float, expected int"),
        ({"ways": 5, "shuffle": 1}, r"config\.shuffle: 1 is a int, expected bool"),
        ({"ways": 5, "optim": 3}, r"config\.optim: 3 is a int, expected Optim"),
        ({"ways": 5, "optim": {"clip": "x"}}, r"optim\.clip: 'x' .* float or NoneType"),
        ({"ways": 5, "optim": {"betas": (1.0,)}}, r"optim\.betas: .* 2 entries"),
        ({"ways": 5, "steps": (0, "x")}, r"config\.steps\[1\]: 'x' is a str"),
        ({"ways": 5, "steps": 3}, r"config\.steps: 3 is a int, expected tuple"),
        ({"ways": 5, "rule": "ad"}, r"config\.rule: 'ad' .* 'add' or 'mix'"),
        ({"ways": 5, "model": 1}, r"config\.model: 1 is a int, expected dict"),
        ({}, r"config\.ways: has no default and has to be given"),
    ],
)
def test_what_is_not_understood_is_an_error_that_says_where(given, said):
    with pytest.raises(ValueError, match=said):
        reader.from_mapping(Run, given)
