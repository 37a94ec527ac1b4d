"""What papers report of Omniglot, and the protocol their numbers hold for."""

from __future__ import annotations

from typing import NamedTuple

# Accuracy in %: 5-way 1-shot, 5-way 5-shot, 20-way 1-shot, 20-way 5-shot.
SETTINGS = ((5, 1), (5, 5), (20, 1), (20, 5))
NOTES = {
    "t": "transductive: queries are normalised by their own statistics",
    "e": "ensemble of the five checkpoints that were best in validation",
    "p": "second and fifth presentation, so with 1 and 4 labelled examples of a class; "
    "20x20 pixels, no convolutions",
    "s": "a split of characters of its own, or one that depends on the file system",
}


class Published(NamedTuple):
    """What a paper reports: values as in `SETTINGS`, letters of `NOTES`, and whether
    the README's small table shows it."""

    values: tuple[float | None, ...]
    notes: str = ""
    brief: bool = False


PUBLISHED = {
    "NMN with synthetic gradients (2011.05438)": Published(
        (99.0, 99.7, 97.9, 99.1), brief=True
    ),
    "NMN without (2011.05438)": Published((80.2, 89.1, 78.1, 83.5), brief=True),
    "Prototypical networks": Published((98.8, 99.7, 96.0, 98.9), brief=True),
    "Matching networks": Published((98.1, 98.9, 93.8, 98.5)),
    "MAML": Published((98.7, 99.9, 95.8, 98.9), "ts"),
    "MAML++": Published((99.47, 99.93, 97.6, 99.3), "te", brief=True),
    "Reptile": Published((95.39, 98.90, 88.14, 96.65)),
    "Reptile with transduction": Published((97.68, 99.48, 89.43, 97.12), "t"),
    "MANN": Published((82.8, 94.9, None, None), "p"),
    "MetaNet": Published((98.95, None, 97.0, None)),
    "SNAIL": Published((99.07, 99.78, 97.64, 99.36)),
    "T-NAS++": Published((99.55, 99.95, None, None)),
}
