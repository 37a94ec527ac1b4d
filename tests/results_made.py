"""Results of few-shot runs, made up."""

from __future__ import annotations

SETTINGS = {
    "preset": "recommended",
    "model": {"label_input": "write"},
    "sg": {"use": "fast", "control": "none"},
    "optim": {"lr": 1e-3, "controller_factor": 1.0},
    "adapt": {"lr": 0.01},
}
RESULT = {
    "experiment": "omniglot", "study": "", "method": "nmn", "seed": 0,
    "columns": {"method": "nmn recommended", "synthetic gradients": "fast"},
    "task": {"data": "omniglot", "split": "paper", "ways": 5, "shots": 1},
    "measures": {
        "accuracy": {"mean": 0.98, "half": 0.002, "n": 1000, "unit": "fraction"}
    },
    "variant": "a", "evaluation": {"kind": "episodes"},
    "config": {"optim": {"lr": None}, "train": {"steps": 600, "episodes": 8}},
    "settings": SETTINGS, "state_digest": "0", "train_steps": 5000,
    "train_images": 1, "wall_seconds": 600.0, "first_step_seconds": 3.0,
    "device": "cpu", "devices": 1, "jax": "0", "commit": "c", "command": "python",
    "extra": {},
}  # fmt: skip


def made(accuracy=0.98, use="fast", *, lr=None, factor=1.0, **changes):
    """A result of another variant where that is meant."""
    optim = {"lr": lr or 1e-3, "controller_factor": factor}
    settings = {**SETTINGS, "sg": {"use": use, "control": "none"}, "optim": optim}
    return {
        **RESULT,
        "settings": settings,
        "config": {**RESULT["config"], "optim": {"lr": lr}},
        "variant": f"{use}{lr}{factor}",
        "columns": {"method": "nmn recommended", "synthetic gradients": use},
        "measures": {
            "accuracy": {"mean": accuracy, "half": 0.002, "n": 1000, "unit": "fraction"}
        },
        **changes,
    }


def lines(text):
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.split("\n")]
