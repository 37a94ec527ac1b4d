"""Every notebook is run as it stands, and is committed as a page that can be read.

After a change: `jupyter execute --inplace notebooks/<name>.ipynb`.
"""

import json
import os
import pathlib
import re

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 300_000  # bytes
# Of whoever made the page; relative paths are everyone's.
OWN = re.compile(r"(?:^|[\s'\"(=])(?:/(?:home|root|tmp|work|Users|var|opt)/|[A-Z]:\\)")


def execute(page: nbformat.NotebookNode, folder: pathlib.Path) -> None:
    """Run all cells in a kernel of its own, which leaves its files in `folder`.

    Raises:
      CellExecutionError: at the first cell that raises.
    """
    environment = {name: v for name, v in os.environ.items() if name != "XLA_FLAGS"}
    for place in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "TMPDIR"):
        environment[place] = str(folder)
    nbclient.NotebookClient(
        page,
        timeout=600,  # seconds a cell
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT / "notebooks")}},
    ).execute(env={**environment, "PYTHONPATH": str(ROOT)})


def outputs(page: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [out for cell in page.cells for out in cell.get("outputs", [])]


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def path(request) -> pathlib.Path:
    return request.param


def test_it_runs(path, tmp_path):
    page = nbformat.read(path, as_version=4)
    execute(page, tmp_path)
    pictures = [out for out in outputs(page) if "image/png" in out.get("data", {})]
    assert len(pictures) >= 2


def test_a_cell_that_raises_is_noticed(tmp_path):
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="division"):
        execute(page, tmp_path)


def test_it_reads_as_a_page(path):
    """In order, with pictures, without warnings, errors or paths of one machine."""
    page = nbformat.read(path, as_version=4)
    code = [cell for cell in page.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size <= LARGEST
    kinds = {(out.output_type, out.get("name")) for out in outputs(page)}
    assert kinds <= {("stream", "stdout"), ("display_data", None),
                     ("execute_result", None)}  # fmt: skip
    assert not OWN.search(json.dumps(page).replace("\\n", " "))


def test_there_are_pages():
    assert {path.stem for path in PAGES} >= {
        "two_speeds", "your_own_rule", "look_inside", "stream"
    }  # fmt: skip
