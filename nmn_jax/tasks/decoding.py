"""How a network that answers at every step forecasts a sequence (methods card A22).

`aligned`: the answer to step t is the step H later, so a decoder of the width of one
step serves all. `flat`: the last answer holds all H steps. `autoregressive`: each
answer is the next step, and answers are given back as inputs.

A frame says what the network sees of a sequence and what its answers are relative to:
nothing (`absolute`), the position of the moment (`displacement`), or where the velocity
of the moment leads (`velocity`). Every frame uses only the steps so far.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nmn_jax.tasks.base import Spec

# Of relative answers: a tenth of the picture, so that what is learned is of size one.
UNIT = 0.1
# `inputs [N, S, D] -> outputs [N, S, C]` of a network
Run = Callable[[jax.Array], jax.Array]


class Frame(NamedTuple):
    """What sequences are told relative to.

    inputs: `(positions [S, D]) -> [S, D]`, what the network sees
    anchors: `(positions [S, D], ahead [A]) -> [S, A, D]`, what its answer for so many
      steps ahead is added to
    unit: of an answer
    """

    inputs: Callable[[jax.Array], jax.Array]
    anchors: Callable[[jax.Array, jax.Array], jax.Array]
    unit: float = 1.0


class Laid(NamedTuple):
    """One sequence as a network learns from it: inputs `[S, D]`, targets `[S, C]`, and
    by how much every step's loss counts, `[S]`, one in sum."""

    inputs: jax.Array
    targets: jax.Array
    weights: jax.Array


class Decoding(NamedTuple):
    """How to forecast H steps of width D from T steps.

    width: C, of a network's answer
    unit: by how much an answer is multiplied before it is added to what it is told
      relative to; targets are laid in this unit
    lay: `(seen [T, D], asked [H, D]) -> Laid`
    read: `(outputs [S, C], seen [T, D], asked [H, D]) -> [H, D]`, what answers to laid
      inputs say; only `autoregressive` needs `asked`, which it was shown step by step
    answer: `(run, seen [N, T, D]) -> [N, H, D]`, with nothing else at hand
    """

    width: int
    unit: float
    lay: Callable[[jax.Array, jax.Array], Laid]
    read: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
    answer: Callable[[Run, jax.Array], jax.Array]


def velocities(
    positions: Float[Array, "steps axes"], frames: int
) -> Float[Array, "steps axes"]:
    """Mean velocity, per step, over the last `frames` steps, or as many as there are;
    zero at the first step."""
    steps = jnp.arange(len(positions))
    back = jnp.minimum(steps, frames)
    moved = positions - positions[steps - back]
    return moved / jnp.maximum(back, 1)[:, None]


def _moves(
    positions: Float[Array, "steps axes"], gain: float
) -> Float[Array, "steps axes"]:
    """Moves from step to step, times a gain; zero at the first."""
    return gain * jnp.diff(positions, axis=0, prepend=positions[:1])


def _at_rest(positions: jax.Array, ahead: jax.Array) -> jax.Array:
    return jnp.repeat(positions[:, None], len(ahead), axis=1)


def absolute(horizon: int, velocity_frames: int) -> Frame:
    """Positions as they are."""
    del horizon, velocity_frames
    return Frame(
        lambda positions: positions,
        lambda positions, ahead: jnp.zeros_like(_at_rest(positions, ahead)),
    )


def displacement(horizon: int, velocity_frames: int) -> Frame:
    """From moves, H times enlarged to the size of what is asked for, to how far away a
    later position is."""
    del velocity_frames
    return Frame(functools.partial(_moves, gain=float(horizon)), _at_rest, UNIT)


def velocity(horizon: int, velocity_frames: int) -> Frame:
    """From the mean velocity of the last `velocity_frames` steps, H times enlarged, to
    how far a later position is from where that velocity leads."""

    def inputs(positions: jax.Array) -> jax.Array:
        return horizon * velocities(positions, velocity_frames)

    def anchors(positions: jax.Array, ahead: jax.Array) -> jax.Array:
        moved = velocities(positions, velocity_frames)[:, None]
        return _at_rest(positions, ahead) + moved * ahead[None, :, None]

    return Frame(inputs, anchors, UNIT)


# `(H, velocity_frames) -> Frame`
FRAMES: dict[str, Callable[[int, int], Frame]] = {
    "absolute": absolute,
    "displacement": displacement,
    "velocity": velocity,
}


def aligned(spec: Spec, frame: Frame) -> Decoding:
    """The answer to step t is the step H later.

    Raises:
      ValueError: unless as many steps are seen as are asked for.
    """
    steps, horizon = spec.input_shape[0], spec.horizon
    if steps != horizon:
        raise ValueError(
            f"forecast.decode='aligned' of {horizon} steps from {steps}: it needs as "
            "many steps seen as asked for; choose another decoding"
        )
    weights = jnp.full(steps, 1 / steps)

    def anchors(seen: jax.Array) -> jax.Array:
        return frame.anchors(seen, jnp.array([horizon]))[:, 0]

    def lay(seen: jax.Array, asked: jax.Array) -> Laid:
        return Laid(frame.inputs(seen), (asked - anchors(seen)) / frame.unit, weights)

    def read(outputs: jax.Array, seen: jax.Array, asked: jax.Array) -> jax.Array:
        del asked
        return frame.unit * outputs + anchors(seen)

    def answer(run: Run, seen: jax.Array) -> jax.Array:
        outputs = run(jax.vmap(frame.inputs)(seen))
        return frame.unit * outputs + jax.vmap(anchors)(seen)

    return Decoding(spec.targets, frame.unit, lay, read, answer)


def flat(spec: Spec, frame: Frame) -> Decoding:
    """The last answer holds all H steps; the others are not judged."""
    steps, horizon = spec.input_shape[0], spec.horizon
    weights = (jnp.arange(steps) == steps - 1).astype(float)

    def anchors(seen: jax.Array) -> jax.Array:
        return frame.anchors(seen, jnp.arange(1, horizon + 1))[-1]

    def lay(seen: jax.Array, asked: jax.Array) -> Laid:
        whole = ((asked - anchors(seen)) / frame.unit).reshape(-1)
        targets = jnp.broadcast_to(whole, (steps, len(whole)))
        return Laid(frame.inputs(seen), targets, weights)

    def read(outputs: jax.Array, seen: jax.Array, asked: jax.Array) -> jax.Array:
        return frame.unit * outputs[-1].reshape(asked.shape) + anchors(seen)

    def answer(run: Run, seen: jax.Array) -> jax.Array:
        last = run(jax.vmap(frame.inputs)(seen))[:, -1]
        shape = (len(seen), horizon, spec.targets)
        return frame.unit * last.reshape(shape) + jax.vmap(anchors)(seen)

    return Decoding(horizon * spec.targets, frame.unit, lay, read, answer)


def autoregressive(spec: Spec, frame: Frame) -> Decoding:
    """Each answer is the next step; in training inputs are the true steps, afterwards
    the network's own answers."""
    steps, horizon = spec.input_shape[0], spec.horizon
    weights = jnp.full(steps + horizon - 1, 1 / (steps + horizon - 1))

    def anchors(positions: jax.Array) -> jax.Array:
        return frame.anchors(positions, jnp.array([1]))[:, 0]

    def lay(seen: jax.Array, asked: jax.Array) -> Laid:
        whole = jnp.concatenate([seen, asked])
        before = whole[:-1]
        targets = (whole[1:] - anchors(before)) / frame.unit
        return Laid(frame.inputs(before), targets, weights)

    def read(outputs: jax.Array, seen: jax.Array, asked: jax.Array) -> jax.Array:
        before = jnp.concatenate([seen, asked])[:-1]
        return (frame.unit * outputs + anchors(before))[steps - 1 :]

    def answer(run: Run, seen: jax.Array) -> jax.Array:
        blank = jnp.zeros((len(seen), horizon, spec.targets), seen.dtype)

        def one(ahead: jax.Array, whole: jax.Array) -> jax.Array:
            # Networks are causal: what stands behind the moment does not matter.
            before = whole[:, :-1]
            outputs = run(jax.vmap(frame.inputs)(before))
            at = steps - 1 + ahead
            said = frame.unit * outputs + jax.vmap(anchors)(before)
            return whole.at[:, at + 1].set(said[:, at])

        whole = jnp.concatenate([seen, blank], axis=1)
        return jax.lax.fori_loop(0, horizon, one, whole)[:, steps:]

    return Decoding(spec.targets, frame.unit, lay, read, answer)


DECODINGS: dict[str, Callable[[Spec, Frame], Decoding]] = {
    "aligned": aligned,
    "flat": flat,
    "autoregressive": autoregressive,
}
