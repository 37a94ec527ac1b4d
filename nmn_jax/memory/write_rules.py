"""How slots are written, as functions of the reading's weights (Eq. 7 and others).

A write rule is any function
`(memory [L, K], usage [L], weights [L], update [K]) -> Written`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from nmn_jax.memory import addressing


class Written(NamedTuple):
    """A memory after one write, its usage, and where the write went."""

    memory: Float[Array, "slots width"]
    usage: Float[Array, " slots"]
    weights: Float[Array, " slots"]


class Choice(NamedTuple):
    """The one slot that a write changes, and by which share: M'[slot] = (1 - share)
    M[slot] + share m'."""

    slot: Int[Array, ""]
    share: Float[Array, ""]

    def weights(self, slots: int) -> Float[Array, " slots"]:
        """w: `share` at the slot, 0 elsewhere."""
        return self.share * jax.nn.one_hot(self.slot, slots, dtype=self.share.dtype)


class OneHotRule(NamedTuple):
    """A write rule that changes one slot; usage' = decay · usage + w + reads · z.

    choose: `(memory [L, K], usage [L], update [K]) -> Choice`; no gradient passes it
    decay: share of the usage that is left after a step
    reads: how much a read counts as usage

    Being known to change one row, it can be gone back through row by row, see
    `unrolling.journal`.
    """

    choose: Callable[[jax.Array, jax.Array, jax.Array], Choice]
    decay: float = 1.0
    reads: float = 0.0

    def __call__(
        self,
        memory: Float[Array, "slots width"],
        usage: Float[Array, " slots"],
        weights: Float[Array, " slots"],
        update: Float[Array, " width"],
    ) -> Written:
        """The rule as any other: w is `share` at the chosen slot, 0 elsewhere."""
        chosen = self.choose(memory, usage, update).weights(len(usage))
        counted = self.decay * usage + chosen
        if self.reads:
            counted = counted + self.reads * weights
        return Written(addressing.write(memory, chosen, update), counted, chosen)


def convex_write(
    memory: Float[Array, "slots width"],
    usage: Float[Array, " slots"],
    weights: Float[Array, " slots"],
    update: Float[Array, " width"],
) -> Written:
    """Eq. 7 as a write rule: read weights are write weights."""
    return Written(addressing.write(memory, weights, update), usage + weights, weights)


def additive_write(
    memory: Float[Array, "slots width"],
    usage: Float[Array, " slots"],
    weights: Float[Array, " slots"],
    update: Float[Array, " width"],
) -> Written:
    """M'[j] = M[j] + z[j] m': nothing is erased (Graves et al., 2014, add only)."""
    added = memory + weights[:, None] * update[None, :]
    return Written(added, usage + weights, weights)


WriteRule = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], Written] | OneHotRule


def choose_least_used(
    memory: Float[Array, "slots width"],
    usage: Float[Array, " slots"],
    update: Float[Array, " width"],
) -> Choice:
    """The first of the slots with the least usage, replaced whole."""
    del memory, update
    return Choice(first_least(usage), jnp.ones((), usage.dtype))


def first_least(values: Float[Array, " slots"]) -> Int[Array, ""]:
    """`argmin` as two plain reductions, which compilers vectorise; 0 beside NaN."""
    places = jnp.arange(len(values), dtype=jnp.int32)
    found = jnp.where(values == jnp.min(values), places, len(values))
    return jnp.min(found) % len(values)


def make_least_used_write(
    *, decay: float = 0.99, gate: float = 0.0, reads: float = 0.0
) -> WriteRule:
    """A write to the slot used least (MANN; Santoro et al., 2016, Eqs. 5-8).

    w = gate · z + (1 - gate) · onehot(argmin usage); M' as in Eq. 7 with w in place of
    z; usage' = decay · usage + w + reads · z. With `gate = 0` every example gets the
    slot that was written longest ago, so L ≥ N·S slots hold a whole support set.

    Gradients: the choice of the slot is piecewise constant and carries none.

    Raises:
      ValueError: if `decay` or `gate` lies outside [0, 1] or `reads` is negative.
    """
    if not (0 <= decay <= 1 and 0 <= gate <= 1 and reads >= 0):
        raise ValueError(
            f"least-used write with decay={decay}, gate={gate}, reads={reads}: "
            "decay and gate must lie in [0, 1] and reads must not be negative"
        )
    if not gate:
        return OneHotRule(choose_least_used, decay, reads)

    def rule(
        memory: jax.Array, usage: jax.Array, weights: jax.Array, update: jax.Array
    ) -> Written:
        least = jax.nn.one_hot(jnp.argmin(usage), usage.shape[0], dtype=usage.dtype)
        chosen = gate * weights + (1 - gate) * least
        return Written(
            addressing.write(memory, chosen, update),
            decay * usage + chosen + reads * weights,
            chosen,
        )

    return rule


def make_same_value_write(
    *, key_width: int, threshold: float = 0.5, rate: float = 0.2
) -> WriteRule:
    """One slot for each value: the slot that holds it is moved, a new one gets a slot.

    After Kaiser et al. (2017), who refresh a slot whose value is right and give any
    other example the oldest slot. The first `key_width` numbers of a slot are its key,
    the others its value. If the value of some slot has a cosine of at least `threshold`
    with the update's, that slot moves by `rate` (Eq. 7 with a one-hot z); otherwise the
    update takes the slot written least often. What is seen every day then wears out no
    slot but its own, so that what was seen once is still there.

    Gradients: the choice of the slot is piecewise constant and carries none.

    Raises:
      ValueError: if `rate` lies outside (0, 1], `threshold` outside [-1, 1], or
        `key_width` is not positive (without a key part every slot would be its value).
    """
    if not (0 < rate <= 1 and -1 <= threshold <= 1 and key_width >= 1):
        raise ValueError(
            f"same-value write with key_width={key_width}, threshold={threshold}, "
            f"rate={rate}: key_width must be at least 1, threshold lie in [-1, 1] and "
            "rate in (0, 1]"
        )

    def choose(memory: jax.Array, usage: jax.Array, update: jax.Array) -> Choice:
        alike = addressing.cosine(memory[:, key_width:], update[key_width:])
        known = (usage > 0) & (alike >= threshold)
        refreshed = jnp.argmax(jnp.where(known, alike, -jnp.inf))
        fresh = jnp.logical_not(jnp.any(known))
        return Choice(
            jnp.where(fresh, jnp.argmin(usage), refreshed),
            jnp.where(fresh, 1.0, jnp.asarray(rate, usage.dtype)),
        )

    return OneHotRule(choose)


def make_hebbian_write(*, floor: float = 0.0) -> WriteRule:
    """A slot becomes the mean of what was written to it (Rae et al., 2018).

    w[j] = λ[j] z[j] with λ[j] = max(1 / (1 + usage[j]), floor), M' as in Eq. 7 with w
    in place of z, usage' = usage + z. With z one-hot, usage counts how often a slot was
    written: the first write replaces it and the n-th moves it by 1/n, or by `floor` if
    that is more, so that old rows can still follow a class that drifts.

    Raises:
      ValueError: if `floor` lies outside [0, 1].
    """
    if not 0 <= floor <= 1:
        raise ValueError(f"Hebbian write with floor={floor}: must lie in [0, 1]")

    def rule(
        memory: jax.Array, usage: jax.Array, weights: jax.Array, update: jax.Array
    ) -> Written:
        chosen = weights * jnp.maximum(1 / (1 + usage), floor)
        return Written(
            addressing.write(memory, chosen, update), usage + weights, chosen
        )

    return rule


WRITE_RULES: dict[str, WriteRule] = {
    "convex": convex_write,
    "additive": additive_write,
    "least_used": make_least_used_write(),
    # As least_used, but for counts in place of decay: no slot is forgotten to be old.
    "in_turn": make_least_used_write(decay=1.0),
    "mann": make_least_used_write(decay=0.95, gate=0.5, reads=1.0),
}
