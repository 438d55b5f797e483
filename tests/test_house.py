"""The house stays small, and nothing in it stands twice. `python tests/house.py --at REV` prints the numbers."""

import pytest

from derainlib.lab import gate
from tests.house import ROOT, Source, counted, source, sources, twice

CORE_LINES = 5500
"""Code lines of models, losses, rain, papers, recipe, training, metrics, inference and layers together."""
FILE_LINES = 500
"""Lines of a file of the package, all of them counted."""
NOTEBOOK_BYTES = 20_000_000
"""Of all notebooks together; how thick one may be is the gate's to say."""


@pytest.fixture(scope="module")
def house():
    return sources()


def test_the_core_is_small(house):
    assert 2000 < counted(house)["core"] <= CORE_LINES


def test_files_are_short():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in (ROOT / "derainlib").rglob("*.py")
    }
    assert [path for path, length in lengths.items() if length > FILE_LINES] == []


def test_notebooks_are_thin(house):
    notebooks = {path: one for path, one in house.items() if path.endswith(".ipynb")}
    assert len(notebooks) >= 13
    assert not [path for path, one in notebooks.items() if len(one.lines()) > gate.LINES or one.cells > gate.CELLS]
    assert sum((ROOT / path).stat().st_size for path in notebooks) <= NOTEBOOK_BYTES


def test_nothing_stands_twice(house):
    assert [str(one) for one in twice(house)] == []


# --- what counts ----------------------------------------------------------------------------------------------------

SAMPLE = '''"""What it is."""

import os  # comments count no more than blank lines


def place(name):
    """Where it lies."""
    # There.
    text = """two
lines"""
    return os.path.join(
        name,
        text,
    )


LIMIT = 1
"""What LIMIT is."""
'''


def test_code_lines_are_those_of_statements():
    assert list(Source(SAMPLE).lines()) == [3, 6, 9, 10, 11, 12, 13, 14, 17]
    assert 3 not in Source(SAMPLE).lines(imports=False)
    assert Source(SAMPLE).lines()[12] == "name,"


def test_code_cells_of_a_notebook_count():
    cells = [
        '{"cell_type": "code", "source": ["%matplotlib inline\\n", "a = 1"]}',
        '{"cell_type": "markdown", "source": ["b = 2"]}',
        '{"cell_type": "code", "source": ["!ls\\n", "\\n", "c = 3"]}',
    ]
    found = source("some.ipynb", f'{{"cells": [{", ".join(cells)}]}}'.encode())
    assert (found.cells, list(found.lines().values())) == (2, ["a = 1", "c = 3"])


def test_a_block_that_stands_twice_is_found_whole():
    block = [f"value_{k} = {k}" for k in range(12)]
    indented = "\n".join(
        ["import os", "def f():", *(f"    {line}\n\n    # a remark" for line in block), "    return 1"]
    )
    found = {"a.py": Source("\n".join(["first = 0", *block])), "b.py": Source(indented)}
    assert [tuple(one) for one in twice(found)] == [(12, ("a.py", 2), ("b.py", 3))]
    assert twice(found, length=13) == []
    assert twice({"a.py": Source("\n".join(block[:9] * 2))}) == []
    (own,) = twice({"a.py": Source("\n".join([*block, "between = 1", *block]))})
    assert own == (12, ("a.py", 1), ("a.py", 14))
    assert twice({"a.py": Source("\n".join(["again = 1"] * 15))}) == []
