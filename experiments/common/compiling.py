"""One compilation of a training step, begun while other things are made ready.

A compiler needs the shapes of what a program is given, not the numbers, and does not
hold up the interpreter: data are read and the first state is made meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

CompileFor = Callable[[Any, Any], jax.stages.Compiled]


class Ahead(NamedTuple):
    """A step that is being compiled while something else is made ready.

    given: the shapes `(state, source)` it is compiled for
    wait: `() -> (Compiled, seconds it took)`; raises what compiling raised
    """

    given: Any
    wait: Callable[[], tuple[jax.stages.Compiled, float]]


def shapes(tree: Any) -> Any:
    """Shapes and types of the arrays of a tree, which are all a compiler needs."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def compile_ahead(compile_for: CompileFor, state: Any, source: Any) -> Ahead:
    """Begin to compile in a thread of its own, for arguments of these shapes.

    The thread is no daemon: a process that ends early waits for the compiler, which
    does not survive being taken down with it.
    """
    given = shapes((state, source))

    def timed() -> tuple[jax.stages.Compiled, float]:
        begun = time.monotonic()
        return compile_for(*given), time.monotonic() - begun

    threads = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="compile")
    waiting = threads.submit(timed)
    threads.shutdown(wait=False)
    return Ahead(given, waiting.result)


def once_compiled(
    compile_for: CompileFor, source: Any, ahead: Ahead | None = None
) -> Callable[[Any], tuple[Any, dict]]:
    """`(state) -> (state, metrics)` that compiles for the first state it is given.

    So a run that has nothing left to train compiles nothing.

    Args:
      ahead: taken where it is for what is given.
    """
    compiled: list[jax.stages.Compiled] = []

    def step(state: Any) -> tuple[Any, dict]:
        if not compiled:
            fits = ahead is not None and ahead.given == shapes((state, source))
            made = ahead.wait()[0] if ahead and fits else compile_for(state, source)
            compiled.append(made)
        return compiled[0](state, source)

    return step
