"""How training images are distorted."""

from __future__ import annotations

import dataclasses

from nmn_jax.settings.checks import Checked, checked, real, share
from nmn_jax.tasks import distortion


@dataclasses.dataclass(frozen=True)
class AugmentSettings(Checked):
    """The farthest an image is changed in training; see `tasks.distortion.Limits`.

    rotate: degrees
    stretch: logarithm of a factor, of height and of width
    shear: pixels to the side a pixel downwards
    shift: pixels
    stroke: share of the way to the darkest or lightest pixel beside
    """

    where = "augment"
    rotate: float = checked(0.0, real(0, 180))
    stretch: float = checked(0.0, real(0, 1))
    shear: float = checked(0.0, real(0, 1))
    shift: float = checked(0.0, real(0, 100))
    stroke: float = checked(0.0, share)


def make_distort(
    settings: AugmentSettings, share: float = 1.0
) -> distortion.Distort | None:
    """Distortions within a share of these limits, None where all are zero."""
    limits = distortion.Limits(*(share * v for v in dataclasses.astuple(settings)))
    return distortion.make_distort(limits) if any(limits) else None
