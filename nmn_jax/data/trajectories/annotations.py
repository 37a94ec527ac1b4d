"""Stanford Drone Dataset as its authors gave it out: one ``annotations.txt`` a video.

A row is ``track xmin ymin xmax ymax frame lost occluded generated "label"``, separated
by spaces, without a header; a box in pixels, 30 frames per second.
"""

import os
import pathlib
from collections.abc import Mapping

import numpy as np

from nmn_jax.data.trajectories import packed, records, tables
from nmn_jax.data.trajectories.tables import Column

FPS = 30.0
# Road users that are neither cyclists nor pedestrians keep their name.
LABELS = (*packed.CLASSES, "Skater", "Cart", "Car", "Bus")

COLUMNS = (
    Column("track", "whole", least=0),
    Column("xmin", "number"),
    Column("ymin", "number"),
    Column("xmax", "number"),
    Column("ymax", "number"),
    Column("frame", "whole", least=0),
    Column("lost", "whole", least=0, most=1),
    Column("occluded", "whole", least=0, most=1),
    Column("generated", "whole", least=0, most=1),
    Column("label", "text"),
)


def read(path: pathlib.Path, scene: str, video: int, scale: float) -> records.Tracks:
    """Tracks of one video, in metres.

    Args:
        path: its ``annotations.txt``.
        scene: name of the scene, which is the location.
        video: number of the video; the recording is ``scene_video``.
        scale: metres per pixel, see ``sdd.scales``.

    Raises:
        ValueError: the scale is not positive, or something in the file is wrong; the
            message names row and column.
    """
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(
            f"scale={scale!r} for {path}: must be a positive number, metres per pixel"
        )
    table = tables.read(path, COLUMNS, delimiter=" ", header="none")
    table.refuse(
        "label",
        ~np.isin(table["label"], LABELS),
        "{!r} is not one of " + ", ".join(LABELS),
    )
    for low, high in (("xmin", "xmax"), ("ymin", "ymax")):
        problem = f"{{}} is less than {low}"
        table.refuse(high, table[high] < table[low], problem)
    offsets = tables.offsets_of_tracks(table, ["track"], frame="frame")
    firsts = offsets[:-1]
    kinds = table["label"][firsts]
    other = np.repeat(kinds, np.diff(offsets)) != table["label"]
    table.refuse("label", other, "{!r} is another class than the track began with")
    x = (table["xmin"] + table["xmax"]) / 2
    y = (table["ymin"] + table["ymax"]) / 2
    return records.Tracks(
        recordings=np.full(len(firsts), f"{scene}_{video}"),
        locations=np.full(len(firsts), scene),
        numbers=table["track"][firsts],
        labels=np.array([packed.CLASSES.get(str(kind), str(kind)) for kind in kinds]),
        fps=np.full(len(firsts), FPS),
        offsets=offsets,
        frames=table["frame"],
        xy=scale * np.stack([x, y], -1),
        lost=table["lost"].astype(np.int8),
    )


def read_folder(
    folder: str | os.PathLike, scales: Mapping[str, float]
) -> records.Tracks:
    """Tracks of all videos, ``folder/<scene>/video<number>/annotations.txt``.

    Args:
        folder: the authors' folder ``annotations``.
        scales: metres per pixel by ``scene_video``, see ``sdd.scales``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a video has no scale, or as for ``read``.
    """
    paths = sorted(pathlib.Path(folder).glob("*/video*/annotations.txt"))
    if not paths:
        raise FileNotFoundError(
            f"no <scene>/video<number>/annotations.txt in {folder}: give the folder "
            "'annotations' of the Stanford Drone Dataset"
        )
    parts = []
    for path in paths:
        scene, video = path.parts[-3], path.parts[-2].removeprefix("video")
        name = f"{scene}_{video}"
        if name not in scales:
            raise ValueError(f"{path}: no scale for {name!r}; add it to the scales")
        parts.append(read(path, scene, int(video), scales[name]))
    return records.concatenate(parts)
