"""Another frame rate, by linear interpolation between neighbouring points."""

import dataclasses
import fractions

import numpy as np

from nmn_jax.data.trajectories import cutting, records


def resample(tracks: records.Tracks, fps: float | int) -> records.Tracks:
    """Tracks at ``fps`` frames per second.

    Frame f of the result is at ``f / fps`` seconds, as frame g of a track is at ``g``
    over its own rate: where the new rate divides the old one, points are taken as they
    are. A track too short for any new frame is left out.

    Args:
        tracks: without gaps; each may have a rate of its own.
        fps: the new rate.

    Raises:
        ValueError: the rate is not a positive number, or tracks have gaps.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise ValueError(f"fps={fps!r}: must be a positive number")
    cutting.require_no_gaps(tracks)
    ratios = [_ratio(rate, fps) for rate in tracks.fps]
    over = np.array([each.numerator for each in ratios], np.int64)
    under = np.array([each.denominator for each in ratios], np.int64)
    # New frame f is old frame f * over / under.
    first = tracks.frames[tracks.offsets[:-1]]
    last = tracks.frames[tracks.offsets[1:] - 1]
    begin = -((-first * under) // over)
    counts = np.maximum(last * under // over - begin + 1, 0)
    rows = np.repeat(np.arange(len(tracks)), counts)
    order = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    frames = begin[rows] + order
    whole, part = np.divmod(frames * over[rows], under[rows])
    left = whole - first[rows] + tracks.offsets[rows]
    right = np.minimum(left + 1, tracks.offsets[rows + 1] - 1)
    share = (part / under[rows])[:, None]
    kept = records.select(tracks, counts > 0)
    return dataclasses.replace(
        kept,
        fps=np.full(len(kept), float(fps)),
        offsets=np.concatenate([[0], np.cumsum(counts[counts > 0])]),
        frames=frames,
        xy=(1 - share) * tracks.xy[left] + share * tracks.xy[right],
        lost=tracks.lost[np.where(share[:, 0] > 0.5, right, left)],
    )


def _ratio(old: float, new: float | int) -> fractions.Fraction:
    """Old over new rate in whole numbers."""
    whole = fractions.Fraction(old) / fractions.Fraction(new)
    return whole.limit_denominator(10_000)
