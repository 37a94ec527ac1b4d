"""What a learner is made of, as frozen records; strings name functions in tables."""

from __future__ import annotations

import dataclasses

from nmn_jax import types
from nmn_jax.controllers import COMPOSE, CONTROLLERS, LABEL_INPUTS
from nmn_jax.feedback.adapting import ORDERS, STEP_SIZES
from nmn_jax.feedback.controls import CONTROLS
from nmn_jax.feedback.fast import WRITERS
from nmn_jax.feedback.plumbing import RULES
from nmn_jax.feedback.predictors import PREDICTORS
from nmn_jax.feedback.sg import TRAIN
from nmn_jax.feedback.subsets import SOURCES, SUBSETS
from nmn_jax.feedback.targets import SCALES
from nmn_jax.memory.addressing import SIMILARITIES
from nmn_jax.memory.search import SEARCHES
from nmn_jax.memory.write_rules import WRITE_RULES
from nmn_jax.nets.encoder import NORMS, PRECISIONS
from nmn_jax.nets.recurrent import ENCODERS
from nmn_jax.settings import slot_checks
from nmn_jax.settings.augment import AugmentSettings, RecastSettings
from nmn_jax.settings.checks import (
    Checked,
    checked,
    choice,
    each,
    real,
    share,
    text,
    whole,
)
from nmn_jax.settings.rivals import (
    MamlPlusSettings,
    MamlSettings,
    MannSettings,
    MatchingSettings,
    MetaNetSettings,
    ReptileSettings,
    SnailSettings,
)
from nmn_jax.settings.slot_checks import SAME_VALUE
from nmn_jax.settings.stream_records import ReplaySettings, StreamSettings
from nmn_jax.tasks.decoding import DECODINGS, FRAMES
from nmn_jax.unrolling import UNROLLINGS

# Where synthetic gradients act: in the slow update, in the fast path, or in both.
USES = ("off", "decoupled", "fast", "both")
SCHEDULES = ("constant", "cosine")
WRITE_KERNELS = ("matched", "random")
ACTIVATIONS = ("linear", "relu")


@dataclasses.dataclass(frozen=True)
class ModelSettings(Checked):
    """The forward pass.

    slots, width: L and K of the memory
    key_width: leading numbers of a slot that are compared with the query; 0 is all
    controller, compose, label_input: see the tables of `nmn_jax.controllers`
    write_kernel: whether the keys that the write controller stores begin `matched` to
      what is asked for, so that the untrained network is a matching network, or not
      (`random`)
    similarity, scale: how a slot is compared with the query, and the factor on it at
      the start
    write_rule: a name of `memory.WRITE_RULES`, or `same_value` where there is a key
    memory_scale: standard deviation of the initial memory
    reads, search: how many slots a step reads, 0 for all, and how these are found
    gradients: what a stream keeps for the way back, see `nmn_jax.unrolling`
    presentations: how often the support set is shown within an episode
    channels, layers, norm: of the encoder of images
    precision: of the products of its convolutions; all else stays in float32
    """

    where = "model"
    slots: int = checked(10, whole(1, 1_000_000))
    width: int = checked(64, whole(1, 100_000))
    key_width: int = checked(0, whole(0, 100_000))
    controller: str = checked("lstm", choice(CONTROLLERS))
    compose: str = checked("mem_only", choice(COMPOSE))
    label_input: str = checked("none", choice(LABEL_INPUTS))
    write_kernel: str = checked("matched", choice(WRITE_KERNELS))
    similarity: str = checked("dot", choice(SIMILARITIES))
    scale: float = checked(1.0, real(0, above=True))
    write_rule: str = checked("convex", choice((*WRITE_RULES, SAME_VALUE)))
    memory_scale: float = checked(1.0, real(0))
    reads: int = checked(0, whole(0, 1_000_000))
    search: str = checked("exact", choice(SEARCHES))
    gradients: str = checked("auto", choice(UNROLLINGS))
    presentations: int = checked(1, whole(1, 1000))
    channels: int = checked(64, whole(1, 100_000))
    layers: int = checked(3, whole(1, 16))
    norm: str = checked("batch", choice(NORMS))
    precision: str = checked("float32", choice(PRECISIONS))

    def __post_init__(self) -> None:
        """Raises ValueError for a key that does not fit the rest of the model."""
        super().__post_init__()
        if self.key_width >= self.width:
            raise ValueError(
                f"model.key_width={self.key_width}: must be below model.width="
                f"{self.width}, since the rest of a slot holds the value"
            )
        # The output controller's kernel takes the key from q; mem_only gives it no q.
        if self.key_width and self.compose == "mem_only":
            raise ValueError(
                f"model.key_width={self.key_width} with compose='mem_only': the output "
                "controller would read keys where it expects the query; choose compose "
                "'query_mem' or 'query_mem_weights', or key_width=0"
            )
        if self.write_kernel == "random" and self.controller == "lstm":
            raise ValueError(
                "model.write_kernel='random' with model.controller='lstm' has no "
                "effect: an LSTM has no kernel of its own; choose another controller"
            )
        if self.write_rule == SAME_VALUE and not self.key_width:
            raise ValueError(
                f"model.write_rule={SAME_VALUE!r} with model.key_width=0: a slot has "
                "no value part; give a key_width, or another rule: "
                f"{', '.join(WRITE_RULES)}"
            )
        slot_checks.check_reads(self)


@dataclasses.dataclass(frozen=True)
class SGSettings(Checked):
    """The second feedback path.

    use: `off`; `decoupled`, in the slow update; `fast`, in the online fast path;
      `both`
    control: what is done to synthetic gradients on their way, to see whether their
      effect is real
    predictor, scale, train: what predicts, in which units, and how it learns
    rule, weight, warmup: of the slow update
    controllers, tensors, rate, step_size, order, writer: of the fast path
    keep: share of what is learned fast in a window of a stream that the next one
      starts with; 0 forgets all of it
    """

    where = "sg"
    use: str = checked("off", choice(USES))
    control: str = checked("none", choice(CONTROLS))
    predictor: str = checked("lstm", choice(PREDICTORS))
    rule: str = checked("add", choice(RULES))
    weight: float = checked(1.0, real(0))
    scale: str = checked("none", choice(SCALES))
    train: str = checked("regress", choice(TRAIN))
    warmup: int = checked(0, whole())
    controllers: tuple[str, ...] = checked(
        types.CONTROLLERS, each(choice(types.CONTROLLERS))
    )
    tensors: tuple[str, ...] = checked((), each(text(least=1), least=0))
    rate: float = checked(0.1, real(0, above=True))
    step_size: str = checked("plain", choice(STEP_SIZES))
    order: str = checked("first", choice(ORDERS))
    writer: str = checked("fast", choice(WRITERS))
    keep: float = checked(0.0, share)

    def __post_init__(self) -> None:
        """Raises ValueError for a control of something that is off."""
        super().__post_init__()
        if self.use == "off" and self.control != "none":
            raise ValueError(
                f"sg.control={self.control!r} with sg.use='off': there is nothing to "
                "control; give sg.use as one of 'decoupled', 'fast', 'both', or "
                "control 'none'"
            )


@dataclasses.dataclass(frozen=True)
class OptimSettings(Checked):
    """Adam for both optimisers; `schedule` is `constant` or `cosine` (to zero).

    controller_factor: multiplies the controllers' updates
    clip: bound on the global norm of the network's gradient; 0 is none
    frozen: controllers whose parameters stay as they begin
    average: decay of the average of weights that answers; 0 is none, the last ones do
    """

    where = "optim"
    lr: float = checked(5e-6, real(0))
    predictor_lr: float = checked(5e-6, real(0))
    schedule: str = checked("constant", choice(SCHEDULES))
    clip: float = checked(0.0, real(0))
    controller_factor: float = checked(1.0, real(0))
    frozen: tuple[str, ...] = checked((), each(choice(types.CONTROLLERS), least=0))
    average: float = checked(0.0, real(0, 0.999999))


@dataclasses.dataclass(frozen=True)
class AdaptSettings(Checked):
    """Gradient steps on a context at test time (methods card A10).

    source: `true` gradients of its loss, synthetic ones (`sg`), or `both`
    params: which parameters move
    lr: step size of plain gradient descent
    """

    where = "adapt"
    source: str = checked("true", choice(SOURCES))
    params: str = checked("controllers+decoder", choice(SUBSETS))
    lr: float = checked(0.01, real(0))

    def __post_init__(self) -> None:
        """Raises ValueError where nothing would move."""
        super().__post_init__()
        if (self.source, self.params) == ("sg", "decoder"):
            raise ValueError(
                "adapt.source='sg' with adapt.params='decoder': synthetic gradients "
                "move controllers only; choose other params or another source"
            )


@dataclasses.dataclass(frozen=True)
class ForecastSettings(Checked):
    """How sequences are seen and continued.

    decode: see `tasks.decoding.DECODINGS`
    frame: what positions are told relative to, see `tasks.decoding.FRAMES`
    velocity_frames: steps that a velocity is the mean over
    encoder, units: kind and width of the encoder of a step (and of the recurrent layers
      of a network without memory)
    activation: of the decoder's answer; `relu` as printed cannot say half of the
      positions of a scaled picture
    """

    where = "forecast"
    decode: str = checked("aligned", choice(DECODINGS))
    frame: str = checked("absolute", choice(FRAMES))
    velocity_frames: int = checked(15, whole(1, 100_000))
    encoder: str = checked("lstm", choice(ENCODERS))
    units: int = checked(30, whole(1, 100_000))
    activation: str = checked("linear", choice(ACTIVATIONS))


@dataclasses.dataclass(frozen=True)
class Settings(Checked):
    """Everything a learner is built from."""

    preset: str = checked("paper", text(least=1))
    model: ModelSettings = dataclasses.field(default_factory=ModelSettings)
    sg: SGSettings = dataclasses.field(default_factory=SGSettings)
    optim: OptimSettings = dataclasses.field(default_factory=OptimSettings)
    adapt: AdaptSettings = dataclasses.field(default_factory=AdaptSettings)
    stream: StreamSettings = dataclasses.field(default_factory=StreamSettings)
    replay: ReplaySettings = dataclasses.field(default_factory=ReplaySettings)
    maml: MamlSettings = dataclasses.field(default_factory=MamlSettings)
    maml_plus: MamlPlusSettings = dataclasses.field(default_factory=MamlPlusSettings)
    forecast: ForecastSettings = dataclasses.field(default_factory=ForecastSettings)
    matching: MatchingSettings = dataclasses.field(default_factory=MatchingSettings)
    mann: MannSettings = dataclasses.field(default_factory=MannSettings)
    reptile: ReptileSettings = dataclasses.field(default_factory=ReptileSettings)
    snail: SnailSettings = dataclasses.field(default_factory=SnailSettings)
    metanet: MetaNetSettings = dataclasses.field(default_factory=MetaNetSettings)
    augment: AugmentSettings = dataclasses.field(default_factory=AugmentSettings)
    recast: RecastSettings = dataclasses.field(default_factory=RecastSettings)

    def __post_init__(self) -> None:
        """Raises ValueError for adaptation by synthetic gradients that are off, and for
        gradients of the memory that a fast path does not keep."""
        super().__post_init__()
        if self.adapt.source != "true" and self.sg.use == "off":
            raise ValueError(
                f"adapt.source={self.adapt.source!r} with sg.use='off': nothing "
                "predicts gradients; choose source 'true', or another sg.use"
            )
        slot_checks.check_gradients(self.model.gradients, self.sg)


RECORDS = (
    "model", "sg", "optim", "adapt", "stream", "replay", "maml", "maml_plus",
    "forecast", "matching", "mann", "reptile", "snail", "metanet",
    "augment", "recast",
)  # fmt: skip
