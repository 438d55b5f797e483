"""Notebooks run and give what they store; a broken callback stops them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from derainlib.lab import gate

NBVAL = (sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=600")
APART = ("--import-mode=importlib", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull)

BREAK = '''
from derainlib.lab import widgets

class BrokenCallback(Exception):
    """What a callback raises when this test broke it."""

def broken(self, function, controls, *options, _init=widgets.Demo.__init__, **more):
    first = {name: control.value for name, control in controls.items()}
    def fails_when_moved(**values):
        if values != first:
            raise BrokenCallback
        return function(**values)
    _init(self, fails_when_moved, controls, *options, **more)

widgets.Demo.__init__ = broken
'''


def is_parameterised(path: Path) -> bool:
    return any("parameters" in cell.metadata.get("tags", ()) for cell in nbformat.read(path, as_version=4).cells)


def nbval(path: Path) -> subprocess.CompletedProcess:
    """Runs a notebook and compares what it gives with what it stores."""
    return subprocess.run([*NBVAL, *APART, str(path)], capture_output=True, text=True, check=False)


def demos(notebook: nbformat.NotebookNode) -> list[int]:
    """Numbers of the cells that show a live demonstration."""
    texts = ((number, output.get("data", {}).get("text/plain", "")) for number, output in gate.outputs(notebook))
    return [number for number, text in texts if text.startswith("Demo(")]


def errors_when_broken(path: Path) -> dict[int, list[str]]:
    """The exceptions of each cell with a demonstration, by its number, when every callback raises."""
    notebook = nbformat.read(path, as_version=4)
    numbers = demos(notebook)
    notebook.cells = notebook.cells[: numbers[-1] + 1]
    notebook.cells.insert(0, new_code_cell(BREAK))
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", allow_errors=True, resources=resources).execute()
    outputs = {number: notebook.cells[number + 1].outputs for number in numbers}
    return {number: [o.ename for o in some if o.output_type == "error"] for number, some in outputs.items()}


def test_notebook_gives_what_it_stores(notebook):
    if is_parameterised(notebook):
        pytest.skip("run by papermill, at a tiny scale, in a test of its own")
    run = nbval(notebook)
    assert run.returncode == 0, run.stdout[-4000:]
    cells = sum(cell.cell_type == "code" for cell in nbformat.read(notebook, as_version=4).cells)
    assert f"{cells} passed" in run.stdout


def test_broken_callback_stops_each_demo(notebook):
    if not demos(nbformat.read(notebook, as_version=4)):
        pytest.skip("shows no live demonstration")
    errors = errors_when_broken(notebook)
    assert errors == {number: ["BrokenCallback"] for number in errors}


def test_published_notebook_runs_as_stored(published):
    run = nbval(published)
    assert run.returncode == 0, run.stdout
    assert "6 passed" in run.stdout


def test_other_output_is_seen(copy):
    copy.write_text(copy.read_text().replace('"4\\n"', '"5\\n"'))
    run = nbval(copy)
    assert run.returncode == 1
    assert re.search("1 failed, 5 passed", run.stdout)


def test_broken_callbacks_are_seen(published):
    assert errors_when_broken(published) == {2: ["BrokenCallback"]}


def test_demo_that_breaks_when_moved_fails_the_run(copy, build, cells, tmp_path):
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[2].source = cells["broken"]
    nbformat.write(notebook, copy)
    assert nbval(copy).returncode == 1
    with pytest.raises(papermill.PapermillExecutionError, match="missing"):
        papermill.execute_notebook(copy, tmp_path / "out.ipynb", kernel_name="python3", progress_bar=False)
