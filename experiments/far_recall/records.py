"""What a run of far recall is made of, as frozen records that check themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from nmn_jax.settings import checks, presets
from nmn_jax.settings.checks import Checked, checked
from nmn_jax.settings.records import Settings

# A memory with room for the farthest question, whose write controller begins at random:
# matched kernels would make the untrained network a matching network, with nothing left
# to teach the writer. The predictor learns ten times as fast as the network: Adam makes
# full steps of whatever it predicts, however small and wrong that is at first.
CHANGES: dict[str, dict[str, Any]] = {
    "model": {
        "slots": 210, "width": 16, "key_width": 8, "controller": "normalised",
        "compose": "query_mem", "label_input": "write", "write_kernel": "random",
        "write_rule": "least_used", "norm": "running",
    },
    "optim": {
        "lr": 1e-3, "predictor_lr": 1e-2, "schedule": "constant", "clip": 10.0,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Data(Checked):
    """The stream, see `nmn_jax.tasks.recall.FarRecall`.

    ahead: windows to come that the oracle of the future looks at; 0 without it
    """

    where = "data"
    streams: int = checked(16, checks.whole(1, 100_000))
    window: int = checked(10, checks.whole(2, 100_000))
    nearest: int = checked(1, checks.whole(1, 100_000))
    farthest: int = checked(20, checks.whole(1, 100_000))
    key_width: int = checked(8, checks.whole(1, 100_000))
    values: int = checked(4, checks.whole(2, 100_000))
    ahead: int = checked(0, checks.whole(0, 100_000))


@dataclasses.dataclass(frozen=True)
class Train(Checked):
    """One step learns from a window of every stream.

    tested: the last windows; what is answered in them, before it is learned from, is
      the result
    steps_per_call: steps of one dispatch, whose metrics are averaged; a row of metrics
      has to hold one call, so that every question is counted
    """

    where = "train"
    steps: int = checked(3_000, checks.positive)
    tested: int = checked(500, checks.positive)
    minutes: float = checked(0.0, checks.minutes)
    steps_per_call: int = checked(50, checks.positive)
    log_every: int = checked(50, checks.positive)
    validate_every: int = checked(500, checks.positive)
    checkpoint_every: int = checked(500, checks.positive)

    def __post_init__(self) -> None:
        """Raises ValueError where questions would be left out or counted twice."""
        super().__post_init__()
        if self.log_every != self.steps_per_call:
            raise ValueError(
                f"train.log_every={self.log_every}, train.steps_per_call="
                f"{self.steps_per_call}: must be equal, since a row of metrics tells "
                "of one call and every question counts"
            )
        if self.tested % self.log_every or self.tested > self.steps:
            raise ValueError(
                f"train.tested={self.tested}: must be a multiple of train.log_every="
                f"{self.log_every} and at most train.steps={self.steps}"
            )


@dataclasses.dataclass(frozen=True)
class Run(Checked):
    """One run. The dictionaries override `CHANGES` of the preset where not None.

    method: a name of `nmn_jax.methods.table` for streams
    study: which study it belongs to, "" for none
    """

    method: str = checked("nmn_stream", checks.choice(("nmn_stream",)))
    seed: int = checked(0, checks.seed)
    study: str = checked("", checks.text())
    data: Data = dataclasses.field(default_factory=Data)
    train: Train = dataclasses.field(default_factory=Train)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    sg: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)
    stream: dict[str, Any] = dataclasses.field(default_factory=dict)


def resolve(run: Run, uses: tuple[str, ...]) -> Settings:
    """The settings of a run; without synthetic gradients unless it asks for them.

    Raises:
      ValueError: for a value that may not be, a setting without effect, or an oracle
        that looks at nothing.
    """
    settings = presets.resolve(
        "recommended", ways=run.data.values, shots=1, uses=uses,
        overrides=presets.given(run),
        default_use="off", changes=CHANGES,
    )  # fmt: skip
    oracle = settings.stream.control == "oracle"
    if oracle != (run.data.ahead > 0):
        raise ValueError(
            f"data.ahead={run.data.ahead} with stream.control="
            f"{settings.stream.control!r}: the oracle has to look at some windows to "
            "come, and nothing else does"
        )
    return settings
