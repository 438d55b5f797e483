"""What the campaign works on: drawn photographs, tiny weights, pairs, and a training that was stopped half-way."""

import functools
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from derainlib import cli, models
from derainlib.models import weights
from tests.hostile_files import FLOATS, PHOTO, encoded, tiff

TRAIN = ("train", "srn", "run", "--scale", "tiny", "--clean-dir", "photographs", "--workers")
"""A training of 6 steps, with checkpoints and validations; the number of workers follows."""
SET = (
    "--set", 'options={"stages": 1, "width": 8}', "steps=6", "patch=24", "batch=4", "checkpoint_every=2",
    "validate_every=3", "validation=1",
)  # fmt: skip


def training(workers: int = 0, *more: str) -> list[str]:
    """The words of `derain` for the training."""
    return [*TRAIN, str(workers), *SET, *more]


class Stock:
    """A folder of inputs that are in order, made once; cases copy what they spoil.

        tiny.safetensors, tiny.json    an SRN of 6 channels, T = 1
        rainy.png                      noise of 64 x 48 pixels
        photographs/                   twelve smooth pictures of 48 x 40
        pairs/rain, pairs/clean        three pairs
        run/                           the training, stopped after 4 of 6 steps

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        torch.manual_seed(0)
        weights.save(models.create("srn", stages=1, width=6), folder / "tiny.safetensors", {})
        (folder / "rainy.png").write_bytes(encoded("PNG"))
        for half in ("rain", "clean"):
            (folder / "pairs" / half).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(np.roll(PHOTO, number)).save(folder / "pairs" / half / f"{number}.png")
        photographs(folder / "photographs")

    def use(self):
        """Everything once, so that everything is loaded; for a child."""
        cli.main(["image", "rainy.png", "used.png", "--model", "tiny.safetensors"])
        cli.main(["score", "tiny.safetensors", "--sets", "pairs"])
        cli.main(["convert", "rainy.png", "used.safetensors"])
        Path("floats.tif").write_bytes(tiff(FLOATS, photometric="rgb"))
        cli.main(["image", "floats.tif", "used.png", "--model", "tiny.safetensors"])
        cli.main([word.replace("run", "used") for word in training()])

    @functools.cached_property
    def run(self) -> Path:
        """The stopped training."""
        from tests.campaign.child import forked

        def begin() -> int:
            from derainlib.training import job

            job.train = functools.partial(job.train, stop_after=4)
            return cli.main(training())

        outcome = forked(begin, folder=self.folder)
        assert outcome.status == 0, outcome
        (self.folder / "run" / "last.safetensors").unlink()  # as if it had been killed rather than stopped
        (self.folder / "run" / "last.json").unlink()
        return self.folder / "run"

    def give(self, folder: Path, *names: str):
        """Copies files and folders into a case's folder."""
        for name in names:
            source = self.run if name == "run" else self.folder / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)


def photographs(folder: Path, count: int = 12) -> Path:
    """Smooth pictures of 48 x 40 pixels."""
    folder.mkdir()
    rows, columns = np.mgrid[:40, :48] / 48
    for number in range(count):
        image = np.stack([np.sin(number + k + 3 * rows + 2 * columns * k) for k in range(3)], -1)
        Image.fromarray(np.uint8(127 + 100 * image)).save(folder / f"{number}.png")
    return folder
