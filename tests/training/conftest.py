"""What training is tested on, and a process that kills itself."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import recipes, training
from derainlib.data import export, scenes
from derainlib.data.synthetic import gather
from tests.training.runs import DYING_RUN, prepared, tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Five smooth drawn photographs of 40x48 pixels."""
    path = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:40, :48] / 48
    for i in range(5):
        image = np.stack([np.sin(i + k + 3 * rows + 2 * columns * k) for k in range(3)], -1)
        Image.fromarray(np.uint8(127 + 100 * image)).save(path / f"{i}.png")
    return path


@pytest.fixture(scope="session")
def streets(tmp_path_factory) -> Path:
    """Two drawn streets to train on and one to judge by, in CamVid's layout."""
    path, drawn = tmp_path_factory.mktemp("streets"), scenes.drawn(range(3), (64, 80))
    for split, part in (("train", drawn[:2]), ("val", drawn[2:])):
        export.write(part, path / split, "none")
    return path


@pytest.fixture(scope="session")
def uninterrupted(folder, tmp_path_factory) -> training.Result:
    return training.train(tiny(), gather(folder), tmp_path_factory.mktemp("run"))


@pytest.fixture
def descent(monkeypatch):
    """Plain descent in Adam's place, w ← w − lr · g: the weights of two trainings are then as alike as their gradients.

    Adam's first steps have the size of lr whatever the gradient's, its rounding included. They also have it whatever
    the gradient is multiplied by, and would hide a sum in the place of a mean.
    """
    monkeypatch.setattr(torch.optim, "Adam", torch.optim.SGD)


@pytest.fixture
def killed(folder) -> Callable[[str, Path, recipes.Recipe], None]:
    """Trains in a process that kills itself at a given moment."""

    def train_until(when: str, run: Path, recipe: recipes.Recipe):
        command = [sys.executable, DYING_RUN, folder, when, prepared(run, recipe)]
        done = subprocess.run(command, capture_output=True, timeout=300)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-3000:]

    return train_until
