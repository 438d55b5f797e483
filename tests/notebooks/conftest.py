"""A small notebook of the series, made on the fly, on which the gate and the runners are tried."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from derainlib.lab import publish, series
from tests.notebooks.turns import Turns

TITLE = """# 01 · The rain model

<!-- navigation -->
<!-- /navigation -->

It rains.

**You will be able to**
- wait.

**You need** nothing.

**Paper**: none."""

PARAMETERS = "seed = 3"

PICTURE = """from derainlib.lab import figures
from derainlib.lab.widgets import demo, slider
figures.lines({"rain": ([0, 1], [1, 0])}, "time (s)", "rain (mm)")"""

DEMO = """def draw(shade):
    return figures.show({f"shade {shade}": [[shade / 10] * 20] * 20})

demo(draw, shade=slider(0, 10, 3, step=1))"""

BROKEN_DEMO = DEMO.replace("shade / 10", "shade / 10 if shade == 3 else missing")

ENDING = "## Summary\n\nIt rained.\n\n## Exercises\n\nWait.\n\n## Further reading\n\nThe sky."

CODE = (PICTURE, DEMO, "print(1 + 1)", "print(2 + 2)", "print(seed + 3)", "'wet'")

FOLDER = Path(__file__).parents[2] / "notebooks"


def pytest_generate_tests(metafunc):
    """A test that takes `notebook` runs on each notebook of the series."""
    if "notebook" in metafunc.fixturenames:
        entries = series.existing(FOLDER)
        metafunc.parametrize("notebook", [FOLDER / entry.file for entry in entries], ids=[e.name for e in entries])


@pytest.fixture(scope="session")
def turns() -> Turns:
    """Whose turn it is to be run by papermill."""
    return Turns.of(FOLDER.parent)


@pytest.fixture(scope="session")
def cells() -> dict[str, str]:
    """Code cells for a small notebook, by name."""
    return {"picture": PICTURE, "demo": DEMO, "broken": BROKEN_DEMO}


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """Writes a small notebook, not yet executed, of a parameters cell and the given ones into a folder."""

    def write(folder: Path, code: Sequence[str] = CODE) -> Path:
        parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
        cells = [new_markdown_cell(TITLE), parameters, *map(new_code_cell, code), new_markdown_cell(ENDING)]
        path = folder / "01_rain_model.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write


@pytest.fixture(scope="session")
def published(build, tmp_path_factory) -> Path:
    """The small notebook as `publish` leaves it. Not to be changed."""
    path = build(tmp_path_factory.mktemp("published"))
    assert publish.publish(path) == []
    return path


@pytest.fixture
def copy(published, tmp_path) -> Path:
    """A copy of the published notebook, to be changed."""
    return Path(shutil.copy(published, tmp_path))
