"""Settings of streams: windows, what reaches them from beyond, and what is replayed."""

from __future__ import annotations

import dataclasses

from nmn_jax.feedback.bootstrap import CARRIES, TARGETS
from nmn_jax.feedback.future import CONTROLS
from nmn_jax.feedback.state_predictors import STATE_PREDICTORS
from nmn_jax.settings.checks import Checked, checked, choice, real, share, whole


@dataclasses.dataclass(frozen=True)
class StreamSettings(Checked):
    """Windows of a stream.

    target: what reaches a window, and what predictors regress on: the gradient of the
      same `step`'s loss, of the `window`'s, or the latter with a guess of the future,
      at the last update alone (`bootstrap_update`) or at the whole carried state
      (`bootstrap`)
    carry: what survives the end of a window: all (`stream`), nothing (`episode`), or
      the `memory` without the controllers' recurrent state

    Of `bootstrap` alone, see `nmn_jax.feedback.future`:

    predictor: a name of `state_predictors.STATE_PREDICTORS`
    control: what is done to the guess on its way, to see whether its effect is real
    weight: factor on it, for the window and for the target: a discount per window
    trace, horizon: λ, and how many windows a target looks along
    auxiliary: weight of predicting the next window's guess
    """

    where = "stream"
    target: str = checked("window", choice(TARGETS))
    carry: str = checked("stream", choice(CARRIES))
    predictor: str = checked("mlp", choice(STATE_PREDICTORS))
    control: str = checked("none", choice(CONTROLS))
    weight: float = checked(1.0, real(0, above=True))
    trace: float = checked(0.0, share)
    horizon: int = checked(1, whole(1, 1000))
    auxiliary: float = checked(0.0, real(0))

    def __post_init__(self) -> None:
        """Raises ValueError for settings of a bootstrap that would have no effect."""
        super().__post_init__()
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if self.target != "bootstrap" and value != field.default:
                raise ValueError(
                    f"stream.{field.name}={value!r} with stream.target="
                    f"{self.target!r} has no effect; give stream.target='bootstrap'"
                )
        if (self.trace > 0) != (self.horizon > 1):
            raise ValueError(
                f"stream.trace={self.trace:g} with stream.horizon={self.horizon}: a "
                "trace above 0 needs a horizon of at least 2 windows, and without one "
                "no more than 1 window is looked at"
            )
        if self.auxiliary and not STATE_PREDICTORS[self.predictor]().shares:
            raise ValueError(
                f"stream.auxiliary={self.auxiliary:g} with stream.predictor="
                f"{self.predictor!r} has no effect: its two guesses share nothing; "
                "take 'mlp' or 'linear_mlp'"
            )


@dataclasses.dataclass(frozen=True)
class ReplaySettings(Checked):
    """Examples shown again.

    count: examples recalled before those of every window
    kept: examples kept of every class for that
    """

    where = "replay"
    count: int = checked(10, whole(1, 1_000_000))
    kept: int = checked(20, whole(1, 1_000_000))
