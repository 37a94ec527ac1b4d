"""What a learner is made of, as frozen records; strings name functions in tables."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """The forward pass. Strings name functions in the tables of their module.

    key_width: leading numbers of a slot that are compared with the query; 0 is all
    presentations: how often the support set is shown within an episode
    """

    slots: int = 10
    width: int = 64
    key_width: int = 0
    controller: str = "lstm"
    compose: str = "mem_only"
    label_input: str = "none"
    similarity: str = "dot"
    scale: float = 1.0
    write_rule: str = "convex"
    memory_scale: float = 1.0
    presentations: int = 1
    channels: int = 64
    layers: int = 3
    norm: str = "batch"


@dataclasses.dataclass(frozen=True)
class SyntheticSettings:
    """The second feedback path; `use` is `off`, `decoupled`, `fast` or `both`.

    keep: share of what is learned fast in a window of a stream that the next one
      starts with; 0 forgets all of it
    """

    use: str = "off"
    control: str = "none"
    core: str = "lstm"
    rule: str = "add"
    weight: float = 1.0
    scale: str = "none"
    train: str = "regress"
    warmup: int = 0
    controllers: tuple[str, ...] = ("input", "output", "write")
    tensors: tuple[str, ...] = ()
    rate: float = 0.1
    step_size: str = "plain"
    order: str = "first"
    writer: str = "fast"
    keep: float = 0.0


@dataclasses.dataclass(frozen=True)
class OptimSettings:
    """Adam for both optimisers; `schedule` is `constant` or `cosine` (to zero).

    controller_factor: multiplies the controllers' updates (control `double_rate`: 2)
    clip: bound on the global norm of the network's gradient; 0 is none
    """

    lr: float = 5e-6
    predictor_lr: float = 5e-6
    schedule: str = "constant"
    clip: float = 0.0
    controller_factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything a learner is built from."""

    preset: str = "paper"
    model: ModelSettings = ModelSettings()
    sg: SyntheticSettings = SyntheticSettings()
    optim: OptimSettings = OptimSettings()
