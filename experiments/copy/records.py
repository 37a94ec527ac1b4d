"""What a run of copy or repeat copy is made of, as records that check themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

from nmn_jax.settings import checks, presets
from nmn_jax.settings.checks import Checked, checked
from nmn_jax.settings.records import Settings

TASKS = ("copy", "repeat_copy")
METHODS = ("lstm_stream", "nmn_stream")
# One LSTM of 100 units, and a memory of slots for the method that has one. Both learn
# as in BP(λ)'s protocol, Adam at 1e-3 and gradients clipped at norm 1; a predictor that
# descends learns three times as fast.
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "lstm_stream": {"model": {"width": 100, "key_width": 0}},
    "nmn_stream": {
        "model": {
            "slots": 20, "width": 32, "key_width": 0, "controller": "skip_lstm",
            "compose": "query_mem", "label_input": "none", "norm": "running",
        },
    },
}  # fmt: skip
OPTIM = {"lr": 1e-3, "predictor_lr": 3e-3, "schedule": "constant", "clip": 1.0}


@dataclasses.dataclass(frozen=True)
class Data(Checked):
    """The sequences, see `nmn_jax.tasks.copying`.

    task: `copy`, or `repeat_copy`, where the vectors are to be said several times
    streams: sequences side by side
    window: T, steps between two cuts; 0 is the longest sequence, so that nothing is cut
    bits: of one vector
    longest: steps after which sequences grow no more
    threshold: bits below which the next sequences are longer
    """

    where = "data"
    task: str = checked("copy", checks.choice(TASKS))
    streams: int = checked(32, checks.whole(1, 100_000))
    window: int = checked(2, checks.whole(0, 1000))
    bits: int = checked(8, checks.whole(1, 1000))
    longest: int = checked(41, checks.whole(3, 100_000))
    threshold: float = checked(0.15, checks.real(0, above=True))


@dataclasses.dataclass(frozen=True)
class Train(Checked):
    """One step learns from a window of every sequence.

    steps_per_call: steps of one dispatch, whose metrics are averaged
    """

    where = "train"
    steps: int = checked(50_000, checks.positive)
    minutes: float = checked(0.0, checks.minutes)
    steps_per_call: int = checked(100, checks.positive)
    log_every: int = checked(100, checks.positive)
    validate_every: int = checked(50_000, checks.positive)
    checkpoint_every: int = checked(10_000, checks.positive)


@dataclasses.dataclass(frozen=True)
class Run(Checked):
    """One run. The dictionaries override `CHANGES` of the preset where not None.

    method: a name of `nmn_jax.methods.table` for streams
    study: which study it belongs to, "" for none
    """

    method: str = checked("lstm_stream", checks.choice(METHODS))
    seed: int = checked(0, checks.seed)
    study: str = checked("", checks.text())
    data: Data = dataclasses.field(default_factory=Data)
    train: Train = dataclasses.field(default_factory=Train)
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    sg: dict[str, Any] = dataclasses.field(default_factory=dict)
    optim: dict[str, Any] = dataclasses.field(default_factory=dict)
    stream: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for a cut window with nothing cut."""
        super().__post_init__()
        if not self.data.window and self.stream.get("target") == "bootstrap":
            raise ValueError(
                "data.window=0 with stream.target='bootstrap': whole sequences have no "
                "future; give a window"
            )


def resolve(run: Run, uses: tuple[str, ...]) -> Settings:
    """The settings of a run; without synthetic gradients unless it asks for them.

    Raises:
      ValueError: for a value that may not be, or a setting without effect.
    """
    return presets.resolve(
        "recommended", ways=run.data.bits, shots=1, uses=uses,
        overrides=presets.given(run),
        default_use="off", changes={**CHANGES[run.method], "optim": OPTIM},
    )  # fmt: skip
