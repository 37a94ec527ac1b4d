"""Studies: many runs, one command, results left alone that are already there.

    python -m experiments.sweep sg_effect --results=results --jobs=2

Every run is one command of an experiment, printed before it starts, so
any row of a table can be made again alone. A run that was interrupted resumes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Uses of synthetic gradients, and the controls that decide whether an effect is real.
VARIANTS = (
    ("off", "none"),
    ("decoupled", "none"),
    ("fast", "none"),
    ("both", "none"),
    ("both", "zeroed"),
    ("both", "oracle"),
    ("both", "shuffled"),
    ("off", "double_rate"),
)
SMALL_BUDGET = (
    "--config.train.steps=600",
    "--config.train.episodes=8",
    "--config.train.queries=2",
    "--config.train.validate_every=200",
    "--config.train.checkpoint_every=300",
    "--config.eval.validation_episodes=100",
    "--config.eval.queries=5",
    "--config.study=sg_effect",
)


def sg_effect() -> Iterator[tuple[str, ...]]:
    """What synthetic gradients do: presets and label inputs at one small budget."""
    columns = (
        ("recommended", "none", 2),
        ("recommended", "write", 1),
        ("paper_fast_lr", "none", 1),
    )
    for seed, (preset, label, shown), (sg, control) in itertools.product(
        (0, 1), columns, VARIANTS
    ):
        yield (
            "--config=5way1shot", f"--config.preset={preset}",
            f"--config.model.label_input={label}",
            f"--config.model.presentations={shown}",
            f"--config.sg={sg}", f"--config.control={control}",
            f"--config.seed={seed}", *SMALL_BUDGET,
        )  # fmt: skip


def settings() -> Iterator[tuple[str, ...]]:
    """The paper's four settings, `recommended` and the yardstick, three seeds."""
    for seed, ways, shots in itertools.product((0, 1, 2), (5, 20), (1, 5)):
        for method in ("nmn", "prototype"):
            yield (
                f"--config={ways}way{shots}shot", f"--config.method={method}",
                f"--config.seed={seed}",
            )  # fmt: skip


def rare() -> Iterator[tuple[str, ...]]:
    """Rare classes on MNIST: every use of synthetic gradients, controls, yardsticks.

    Seeds are the outer loop, so that an interrupted study has some of everything; the
    paper's own memory, and one whose slow weights all but rest, come last.
    """
    replay, rest = "--config.stream.replayed=10", "--config.optim.lr=1e-7"
    first = [
        *(("nmn", "recommended", sg, control, ()) for sg, control in VARIANTS),
        *(("nmn", "recommended", sg, "none", (replay,)) for sg in ("off", "both")),
        *(("cnn", "recommended", "off", "none", more) for more in ((), (replay,))),
    ]
    last = [
        *(("nmn", "paper_fast_lr", sg, "none", ()) for sg in ("off", "both")),
        ("nmn", "recommended", "off", "none", (rest,)),
    ]
    for kinds in (first, last):
        for seed, kind in itertools.product(range(5), kinds):
            method, preset, sg, control, more = kind
            yield (
                "--config=mnist", f"--config.method={method}",
                f"--config.preset={preset}", f"--config.sg={sg}",
                f"--config.control={control}", f"--config.seed={seed}",
                "--config.study=rare", "--config.eval.images=250", *more,
            )  # fmt: skip


class Study(NamedTuple):
    """The experiment whose command runs, and the flags of every run."""

    experiment: str
    runs: Callable[[], Iterator[tuple[str, ...]]]


STUDIES = {
    "sg_effect": Study("omniglot", sg_effect),
    "settings": Study("omniglot", settings),
    "rare": Study("rare_classes", rare),
}


def name_of(flags: Iterable[str]) -> str:
    """A file name for a run: its flags that differ within a study."""
    told = (
        "preset", "label_input", "sg", "control", "method", "replayed", "lr", "seed",
    )  # fmt: skip
    parts = [flag.split("=")[1] for flag in flags if flag.split("=")[0] == "--config"]
    for flag in flags:
        key, value = flag.split("=")
        if key.split(".")[-1] in told and key != "--config":
            parts.append(f"{key.split('.')[-1]}-{value}")
    return "-".join(parts)


def run_one(
    study: str, flags: tuple[str, ...], results: pathlib.Path, core: int
) -> int:
    """One run in a process of its own; its exit status."""
    name = f"{study}-{name_of(flags)}"
    if (results / f"{name}.json").exists():
        return 0
    command = [
        sys.executable, "-m", f"experiments.{STUDIES[study].experiment}", *flags,
        f"--workdir=runs/{name}", f"--results={results}",
    ]  # fmt: skip
    print("+", " ".join(["python", *command[1:]]), flush=True)
    if core >= 0:
        command = ["taskset", "-c", str(core), *command]
    log = ROOT / "runs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("a") as out:
        return subprocess.run(command, cwd=ROOT, stdout=out, stderr=out).returncode


def main() -> None:
    """Run a study; exits non-zero if any of its runs failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("results"))
    parser.add_argument(
        "--jobs", type=int, default=1,
        help="runs at a time, each on a core of its own if more than one",
    )  # fmt: skip
    given = parser.parse_args()
    queue = list(STUDIES[given.study].runs())
    free = list(range(given.jobs)) if given.jobs > 1 else [-1]

    def next_one(flags: tuple[str, ...]) -> int:
        core = free.pop()
        try:
            return run_one(given.study, flags, given.results, core)
        finally:
            free.append(core)

    with futures.ThreadPoolExecutor(given.jobs) as pool:
        failed = sum(status != 0 for status in pool.map(next_one, queue))
    print(f"{len(queue) - failed} of {len(queue)} runs done", flush=True)
    sys.exit(os.EX_OK if not failed else 1)


if __name__ == "__main__":
    main()
