"""Trains tiny recipes, and kills itself with SIGKILL where it is told to.

`python dying_run.py PHOTOGRAPHS WHEN RUN...` trains the recipe.json of each run's folder. WHEN is "step" (in the third
step, between backward and the optimiser) or "save" (in the second checkpoint, when its files are half on the disk);
"descent" lets it live, and takes plain descent in Adam's place.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from derainlib import files, training
from derainlib.data.synthetic import gather
from derainlib.recipes import Recipe


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_call(number: int, owner, name: str):
    """Replaces a function by one that kills the process when it is called the n-th time."""
    original, calls = getattr(owner, name), iter(range(1, 1_000_000))

    def counted(*args, **kwargs):
        if next(calls) == number:
            die()
        return original(*args, **kwargs)

    setattr(owner, name, counted)


def die_in_second_checkpoint():
    """Dies before the rename, with the checkpoint's first file cut off."""
    original = files.sync

    def sync(path):
        if "/.step-00000004" in str(path):
            Path(path).write_bytes(Path(path).read_bytes()[:100])
            die()
        original(path)

    files.sync = sync


def train(photographs: str, when: str, *runs: str):
    if when == "step":
        die_at_call(3, torch.optim.Adam, "step")
    elif when == "save":
        die_in_second_checkpoint()
    elif when == "descent":
        torch.optim.Adam = torch.optim.SGD
    for run in map(Path, runs):
        training.train(Recipe.from_json(run / "recipe.json"), gather(photographs), run)


def with_workers(*words: str):
    """The same, with two processes that make samples."""
    original = training.train
    training.train = lambda *args: original(*args, workers=2)
    train(*words)


if __name__ == "__main__":
    train(*sys.argv[1:])
