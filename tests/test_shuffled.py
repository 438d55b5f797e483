"""The random order of `tests/matrix.py`: every test once, files together, and the same order again by the same seed."""

from itertools import groupby
from types import SimpleNamespace

import pytest

from tests import shuffled

ITEMS = [SimpleNamespace(path=path, name=f"{path}{number}") for path in "abcdef" for number in range(5)]


def ordered(seed: int | None) -> list[str]:
    items = list(ITEMS)
    shuffled.pytest_collection_modifyitems(SimpleNamespace(getoption={"shuffle": seed}.get), items)
    return [item.name for item in items]


def test_as_collected_unless_told():
    assert ordered(None) == [item.name for item in ITEMS]


@pytest.mark.parametrize("seed", range(3))
def test_files_and_their_tests_change_places(seed):
    names = ordered(seed)
    assert sorted(names) == ordered(None)
    files = [file for file, _ in groupby(names, key=lambda name: name[0])]
    assert sorted(files) == list("abcdef")
    assert files != list("abcdef")
    assert any(list(tests) != sorted(tests) for tests in ([n for n in names if n[0] == file] for file in files))
    assert names == ordered(seed) != ordered(seed + 1)
