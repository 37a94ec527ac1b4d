"""Checkpoints that are checked: a checksum per leaf, a diff before any restore.

Orbax writes and commits; what it does not do is done here. It restores flipped bytes as
wrong numbers and casts other dtypes silently, so every leaf's shape, dtype and CRC-32
is stored beside it and compared, and so is the step. A damaged checkpoint is named, set
aside, and the one before it used; another structure is an error, because falling back
cannot cure it.
"""

from __future__ import annotations

import math
import os
import pathlib
import shutil
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from nmn_jax.run import fingerprint, parallel, place
from nmn_jax.run.fingerprint import DamagedError

STALE = "*.orbax-checkpoint-tmp*"


class Restored(NamedTuple):
    """What a checkpoint holds: the state, and what was saved beside it."""

    step: int
    state: Any
    extra: dict[str, Any]
    metrics: dict[str, float]


class Checkpoints:
    """The checkpoints of one run: the latest `keep` and the best by `metric`.

    Saving copies the state and returns; files are written in the background. Use as a
    context manager, so that the last save is complete on the way out. With several
    processes all of them call every method, and the first one writes.

    Args:
      directory: where they are, created if need be; half-written ones that an
        interrupted run left there are removed.
      keep: how many of the latest to keep.
      metric: the entry of `metrics` whose largest value marks the best checkpoint.
    """

    def __init__(
        self, directory: str | pathlib.Path, *, keep: int = 2, metric: str | None = None
    ):
        import orbax.checkpoint as ocp

        if keep < 1:
            raise ValueError(f"keep={keep}: at least one checkpoint has to be kept")
        self.directory = place.claim_folder(directory, "checkpoints").absolute()
        self._policy = _Policy(keep)
        self._metric = metric
        _remove_stale(self.directory)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self._policy, save_root_metadata=False
        )
        self._manager = ocp.CheckpointManager(
            self.directory, options=options, item_names=("state", "record")
        )
        for step in self.steps():
            self._remember_score(step)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        """Steps at hand, oldest first."""
        return sorted(self._manager.all_steps())

    def _named(self) -> set[int]:
        """Steps at hand, and those in whose place there is something else."""
        self.wait()
        found = {path.name for path in self.directory.iterdir()}
        return {int(name) for name in found if name.isdecimal()}

    def best_step(self) -> int | None:
        """The step with the largest metric, the earliest of equals."""
        ranked = self._policy.ranked()
        return ranked[0] if ranked else None

    def wait(self) -> None:
        """Return when everything saved is on disk; raises what a write raised."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Complete the last save and release the files."""
        self._manager.wait_until_finished()
        self._manager.close()

    def save(
        self,
        step: int,
        state: Any,
        *,
        extra: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        wait: bool = False,
    ) -> None:
        """Save the state after `step`; a step that is already there is left alone.

        Args:
          state: a pytree of JAX arrays, typed keys included.
          extra: anything JSON can hold, e.g. the config and counters of the loop.
          metrics: what the best checkpoint is chosen by.
          wait: return only when the checkpoint is on disk.

        Raises:
          ValueError: for a leaf that is not a JAX array or, with several processes,
            lies on the devices of one; or no JSON in `extra`.
        """
        import orbax.checkpoint as ocp

        if step not in self._manager.all_steps():
            leaves = fingerprint.flatten(state)
            fingerprint.check_global(leaves)
            record = fingerprint.seal(
                step=step,
                leaves=fingerprint.describe(leaves),
                extra=dict(extra or {}),
                metrics=dict(metrics or {}),
            )
            self._score(step, record["metrics"])
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(leaves), record=ocp.args.JsonSave(record)
            )
            self._manager.save(step, args=args)
        if wait:
            self.wait()

    def restore_latest(self, target: Any) -> Restored | None:
        """The newest sound checkpoint, or None where there is none.

        Args:
          target: the state as it would be at the start (arrays, or their shapes); the
            result has its structure and its placement on devices.

        Raises:
          fingerprint.MismatchError: the newest sound checkpoint holds another state.
          fingerprint.DamagedError: there are checkpoints, and not one is sound.
        """
        return self._restore_first(sorted(self._named(), reverse=True), target)

    def restore_best(self, target: Any) -> Restored | None:
        """The sound checkpoint with the largest metric; see `restore_latest`."""
        kept = self.steps()
        best_first = [step for step in self._policy.ranked() if step in kept]
        return self._restore_first(best_first, target)

    def _restore_first(self, steps: Sequence[int], target: Any) -> Restored | None:
        self.wait()
        damaged: dict[int, str] = {}
        for step in steps:
            restored, fault = self._attempt(step, target)
            if restored is not None and parallel.everywhere(True):
                self._set_aside(damaged, used=step)
                return restored
            damaged[step] = fault
        if damaged:
            raise DamagedError(
                f"no sound checkpoint in {self.directory}: {_listed(damaged)}. Nothing "
                "was deleted; to start anew, move that folder away or give another one"
            )
        return None

    def _attempt(self, step: int, target: Any) -> tuple[Restored | None, str]:
        try:
            return self._restore(step, target), "damaged where another process read it"
        except DamagedError as error:
            parallel.everywhere(False)
            return None, str(error)

    def _restore(self, step: int, target: Any) -> Restored:
        """One checkpoint; damage anywhere in it becomes a DamagedError."""
        import orbax.checkpoint as ocp

        leaves = fingerprint.flatten(target)
        wanted = {name: _abstract(leaf) for name, leaf in leaves.items()}
        record = self._record(step)
        fingerprint.check_structure(
            record["leaves"], wanted, where=str(self.directory / str(step))
        )
        stored = self._read(step, "state", ocp.args.StandardRestore(wanted))
        fingerprint.check_content(record["leaves"], stored)
        state = jax.tree.unflatten(
            jax.tree.structure(target), [stored[name] for name in wanted]
        )
        return Restored(step, state, record["extra"], record["metrics"])

    def _record(self, step: int) -> dict[str, Any]:
        import orbax.checkpoint as ocp

        if not (self.directory / str(step)).is_dir():
            raise DamagedError("a file or a link to nothing, where a folder belongs")
        record = fingerprint.unseal(self._read(step, "record", ocp.args.JsonRestore()))
        if record.get("step") != step:
            raise DamagedError(f"it holds step {record.get('step')} under this name")
        return record

    def _read(self, step: int, item: str, how: Any) -> Any:
        import orbax.checkpoint as ocp

        try:
            args = ocp.args.Composite(**{item: how})
            return self._manager.restore(step, args=args)[item]
        except Exception as error:  # orbax has no class of its own for damaged files
            cause = (str(error).strip() or repr(error)).splitlines()[0][:160]
            raise DamagedError(f"{item} cannot be read: {cause}") from error

    def _set_aside(self, damaged: Mapping[int, str], *, used: int) -> None:
        """Rename damaged checkpoints, so that their steps can be saved again."""
        if not damaged:
            return
        if jax.process_index() == 0:
            for step in damaged:
                _rename(self.directory / str(step), f"damaged-{step}")
        parallel.everywhere(True)
        self._manager.reload()
        for step in damaged:
            self._policy.scores.pop(step, None)
        warnings.warn(
            f"damaged checkpoint in {self.directory}: {_listed(damaged)}. Using step "
            f"{used}; what is damaged was renamed to damaged-<step>",
            stacklevel=4,
        )

    def _remember_score(self, step: int) -> None:
        try:
            self._score(step, self._record(step)["metrics"])
        except DamagedError:
            return  # named when something is restored

    def _score(self, step: int, metrics: Mapping[str, float]) -> None:
        score = metrics.get(self._metric or "", math.nan)
        if not math.isnan(score):
            self._policy.scores[step] = score


class _Policy:
    """Orbax's preservation policy: the latest few and the best, both always.

    Orbax's own `BestN` reads scores from a file that may be damaged, and its older
    option `best_fn` deletes the latest checkpoints while the metric falls.
    """

    def __init__(self, keep: int):
        self.keep = keep
        self.scores: dict[int, float] = {}

    def ranked(self) -> list[int]:
        """Steps with a score, best first, the earlier of equals before the later."""
        return sorted(self.scores, key=lambda step: (-self.scores[step], step))

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any
    ) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = set(sorted(steps)[-self.keep :])
        kept.update([step for step in self.ranked() if step in steps][:1])
        return [step in kept for step in steps]


def _remove_stale(directory: pathlib.Path) -> None:
    """Delete what interrupted saves left; orbax waits until the step comes again."""
    if jax.process_index() == 0 and directory.is_dir():
        for path in directory.glob(STALE):
            shutil.rmtree(path, ignore_errors=True)


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape, dtype and placement; without a placement the first local device."""
    sharding = getattr(leaf, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _rename(path: pathlib.Path, name: str) -> None:
    """Rename inside the folder, with a number where the name is taken."""
    free = path.with_name(name)
    number = 2
    while os.path.lexists(free):
        free = path.with_name(f"{name}-{number}")
        number += 1
    path.rename(free)


def _listed(damaged: Mapping[int, str]) -> str:
    return "; ".join(f"step {step}: {fault}" for step, fault in damaged.items())
