"""What the README shows is run as it stands."""

import pathlib
import re

import jax
import numpy as np
import pytest

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"


@pytest.fixture(scope="module")
def page() -> dict:
    """The names left behind by the README's Python page."""
    (source,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict = {}
    exec(compile(source, str(README), "exec"), names)
    return names


def test_pulled_true_cotangents_are_back_propagation(page):
    pairs = zip(
        jax.tree.leaves(page["pulled"]),
        jax.tree.leaves(page["back"].params.controllers),
        strict=True,
    )
    for pulled, true in pairs:
        np.testing.assert_allclose(pulled, true, atol=1e-6)


def test_untrained_predictors_leave_the_fast_weights_alone(page):
    adapted = page["adapted"].controllers.output["skip"]
    np.testing.assert_array_equal(adapted, page["params"].controllers.output["skip"])


def test_every_file_of_the_map_exists():
    table = README.read_text().split("| looking for | open |")[1].split("##")[0]
    rooms = "nmn_jax|experiments|benchmarks|notebooks"
    named = re.findall(rf"`((?:{rooms})/[\w./]*)`", table)
    assert len(named) > 15
    for name in named:
        assert (README.parent / name).exists(), name


def test_every_page_it_links_to_exists():
    named = re.findall(r"\]\(([\w./]+)\)", README.read_text())
    assert len(named) > 5
    for name in named:
        assert (README.parent / name).exists(), name


def test_it_is_short():
    assert len(README.read_text().splitlines()) <= 150
