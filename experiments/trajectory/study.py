"""Studies of trajectories: the flags of every run."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.common import variants

Flags = tuple[str, ...]
YARDSTICKS = ("constant_velocity", "constant_position")
USES = (
    variants.OFF, ("--config.sg.use=decoupled",), ("--config.sg.use=fast",),
    variants.BOTH,
)  # fmt: skip
ENDS = (variants.OFF, variants.BOTH)
ALIGNED = (
    "--config.forecast.decode=aligned", "--config.forecast.frame=displacement"
)  # fmt: skip
# Rates of inner steps go with the units that errors are in.
RATES = {"location": 10, "per_track": 0.3, "heading": 0.3}
SLOWER = "--config.optim.lr=0.001"


def _others(config: str, scale: str, *more: str) -> Iterator[Flags]:
    """What has no memory; `more` are flags of what learns."""
    for method in YARDSTICKS:
        yield (f"--config={config}", f"--config.method={method}")
    inner = (f"--config.maml.rate={RATES[scale]:g}", "--config.maml.steps=3")
    multi = "--config.maml_plus.multi_step=50"
    for method, own in (
        ("attention", ()),
        ("maml_forecast", inner),
        ("maml_plus_forecast", (*inner, multi)),
    ):
        yield (f"--config={config}", f"--config.method={method}", *own, *more)


def sdd() -> Iterator[Flags]:
    """Stanford Drone, cyclists then pedestrians, as in the paper: every use of
    synthetic gradients, its controls, the paper's own settings, and no memory.

    What a constant velocity leaves to learn is little, so the memory is also asked for
    displacements, one at every frame as in the paper.
    """
    yield from _others("sdd", "location")
    for variant in variants.SYNTHETIC:
        yield ("--config=sdd", "--config.preset=recommended", *variant)
    for variant in ENDS:
        yield ("--config=sdd", "--config.preset=recommended", *ALIGNED, *variant)
    for preset in ("paper_fast_lr", "paper"):
        for variant in ENDS:
            yield ("--config=sdd", f"--config.preset={preset}", *variant)


def sdd_heading() -> Iterator[Flags]:
    """The same with what forecasts validation cyclists best, see the config."""
    yield from _others("sdd_heading", "heading", SLOWER)
    for variant in (*USES, (*variants.BOTH, "--config.sg.control=zeroed")):
        yield ("--config=sdd_heading", "--config.preset=recommended", *variant, SLOWER)


def tafbw() -> Iterator[Flags]:
    """TAF-BW, which nothing was chosen by, without the controls."""
    yield from _others("tafbw", "per_track")
    for more in ((), ALIGNED):
        for variant in ENDS:
            yield ("--config=tafbw", "--config.preset=recommended", *more, *variant)
    for variant in ENDS:
        yield ("--config=tafbw", "--config.preset=paper_fast_lr", *variant)


def tafbw_heading() -> Iterator[Flags]:
    """TAF-BW by the settings of `sdd_heading`."""
    yield from _others("tafbw_heading", "heading", SLOWER)
    for variant in ENDS:
        yield (
            "--config=tafbw_heading", "--config.preset=recommended", *variant, SLOWER
        )  # fmt: skip


STUDIES = {
    "sdd": sdd, "sdd_heading": sdd_heading, "tafbw": tafbw,
    "tafbw_heading": tafbw_heading,
}  # fmt: skip
