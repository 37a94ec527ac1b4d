"""One function per picture of a run; each reads what the run wrote and nothing else."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

COLOURS = {"input": "#0072B2", "output": "#D55E00", "write": "#009E73"}


def rows(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The whole rows of metrics.jsonl; a torn last line is dropped."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def series(found: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric."""
    kept = [row for row in found if name in row]
    values = [float(row[name]) for row in kept]
    return np.array([row["step"] for row in kept]), np.array(values)


def subplots(**options: Any) -> tuple[Any, Any]:
    """A figure and its axes, drawn without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained", **options)


def save(figure: Any, path: pathlib.Path) -> None:
    """Write a figure and forget it."""
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def learning_curve(found: list[dict], result: dict, path: pathlib.Path) -> None:
    """Loss and accuracy in training, accuracy on validation characters, chance."""
    figure, (left, right) = subplots(ncols=2, figsize=(10, 3.8))
    left.plot(*series(found, "loss"), color="0.4", lw=1)
    left.set(xlabel="training step", ylabel="query loss (nats)", yscale="log")
    steps, accuracy = series(found, "accuracy")
    right.plot(steps, 100 * accuracy, color="0.7", lw=1, label="training episodes")
    steps, accuracy = series(found, "validation/accuracy")
    _, half = series(found, "validation/ci95")
    right.errorbar(
        steps, 100 * accuracy, 100 * half, color="#0072B2", marker="o", ms=4,
        capsize=3, label="validation characters",
    )  # fmt: skip
    right.axhline(100 / result["ways"], color="k", ls=":", lw=1, label="chance")
    right.set(xlabel="training step", ylabel="accuracy (%)", ylim=(0, 101))
    right.legend(loc="lower right")
    figure.suptitle(
        f"{result['ways']}-way {result['shots']}-shot, {result['preset']}, "
        f"synthetic gradients {result['sg']}: test {100 * result['accuracy']:.2f} ± "
        f"{100 * result['ci95']:.2f} %"
    )
    save(figure, path)


def episodes(seen: dict[str, np.ndarray], path: pathlib.Path, count: int = 2) -> None:
    """Test episodes: a row per class, its support images, then queries and answers."""
    labels = seen["support_labels"]
    ways = int(labels.max()) + 1
    shots, asked = (
        labels.shape[1] // ways,
        min(6, seen["query_labels"].shape[1] // ways),
    )
    count = min(count, len(labels))
    columns = shots + asked
    figure, axes = subplots(
        nrows=count * ways, ncols=columns, squeeze=False,
        figsize=(0.8 * columns + 1, 0.85 * count * ways + 0.6),
    )  # fmt: skip
    for row, (episode, way) in enumerate(np.ndindex(count, ways)):
        support = np.flatnonzero(labels[episode] == way)
        query = np.flatnonzero(seen["query_labels"][episode] == way)[:asked]
        for axis, index in zip(axes[row, :shots], support, strict=True):
            _glyph(axis, seen["support_images"][episode, index], "0.5", f"class {way}")
        for axis, index in zip(axes[row, shots:], query, strict=True):
            said = int(seen["predictions"][episode, index])
            right = said == way
            title = f"✓ {said}" if right else f"✗ {said}"
            image = seen["query_images"][episode, index]
            _glyph(axis, image, "#009E73" if right else "#D55E00", title)
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


def addressing(seen: dict[str, np.ndarray], path: pathlib.Path) -> None:
    """Where the memory was written and read over one test episode."""
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


def synthetic(found: list[dict], result: dict, path: pathlib.Path) -> None:
    """Cosine and R² of synthetic against true cotangents, and the norms of both."""
    figure, axes = subplots(ncols=3, figsize=(13, 3.8))
    if result["sg"] == "off":
        figure.suptitle("synthetic gradients are off: norms of the true cotangents")
    for name, colour in COLOURS.items():
        for axis, measure in zip(axes, ("cosine", "r2"), strict=False):
            steps, values = series(found, f"sg/{name}/{measure}")
            axis.plot(steps, values, color=colour, label=name)
        steps, values = series(found, f"sg/{name}/norm")
        axes[2].plot(steps, values, color=colour, label=f"{name}: predicted")
        steps, values = series(found, f"sg/{name}/true_norm")
        axes[2].plot(steps, values, color=colour, ls="--", label=f"{name}: true")
    axes[0].set(ylabel="cosine with the true cotangent", ylim=(-1, 1))
    axes[1].set(ylabel="share explained, R²", ylim=(-1, 1))
    axes[2].set(ylabel="norm of one query's cotangent", yscale="log")
    for axis in axes:
        axis.set_xlabel("training step")
        axis.axhline(0, color="0.8", lw=0.8, zorder=0)
        axis.legend(fontsize=7)
    save(figure, path)
