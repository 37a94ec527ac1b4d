"""Stanford Drone Dataset (Robicquet et al., ECCV 2016): bird's-eye videos of a campus.

Two packed files hold the tracks of cyclists and pedestrians: 23 videos at the full 30
frames per second, and all 60 at 3. Positions there are pixels, centre of the annotated
box; they become metres by the scale stored for each video. Licence: CC BY-NC-SA 3.0,
not for commercial use.
"""

import os
import pathlib

from nmn_jax.data import files
from nmn_jax.data.trajectories import packed, records

FILES = {"30hz": "sdd_tracks_30hz.npz", "3hz": "sdd_tracks_3hz_all60.npz"}


def load(
    rate: str = "30hz", directory: str | os.PathLike | None = None
) -> records.Tracks:
    """Tracks of one packed file.

    Args:
        rate: ``30hz`` (23 videos) or ``3hz`` (all 60).
        directory: its folder; by default ``NMN_DATA_DIR/trajectories``.

    Raises:
        FileNotFoundError: the file is missing; the message says what to do.
        ValueError: unknown rate, or something in the file is wrong.
    """
    return packed.read(_path(rate, directory))


def scales(directory: str | os.PathLike | None = None) -> dict[str, float]:
    """Metres per pixel of all 60 videos, by the name ``scene_video``.

    Raises:
        FileNotFoundError, ValueError: as for ``load``.
    """
    return packed.scales(_path("3hz", directory))


def _path(rate: str, directory: str | os.PathLike | None) -> pathlib.Path:
    if rate not in FILES:
        raise ValueError(f"rate={rate!r}: choose one of {', '.join(FILES)}")
    return files.require(
        "trajectories",
        [FILES[rate]],
        directory=directory,
        offline="the made-up tracks of nmn_jax.data.trajectories.synthetic",
        obtain="pack the authors' annotations (arrays as in trajectories/packed.py)",
    )[0]
