"""Named settings, and how a run's own are put on top of them.

`paper` is the text to the letter, `paper_fast_lr` the same allowed to move,
`recommended` what we found best. Synthetic gradients are off in all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from nmn_jax.feedback.state_predictors import STATE_PREDICTORS
from nmn_jax.settings import checks
from nmn_jax.settings.records import (
    RECORDS,
    ModelSettings,
    OptimSettings,
    Settings,
    SGSettings,
    StreamSettings,
)

Changes = Mapping[str, Mapping[str, Any]]


def _paper(ways: int, shots: int) -> Settings:
    del ways, shots
    return Settings()


def _paper_fast_lr(ways: int, shots: int) -> Settings:
    del ways, shots
    return Settings(
        preset="paper_fast_lr", optim=OptimSettings(lr=1e-3, predictor_lr=1e-3)
    )


def _recommended(ways: int, shots: int) -> Settings:
    return Settings(
        preset="recommended",
        model=ModelSettings(
            slots=ways * shots,
            width=128,
            key_width=64,
            controller="skip_lstm",
            compose="query_mem_weights",
            label_input="write",
            similarity="cosine",
            scale=10.0,
            write_rule="least_used",
            presentations=2,
            norm="running",
        ),
        sg=SGSettings(
            predictor="residual",
            scale="rms",
            train="both",
            controllers=("output",),
            tensors=("skip",),
            rate=1.0,
            step_size="normalised",
            order="second",
            writer="slow",
        ),
        optim=OptimSettings(lr=1e-3, predictor_lr=5e-3, schedule="cosine", clip=10.0),
    )


PRESETS = {
    "paper": _paper,
    "paper_fast_lr": _paper_fast_lr,
    "recommended": _recommended,
}

# What acts on the fast path alone, and what on the slow update alone.
FAST = (
    "train", "controllers", "tensors", "rate", "step_size", "order", "writer", "keep",
)  # fmt: skip
SLOW = ("rule", "weight", "warmup")
# Given values that say what is the case anyway, so that one command fits all methods.
NEUTRAL = {"sg.use": "off", "sg.control": "none", "model.label_input": "none"}


def preset(name: str, *, ways: int, shots: int) -> Settings:
    """Settings by name, for N ways and S shots; synthetic gradients are off.

    Raises:
      ValueError: for an unknown preset, or ways or shots below 1.
    """
    checks.apply(checks.choice(PRESETS), name, "preset")
    checks.apply(checks.whole(1, 100_000), ways, "ways")
    checks.apply(checks.whole(1, 100_000), shots, "shots")
    return PRESETS[name](ways, shots)


def override(settings: Settings, **changes: Mapping[str, Any]) -> Settings:
    """Settings with fields replaced, by record (`model`, `sg`, …); None is left.

    Raises:
      ValueError: for a record or field that there is not, or a value it may not have.
    """
    for name in changes:
        checks.apply(checks.choice(RECORDS), name, "a record of settings")
    replaced = {
        name: checks.replaced(getattr(settings, name), dict(given))
        for name, given in changes.items()
    }
    return dataclasses.replace(settings, **replaced)


def given(run: Any) -> dict[str, Mapping[str, Any]]:
    """What a run gives explicitly, by record: its fields of the names in `RECORDS`."""
    return {name: getattr(run, name) for name in RECORDS if hasattr(run, name)}


def resolve(
    name: str,
    *,
    ways: int,
    shots: int,
    uses: Collection[str],
    overrides: Changes,
    default_use: str,
    changes: Changes | None = None,
) -> Settings:
    """A preset, changed for a benchmark, with what a run gives explicitly.

    Args:
      name: of the preset.
      ways, shots: what the preset is for.
      uses: settings that have an effect, as `record` or `record.field`;
        `-record.field` takes one out of its record. See `methods.base.Entry`.
      overrides: `{record: {field: value}}` of the run; None is not given.
      default_use: `sg.use` where it is not given and synthetic gradients are used.
      changes: what the benchmark changes in the preset, as `overrides`.

    Raises:
      ValueError: for an unknown name, a value that may not be, or an explicit override
        without effect.
    """
    settings = override(preset(name, ways=ways, shots=shots), **(changes or {}))
    explicit = {
        record: {field: value for field, value in fields.items() if value is not None}
        for record, fields in overrides.items()
    }
    # Misspelt names and bad values are told as such before anything is without effect.
    use = explicit.get("sg", {}).get("use") or (
        default_use if {"sg", "sg.use"} & set(uses) else "off"
    )
    with_use = {**explicit.get("sg", {}), "use": use}
    result = override(settings, **{**explicit, "sg": with_use})
    for record, fields in explicit.items():
        for field, value in fields.items():
            _check_effect(f"{record}.{field}", value, uses, result)
    return result


def _check_effect(
    name: str, value: Any, uses: Collection[str], settings: Settings
) -> None:
    """Raises ValueError where an explicit setting changes nothing."""
    if NEUTRAL.get(name) == value:
        return
    if f"-{name}" in uses or not {name, name.split(".")[0]} & set(uses):
        raise ValueError(
            f"{name}={value!r} has no effect on this method; leave it out (what has: "
            f"{', '.join(uses) or 'nothing'})"
        )
    use, needed = settings.sg.use, _uses_needed(name, settings.stream)
    if needed and use not in needed:
        raise ValueError(
            f"{name}={value!r} has no effect with sg.use={use!r}; leave it out, or "
            f"give sg.use as one of {', '.join(map(repr, needed))}"
        )


def _uses_needed(name: str, stream: StreamSettings) -> tuple[str, ...]:
    """The uses of synthetic gradients with which a setting acts; none: with all.

    Args:
      stream: `bootstrap` has predictors of its own, which descend unless solved for.
    """
    bootstraps = stream.target == "bootstrap"
    descends = bootstraps and STATE_PREDICTORS[stream.predictor]().fit is None
    record, field = name.split(".")
    if record == "sg" and field in FAST:
        return ("fast", "both")
    if record == "sg" and field in SLOW:
        return ("decoupled", "both")
    silent = record == "sg" and field != "use"
    shared = (name == "stream.target" and not bootstraps) or (
        name == "optim.predictor_lr" and not descends
    )
    if silent or shared:
        return ("decoupled", "fast", "both")
    return ()
