"""The tools through which these tests look."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tool():
    """Gives a module of benchmarks/."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
        yield importlib.import_module
