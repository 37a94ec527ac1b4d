"""What studies of synthetic gradients vary, as flags of a run."""

from __future__ import annotations

OFF = ("--config.sg.use=off",)
BOTH = ("--config.sg.use=both",)
CONTROLS = ("zeroed", "oracle_step", "oracle_query", "shuffled")
# Uses of synthetic gradients, and the controls that decide whether an effect is real.
SYNTHETIC: tuple[tuple[str, ...], ...] = (
    OFF,
    ("--config.sg.use=decoupled",),
    ("--config.sg.use=fast",),
    BOTH,
    *((*BOTH, f"--config.sg.control={control}") for control in CONTROLS),
    (*OFF, "--config.optim.controller_factor=2.0"),
)
