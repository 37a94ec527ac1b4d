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
    bend: pixels, of the longest wave
    """

    where = "augment"
    rotate: float = checked(0.0, real(0, 180))
    stretch: float = checked(0.0, real(0, 1))
    shear: float = checked(0.0, real(0, 1))
    shift: float = checked(0.0, real(0, 100))
    stroke: float = checked(0.0, share)
    bend: float = checked(0.0, real(0, 100))


@dataclasses.dataclass(frozen=True)
class RecastSettings(Checked):
    """The farthest all drawings of a character are changed alike in an episode of
    training, which makes another character of it; see `tasks.distortion.Limits`.

    rotate: degrees
    stretch: logarithm of a factor, of height and of width
    shear: pixels to the side a pixel downwards
    mirror: share of characters whose left and right change places
    bend: pixels, of the longest wave
    """

    where = "recast"
    rotate: float = checked(0.0, real(0, 180))
    stretch: float = checked(0.0, real(0, 1))
    shear: float = checked(0.0, real(0, 1))
    mirror: float = checked(0.0, share)
    bend: float = checked(0.0, real(0, 100))


def make_distort(settings: AugmentSettings, share: float) -> distortion.Distort:
    """Distortions within a share of these limits."""
    limits = {k: share * value for k, value in dataclasses.asdict(settings).items()}
    return distortion.make_distort(distortion.Limits(**limits))


def make_recast(
    images: AugmentSettings, characters: RecastSettings
) -> distortion.Recast | None:
    """Distortions of training episodes, None where all limits are zero."""
    each, alike = dataclasses.asdict(images), dataclasses.asdict(characters)
    if not any(each.values()) and not any(alike.values()):
        return None
    return distortion.make_recast(distortion.Limits(**each), distortion.Limits(**alike))
