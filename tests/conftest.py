"""Fixtures that every part of the tests shares."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def derain_data() -> Path:
    """The folder of research data, named by the environment variable DERAIN_DATA; tests skip without it."""
    folder = os.environ.get("DERAIN_DATA")
    if not folder:
        pytest.skip("set DERAIN_DATA to the folder that holds bsds500/, rain800/, rain100l/ … to run this test")
    path = Path(folder)
    if not path.is_dir():
        pytest.fail(f"DERAIN_DATA={folder} is not a folder")
    return path


@pytest.fixture
def generator() -> torch.Generator:
    """A local, seeded source of random numbers."""
    return torch.Generator().manual_seed(0)
