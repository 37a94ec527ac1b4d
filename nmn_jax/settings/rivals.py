"""Settings of single few-shot methods, each as its own paper has it by default."""

from __future__ import annotations

import dataclasses

from nmn_jax.feedback.adapting import ORDERS
from nmn_jax.feedback.inner_loop import KEEPS
from nmn_jax.settings.checks import Checked, checked, choice, real, whole


@dataclasses.dataclass(frozen=True)
class MamlSettings(Checked):
    """Gradient steps on the context, within a training step (methods card 4).

    steps, test_steps: of the inner loop in training and in answering
    rate: step size, or where learned ones start
    order: whether slow learning differentiates through inner gradients (`second`) or
      takes them for constants (`first`)
    keep: what the backward pass finds of an inner step: `all`, or the `params` it
      started from, which takes less memory and more time
    """

    where = "maml"
    steps: int = checked(1, whole(1, 1000))
    test_steps: int = checked(3, whole(0, 1000))
    rate: float = checked(0.4, real(0, above=True))
    order: str = checked("second", choice(ORDERS))
    keep: str = checked("all", choice(KEEPS))


@dataclasses.dataclass(frozen=True)
class MamlPlusSettings(Checked):
    """What MAML++ adds to MAML (methods card 4.3); `model.norm` 'episode' adds more.

    multi_step: training step up to which queries are asked after every inner step; 0
      asks them after the last alone
    first_order: training step up to which inner gradients are constants
    norm_parameters: whether every inner step has a gain and bias of its own
      (`per_step`) or all have the same (`shared`)
    rates: whether a step size is `learned` for every tensor and inner step
    """

    where = "maml_plus"
    multi_step: int = checked(5_000, whole())
    first_order: int = checked(0, whole())
    norm_parameters: str = checked("per_step", choice(("per_step", "shared")))
    rates: str = checked("learned", choice(("learned", "fixed")))


@dataclasses.dataclass(frozen=True)
class MatchingSettings(Checked):
    """Matching networks (methods card 8); `scale` is a factor on the cosine."""

    where = "matching"
    scale: float = checked(1.0, real(0, above=True))
