"""One controller that adapts step by step on inputs that are known beforehand (Eq. 10).

`in_turn` carries the tensors that adapt from step to step. Where these enter the output
as x W and nowhere else, an update is an outer product, and `as_products` has the same
numbers to rounding without carrying them: within a chunk of steps, what earlier ones
taught is read as h_t = x_t W - Σ_s α (x_t · x_s) ĝ_s, and W moves once a chunk (fast
weights as linear attention; Schlag et al., 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.controllers import Controller
from nmn_jax.feedback import plumbing
from nmn_jax.types import PerController, Trace

# Steps of a chunk. Within it a step costs in proportion to the chunk, and what is kept
# for the way back too; at its end the tensors are moved and kept once.
CHUNK = 20


class StepSize(NamedTuple):
    """How far a fast update goes.

    bounded: `(cotangent [K]) -> [K]`, what is pulled back
    factor: `(controller input [D]) -> []`, on what was pulled back
    """

    bounded: Callable[[jax.Array], jax.Array]
    factor: Callable[[jax.Array], jax.Array]


def _one(inputs: jax.Array) -> jax.Array:
    return jnp.ones((), inputs.dtype)


def _bounded(cotangent: Float[Array, " width"]) -> Float[Array, " width"]:
    return cotangent * jax.lax.rsqrt(1 + jnp.mean(cotangent**2))


STEP_SIZES: dict[str, StepSize] = {
    # ĝ as it is: the update of Eq. 10. Twenty sequential updates may diverge.
    "plain": StepSize(plumbing.through, _one),
    # Normalised least mean squares (Widrow & Hoff): cannot diverge. ĝ is bounded to a
    # root mean square of at most one and the pull-back divided by 1 + ‖input‖², so for
    # a linear map a step moves the output of the same input by less than α ĝ, whatever
    # the scale of the features.
    "normalised": StepSize(_bounded, lambda inputs: 1 / (1 + jnp.sum(inputs**2))),
}
Order = Callable[[Any], Any]
# What is a constant of a fast update, see `fast.FastPath`.
ORDERS: dict[str, Order] = {"first": plumbing.stop, "second": plumbing.through}


class Line(NamedTuple):
    """One controller that adapts.

    params: its slow weights, those that adapt and the others
    rates: log α, like the tensors that adapt; None where none does
    hear: `(carry, output [K], Cue) -> (carry, cotangent [K])`
    """

    controller: Controller
    params: Any
    rates: Any
    step_size: StepSize
    order: Order
    hear: Callable[[Any, jax.Array, Any], tuple[Any, jax.Array]]


class Steps(NamedTuple):
    """What it is given: its inputs `[T, D]`, the recurrent state it comes to each with,
    probes `[T, K]`, what `hear` is told of each, and its outputs `[T, K]` (probes
    included) with the slow weights."""

    inputs: jax.Array
    carries: Any
    probes: jax.Array
    cues: Any
    slow: jax.Array


# The tensors that adapt by name (None where none does), and the carry of `hear`.
Weights = tuple[Any, Any]


def moved(
    line: Line, tensors: dict[str, Any], step: tuple[Any, Any, jax.Array, jax.Array]
) -> dict[str, Any]:
    """θ - α · size · (∂h/∂θ)ᵀ ĝ for the tensors θ that adapt.

    Args:
      step: all parameters of the moment, the recurrent state and the input `[D]` of the
        step, and the cotangent `[K]` at its output.
    """
    whole, carry, given, cotangent = step
    fixed, at, carry, given = line.order((whole, tensors, carry, given))
    grads = plumbing.pull(
        lambda p: line.controller.step({**fixed, **p}, carry, given)[1],
        at,
        line.step_size.bounded(cotangent),
    )
    size = line.step_size.factor(given)
    return jax.tree.map(
        lambda p, r, g: p - jnp.exp(r) * size * g, tensors, line.rates, grads
    )


def follow(
    lines: PerController,
    begun: tuple[PerController, PerController],
    given: Any,
    trace: Trace,
    *,
    written: Callable[[jax.Array, jax.Array], jax.Array],
) -> tuple[tuple[PerController, PerController], Trace]:
    """Output and write controller, adapting after a memory that slow weights wrote.

    Args:
      lines: a `Line` each; the input controller's does not adapt.
      begun: tensors that adapt, and carries of `Line.hear`.
      given: `inputs`, `cue` and `probes` of all steps, `[T, ...]`.
      trace: of the slow weights.
      written: see `cell.Cell`.

    Returns tensors and carries at the end, and the trace of the fast weights.
    """
    tensors, heard = begun

    def steps(name: str, inputs: jax.Array, slow: jax.Array) -> Steps:
        carries, probes = (getattr(of, name) for of in (trace.carries, given.probes))
        return Steps(inputs, carries, probes, given.cue, slow)

    first = steps("output", trace.inputs.output, trace.outputs.output)
    adapted, output = run(lines.output, (tensors.output, heard.output), first)
    second = steps("write", trace.inputs.write, trace.outputs.write)
    if lines.output.rates is not None:
        inputs = jax.vmap(written)(output, given.inputs.label)
        slow = _outputs(lines.write, second._replace(inputs=inputs))
        second = second._replace(inputs=inputs, slow=slow)
    last, update = run(lines.write, (tensors.write, heard.write), second)
    after = zip(adapted, last, strict=True)
    tensors, heard = (
        begun._replace(output=output, write=write)
        for begun, (output, write) in zip((tensors, heard), after, strict=True)
    )
    return (tensors, heard), trace._replace(
        inputs=trace.inputs._replace(write=second.inputs),
        outputs=trace.outputs._replace(output=output, write=update),
    )


def _outputs(line: Line, steps: Steps) -> jax.Array:
    """Of the slow weights, every step from the recurrent state it comes with."""
    outputs = jax.vmap(line.controller.step, (None, 0, 0))(
        line.params, steps.carries, steps.inputs
    )[1]
    return outputs + steps.probes


def run(line: Line, begun: Weights, steps: Steps) -> tuple[Weights, jax.Array]:
    """All steps: the tensors at the end with the carry of `hear`, outputs `[T, K]`."""
    if line.rates is None:
        return begun, steps.slow
    if set(begun[0]) <= set(line.controller.linear):
        return as_products(line, begun, steps)
    return in_turn(line, begun, steps)


def in_turn(line: Line, begun: Weights, steps: Steps) -> tuple[Weights, jax.Array]:
    """As `run`, for any tensors: a step after the other with the weights it has."""

    def body(weights: Weights, step: Steps) -> tuple[Weights, jax.Array]:
        tensors, heard = weights
        whole = {**line.params, **tensors}
        output = line.controller.step(whole, step.carries, step.inputs)[1] + step.probes
        heard, cotangent = line.hear(heard, output, step.cues)
        given = (whole, step.carries, step.inputs, cotangent)
        return (moved(line, tensors, given), heard), output

    return jax.lax.scan(body, begun, steps)


def as_products(line: Line, begun: Weights, steps: Steps) -> tuple[Weights, jax.Array]:
    """As `run`, for tensors `[D, K]` that enter the output as x W and nowhere else."""
    tensors, heard = begun
    changes = jax.tree.map(jnp.subtract, tensors, _slow(line, tensors))
    (changes, heard), outputs = _in_chunks(line, (changes, heard), steps)
    return (jax.tree.map(jnp.add, _slow(line, tensors), changes), heard), outputs


def _slow(line: Line, tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: line.params[name] for name in tensors}


def _in_chunks(line: Line, begun: Weights, steps: Steps) -> tuple[Weights, jax.Array]:
    """Whole chunks under a scan, and what is left after them."""
    count = len(steps.inputs)
    whole = count - count % CHUNK

    def chunk(weights: Weights, steps: Steps) -> tuple[Weights, jax.Array]:
        return _chunk(line, weights, steps)

    outputs: list[jax.Array] = []
    if whole:
        first = jax.tree.map(
            lambda leaf: leaf[:whole].reshape(-1, CHUNK, *leaf.shape[1:]), steps
        )
        begun, found = jax.lax.scan(chunk, begun, first)
        outputs.append(found.reshape(whole, -1))
    if count - whole:
        begun, found = chunk(begun, jax.tree.map(lambda leaf: leaf[whole:], steps))
        outputs.append(found)
    return begun, jnp.concatenate(outputs)


def _chunk(line: Line, weights: Weights, steps: Steps) -> tuple[Weights, jax.Array]:
    """One chunk of T steps; `weights` holds by how much the tensors have changed."""
    changes, heard = weights
    rates = jax.tree.map(jnp.exp, line.rates)
    seen = line.order(steps.inputs)
    start = steps.slow + steps.inputs @ sum(changes.values())
    alike = sum(rates.values()) * (steps.inputs @ seen.T)
    sizes = jax.vmap(line.step_size.factor)(seen)

    def body(carried: tuple, step: tuple) -> tuple[tuple, jax.Array]:
        pushes, heard = carried
        at, alike, start, size, cue = step
        # Pushes of steps that are still to come are zero.
        output = start - alike @ pushes
        heard, cotangent = line.hear(heard, output, cue)
        push = size * line.step_size.bounded(cotangent)
        return (pushes.at[at].set(push), heard), output

    each = (jnp.arange(len(start)), alike, start, sizes, steps.cues)
    (pushes, heard), outputs = jax.lax.scan(body, (jnp.zeros_like(start), heard), each)
    pushed = seen.T @ pushes
    changes = {name: c - rates[name] * pushed for name, c in changes.items()}
    return (changes, heard), outputs
