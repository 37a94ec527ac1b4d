"""Settings of single few-shot methods, each as its own paper has it by default."""

from __future__ import annotations

import dataclasses

from nmn_jax.feedback.adapting import ORDERS
from nmn_jax.feedback.inner_loop import KEEPS
from nmn_jax.settings.checks import Checked, checked, choice, real, share, whole


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


@dataclasses.dataclass(frozen=True)
class MannSettings(Checked):
    """A memory-augmented network (methods card 3).

    pixels: side to which images are shrunk and then read as they are; 0 encodes them
      as `model` says
    units: of the LSTM
    slots, width, heads, decay: of the memory, see `memory.lrua`
    loss: of `every_step`, supports before their label is told among them, or of the
      `queries` after the whole support set alone
    """

    where = "mann"
    pixels: int = checked(20, whole(0, 1000))
    units: int = checked(200, whole(1, 100_000))
    slots: int = checked(128, whole(1, 1_000_000))
    width: int = checked(40, whole(1, 100_000))
    heads: int = checked(4, whole(1, 1000))
    decay: float = checked(0.99, share)
    loss: str = checked("every_step", choice(("every_step", "queries")))


@dataclasses.dataclass(frozen=True)
class ReptileSettings(Checked):
    """Reptile (methods card 8).

    steps, test_steps: of the inner optimiser in training and in answering
    rate: of the inner optimiser, Adam without a first moment
    batch: examples of an inner step, at most all there are
    outer: share of the way towards the tasks' weights at the start, falling to 0
    queries: whether a query is normalised `alone` with the support set, or all
      `together`, which is transductive
    """

    where = "reptile"
    steps: int = checked(5, whole(1, 1000))
    test_steps: int = checked(50, whole(0, 10_000))
    rate: float = checked(1e-3, real(0, above=True))
    batch: int = checked(10, whole(1, 100_000))
    outer: float = checked(1.0, real(0, 1, above=True))
    queries: str = checked("alone", choice(("alone", "together")))


@dataclasses.dataclass(frozen=True)
class SnailSettings(Checked):
    """SNAIL (methods card 8).

    keys, values: widths of the first attention; of the second they are four times, of
      the third eight times that
    filters: of every convolution
    reach: convolutions of a block, each twice as far back as the one before
    """

    where = "snail"
    keys: int = checked(64, whole(1, 10_000))
    values: int = checked(32, whole(1, 10_000))
    filters: int = checked(128, whole(1, 10_000))
    reach: int = checked(3, whole(1, 30))


@dataclasses.dataclass(frozen=True)
class MetaNetSettings(Checked):
    """MetaNet (methods card 5).

    units: of the dense layers of embedder and base learner
    meta_units: of the networks that make fast weights of gradients
    order: whether slow learning differentiates through these gradients (`second`) or
      takes them for constants (`first`)
    """

    where = "metanet"
    units: int = checked(64, whole(1, 10_000))
    meta_units: int = checked(20, whole(1, 10_000))
    order: str = checked("first", choice(ORDERS))
