"""A step that is compiled ahead: in its own thread, from shapes, if it fits."""

from __future__ import annotations

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import compiling

STATE = {"weights": jnp.ones((2, 3)), "step": jnp.zeros((), jnp.int32)}
SOURCE = np.zeros((4, 5), np.uint8)


class Compiler:
    """`compile_for`, and what it was given in which thread."""

    def __init__(self, before=lambda: None) -> None:
        self.before, self.given, self.threads = before, [], []

    def __call__(self, state, source):
        self.before()
        self.given.append((state, source))
        self.threads.append(threading.current_thread())
        return lambda state, source: (state, {"rows": len(source)})


def test_it_compiles_from_shapes_while_others_go_on():
    ready = threading.Event()
    compiler = Compiler(before=lambda: ready.wait(10))
    ahead = compiling.compile_ahead(compiler, STATE, SOURCE)
    step = compiling.once_compiled(compiler, SOURCE, ahead)
    assert compiler.given == []
    ready.set()
    for _ in range(2):
        assert step(STATE) == (STATE, {"rows": 4})
    assert compiler.given == [compiling.shapes((STATE, SOURCE))]
    assert all(
        isinstance(leaf, jax.ShapeDtypeStruct)
        for leaf in jax.tree.leaves(compiler.given)
    )
    assert compiler.threads != [threading.current_thread()]
    assert not compiler.threads[0].daemon
    assert ahead.wait()[1] >= 0


@pytest.mark.parametrize(
    ("state", "source"),
    [(STATE, np.zeros((5, 5), np.uint8)), (STATE, SOURCE.astype(np.int32)),
     ({**STATE, "more": jnp.zeros(())}, SOURCE)],
)  # fmt: skip
def test_what_is_of_another_shape_is_compiled_for_what_it_is(state, source):
    compiler = Compiler()
    ahead = compiling.compile_ahead(compiler, STATE, SOURCE)
    step = compiling.once_compiled(compiler, source, ahead)
    step(state)
    ahead.wait()
    assert len(compiler.given) == 2
    assert any(given[1] is source for given in compiler.given)


def test_without_anything_ahead_the_first_step_compiles():
    compiler = Compiler()
    step = compiling.once_compiled(compiler, SOURCE)
    assert compiler.given == []
    step(STATE)
    step(STATE)
    assert compiler.threads == [threading.current_thread()]


def test_what_compiling_raises_is_raised_by_the_first_step():
    def refuse():
        raise ValueError("6 episodes cannot be shared out")

    ahead = compiling.compile_ahead(Compiler(before=refuse), STATE, SOURCE)
    step = compiling.once_compiled(Compiler(), SOURCE, ahead)
    with pytest.raises(ValueError, match="6 episodes"):
        step(STATE)
