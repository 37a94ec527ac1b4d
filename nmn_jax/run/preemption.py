"""Notice that the machine is about to be taken away."""

from __future__ import annotations

import os
import signal
from types import FrameType

import jax

EXIT_CODE = getattr(os, "EX_TEMPFAIL", 75)


class Preemption:
    """Turns SIGTERM into a flag: the loop saves at the next step and ends.

    Schedulers send SIGTERM some seconds before they kill. With several processes JAX's
    own service catches it and agrees on one step for all of them; a flag of this
    process alone would have the others wait for ever in the next collective.

        with Preemption() as preemption:
            for step in range(start, stop):
                ...
                if preemption.requested(step):
                    checkpoints.save(step, state, wait=True)
                    sys.exit(preemption.EXIT_CODE)
    """

    EXIT_CODE = EXIT_CODE

    def __init__(self) -> None:
        self._noticed = False
        self._previous: signal.Handlers | int | object = None

    def __enter__(self) -> Preemption:
        if jax.process_count() == 1:
            self._previous = signal.signal(signal.SIGTERM, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)  # type: ignore[arg-type]
            self._previous = None

    def requested(self, step: int) -> bool:
        """Whether to save after `step` and end; every process asks at every step."""
        if jax.process_count() == 1:
            return self._noticed
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._noticed = True
