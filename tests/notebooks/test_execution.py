"""Notebooks give what they store, in words and in pictures, and an error of a demonstration would stop them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import nbformat
import papermill
import pytest

from derainlib.lab import figures, gate
from tests.notebooks import broken_first

ROOT = Path(__file__).parents[2]
NBVAL = (sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=600")
APART = ("--import-mode=importlib", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull)


class Run(NamedTuple):
    """What nbval said of a notebook."""

    passed: bool
    text: str
    tried: int
    """How many demonstrations were broken first, see `broken_first`."""


def nbval(path: Path, folder: Path) -> Run:
    """Runs a notebook, compares what it gives with what it stores, and breaks its demonstrations; `folder`: scratch."""
    start, tried = folder / "ipython/profile_default/startup/00-broken-first.py", folder / "tried"
    start.parent.mkdir(parents=True)
    start.write_text(broken_first.START_UP)
    tried.touch()
    modules = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    places = {"PYTHONPATH": modules, "IPYTHONDIR": str(folder / "ipython"), "DERAIN_TRIED": str(tried)}
    command = [*NBVAL, *APART, "-p", "tests.notebooks.pictures", str(path)]
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False)
    return Run(done.returncode == 0, done.stdout + done.stderr, len(tried.read_text().split()))


def demos(notebook: nbformat.NotebookNode) -> int:
    """How many live demonstrations a notebook shows."""
    texts = (output.get("data", {}).get("text/plain", "") for _, output in gate.outputs(notebook))
    return sum(text.startswith("Demo(") for text in texts)


def test_notebook_gives_what_it_stores(notebook, tmp_path):
    stored = nbformat.read(notebook, as_version=4)
    run = nbval(notebook, tmp_path)
    assert run.passed, run.text[-4000:]
    assert f"{sum(cell.cell_type == 'code' for cell in stored.cells)} passed" in run.text
    assert run.tried == demos(stored)


def test_published_notebook_runs_as_stored(published, tmp_path):
    run = nbval(published, tmp_path)
    assert run.passed, run.text
    assert "7 passed" in run.text
    assert run.tried == 1


def test_other_text_other_picture_and_swallowed_error_are_seen(copy, tmp_path):
    """Each in a cell of its own, so that one run shows that all three are."""
    notebook = nbformat.read(copy, as_version=4)
    (parameters, picture, _, number, *_) = (cell for cell in notebook.cells if cell.cell_type == "code")
    parameters.source += "\nfrom derainlib.lab.widgets import Demo\nDemo._follow = lambda *given: None"
    picture.outputs[0].data |= figures.lines({"rain": ([0, 1], [0, 1])}, "time (s)", "rain (mm)")._repr_mimebundle_()
    number.outputs[0].text = "5\n"
    nbformat.write(notebook, copy)
    run = nbval(copy, tmp_path)
    assert "3 failed, 4 passed" in run.text
    assert "Cell pictures differ: picture 1" in run.text
    assert "this demonstration swallows what its callback raises" in run.text
    assert "Cell outputs differ" in run.text
    assert run.tried == 0


def test_demo_that_breaks_when_moved_fails_the_run(copy, cells, tmp_path):
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[3].source = cells["broken"]
    nbformat.write(notebook, copy)
    assert "1 failed, 6 passed" in nbval(copy, tmp_path).text
    with pytest.raises(papermill.PapermillExecutionError, match="missing"):
        papermill.execute_notebook(copy, tmp_path / "out.ipynb", kernel_name="python3", progress_bar=False)
