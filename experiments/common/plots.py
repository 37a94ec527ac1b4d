"""One function per picture; each reads what runs wrote and knows no method by name."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Okabe and Ito's colours, to be told apart by everyone.
CONTROLLERS = {"input": "#0072B2", "output": "#D55E00", "write": "#009E73"}
RIGHT, WRONG = "#009E73", "#D55E00"
Rows = Sequence[Mapping[str, Any]]


def rows(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The whole rows of metrics.jsonl; a torn last line is dropped."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def series(found: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric; where it is null it was not measured."""
    kept = [row for row in found if row.get(name) is not None]
    values = [float(row[name]) for row in kept]
    return np.array([row["step"] for row in kept]), np.array(values)


def subplots(
    *, figsize: tuple[float, float] | None = None, **options: Any
) -> tuple[Any, Any]:
    """A figure and its axes, drawn without a screen.

    No backend is chosen, so in a notebook the reader's own pictures still appear.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=figsize, layout="constrained")
    return figure, figure.subplots(**options)


def legend_below(figure: Any, *axes: Any, size: float = 7) -> None:
    """What the lines of these axes are, each name once, below all axes and in as many
    columns as fit.

    Args:
      size: of the letters, in points.
    """
    named: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    labels, handles = list(named), list(named.values())
    # Inches: of a letter about half its size, and the line with its margins.
    widest = max(map(len, labels), default=1) * 0.55 * size / 72 + 0.6
    columns = max(1, int(figure.get_figwidth() / widest))
    figure.legend(
        handles, labels, fontsize=size, loc="outside lower center", ncols=columns
    )


def save(figure: Any, path: pathlib.Path, *, dpi: int = 120) -> None:
    """Write a figure; a palette keeps the file under 200 kB."""
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Maximum coverage: thin lines keep their colours, however few points they have.
    whole = Image.open(drawn).convert("RGB")
    picture = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE)
    picture.save(path, format="png", optimize=True)


def learning_curve(
    found: Rows, path: pathlib.Path, *, title: str, chance: float
) -> None:
    """Loss and accuracy in training, accuracy in validation, chance.

    Args:
      title: what was trained and how it did.
      chance: accuracy of guessing, a fraction.
    """
    figure, (left, right) = subplots(ncols=2, figsize=(10, 3.8))
    left.plot(*series(found, "loss"), color="0.4", lw=1)
    left.set(xlabel="training step", ylabel="loss", yscale="log")
    steps, accuracy = series(found, "accuracy")
    right.plot(steps, 100 * accuracy, color="0.7", lw=1, label="training")
    steps, accuracy = series(found, "validation/accuracy")
    _, half = series(found, "validation/ci95")
    spread = 100 * half if len(half) == len(steps) else None
    right.errorbar(
        steps, 100 * accuracy, spread, color="#0072B2", marker="o", ms=4,
        capsize=3, label="validation",
    )  # fmt: skip
    right.axhline(100 * chance, color="k", ls=":", lw=1, label="chance")
    right.set(xlabel="training step", ylabel="accuracy (%)", ylim=(0, 101))
    right.legend(loc="lower right")
    figure.suptitle(title)
    save(figure, path)


def episodes(
    seen: Mapping[str, np.ndarray], path: pathlib.Path, count: int = 2
) -> None:
    """Test episodes: a row per class, its support images, then queries and answers.

    Args:
      seen: `support_images [B, S, H, W]` with `support_labels [B, S]`, the same of
        `query`, and `predictions [B, Q]`.
      count: episodes drawn, from the first on.
    """
    labels = seen["support_labels"]
    # Labels may be any names, as many in each episode.
    names = [np.unique(each) for each in labels]
    ways, count = len(names[0]), min(count, len(labels))
    shots, asked = (
        labels.shape[1] // ways,
        min(6, seen["query_labels"].shape[1] // ways),
    )
    columns = shots + asked
    figure, axes = subplots(
        nrows=count * ways, ncols=columns, squeeze=False,
        figsize=(0.8 * columns + 1, 0.85 * count * ways + 0.6),
    )  # fmt: skip
    for row, (episode, place) in enumerate(np.ndindex(count, ways)):
        way = names[episode][place]
        support = np.flatnonzero(labels[episode] == way)
        query = np.flatnonzero(seen["query_labels"][episode] == way)[:asked]
        for axis, index in zip(axes[row, :shots], support, strict=True):
            _glyph(axis, seen["support_images"][episode, index], "0.5", f"class {way}")
        for axis, index in zip(axes[row, shots:], query, strict=True):
            said = int(seen["predictions"][episode, index])
            image = seen["query_images"][episode, index]
            if said == way:
                _glyph(axis, image, RIGHT, f"✓ {said}")
            else:
                _glyph(axis, image, WRONG, f"✗ {said}")
    figure.suptitle(
        "support (grey frame), queries with the predicted class", fontsize=9
    )
    save(figure, path)


def _glyph(axis: Any, image: np.ndarray, colour: str, title: str) -> None:
    axis.imshow(255 - image, cmap="gray", vmin=0, vmax=255)
    axis.set_title(title, fontsize=7, color=colour, pad=2)
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(color=colour, linewidth=2)


def addressing(seen: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    """Where the memory was written and read over one test episode.

    Args:
      seen: as for `episodes`, with `support_writes` and `support_weights [B, T, L]`,
        and `query_weights [B, Q, L]`.
    """
    order = np.argsort(seen["query_labels"][0], kind="stable")
    reads = (seen["support_weights"][0], seen["query_weights"][0][order])
    panels = (
        ("written at support steps", seen["support_writes"][0], "support step"),
        ("read at support steps", reads[0], "support step"),
        ("read by queries, by true class", reads[1], "query"),
    )
    figure, axes = subplots(
        ncols=3, figsize=(12, 3.6), sharey=True, width_ratios=(1, 1, 2)
    )
    for axis, (title, weights, name) in zip(axes, panels, strict=True):
        shown = axis.imshow(weights.T, aspect="auto", vmin=0, vmax=1, cmap="viridis")
        axis.set(title=title, xlabel=name)
    classes, starts = np.unique(seen["query_labels"][0][order], return_index=True)
    axes[2].set_xticks(starts, [f"class {each}" for each in classes], fontsize=7)
    for start in starts[1:]:
        axes[2].axvline(start - 0.5, color="w", lw=0.8)
    axes[0].set_ylabel("memory slot")
    figure.colorbar(shown, ax=axes, label="weight")
    save(figure, path)


def has_synthetic(found: Rows) -> bool:
    """Whether cotangents were measured, so that `synthetic` has something to draw."""
    return any(f"sg/{name}/true_norm" in row for row in found for name in CONTROLLERS)


def synthetic(found: Rows, path: pathlib.Path) -> None:
    """Cosine and R² of synthetic against true cotangents, and the norms of both."""
    figure, axes = subplots(ncols=3, figsize=(13, 3.8))
    norms = {
        kind: np.concatenate(
            [series(found, f"sg/{each}/{kind}")[1] for each in CONTROLLERS]
        )
        for kind in ("norm", "true_norm")
    }
    if not np.any(norms["norm"]):
        figure.suptitle("nothing was predicted: norms of the true cotangents")
    for name, colour in CONTROLLERS.items():
        for axis, measure in zip(axes, ("cosine", "r2"), strict=False):
            steps, values = series(found, f"sg/{name}/{measure}")
            axis.plot(steps, values, color=colour, label=name)
        for measure, style in (("norm", "-"), ("true_norm", "--")):
            steps, values = series(found, f"sg/{name}/{measure}")
            kind = "predicted" if measure == "norm" else "true"
            axes[2].plot(steps, values, style, color=colour, label=f"{name}: {kind}")
    axes[0].set(ylabel="cosine with the true cotangent", ylim=(-1, 1))
    axes[1].set(ylabel="share explained, R²", ylim=(-1, 1))
    scale = "log" if any(map(np.any, norms.values())) else "linear"
    axes[2].set(ylabel="norm of one query's cotangent", yscale=scale)
    for axis in axes:
        axis.set_xlabel("training step")
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
        axis.legend(fontsize=7)
    save(figure, path)
