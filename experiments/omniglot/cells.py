"""What a cell of a few-shot table is about: a task, and results by task."""

from __future__ import annotations

import re

from experiments.common import tables
from experiments.common.tables import Result

ACCURACY = "accuracy"


def by_kind(results: list[Result]) -> list[Result]:
    """Results of one network for several settings, as one result for each of them."""
    found = []
    for each in results:
        names = each["task"].get("mixture", "")
        for ways, shots in re.findall(r"(\d+)way(\d+)shot", names):
            task = {**each["task"], "ways": int(ways), "shots": int(shots)}
            own = each["measures"][f"{ACCURACY} {ways}w{shots}s"]
            found.append(
                {
                    **each, "task": task, "measures": {ACCURACY: own},
                    "variant": f"{each['variant']}-{ways}w{shots}s",
                }
            )  # fmt: skip
        if not names:
            found.append(each)
    return found


def setting(result: Result) -> str:
    """Data and task in one cell."""
    task = result["task"]
    kind = result["evaluation"].get("kind", "episodes")
    lake = " Lake" if kind == "lake" else ""
    return f"{task['data']} ({task['split']}) {task['ways']}w{task['shots']}s{lake}"


def order(result: Result) -> tuple:
    """What rows are sorted by."""
    task = result["task"]
    return (task["data"], task["ways"], task["shots"], tables.label(result["columns"]))
