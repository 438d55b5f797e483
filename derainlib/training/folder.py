"""The folder of a run: whose it is, its checkpoints, its log, and its weights with their cards.

Several processes may share it; the main one writes, the others wait for it.
"""

import json
import platform
import shutil
from pathlib import Path

import torch
from torch import nn

from derainlib import files
from derainlib.errors import RecipeError
from derainlib.models import weights
from derainlib.recipe import Recipe

KEPT_CHECKPOINTS = 2

Record = dict[str, float]
"""A line of metrics.jsonl."""


class Folder:
    """What a training writes, and what it finds there when it goes on.

    Args:
        path: the folder.
        recipe: what is trained in it.
        accelerator: accelerate's, which saves the states.
    """

    def __init__(self, path: Path, recipe: Recipe, accelerator):
        self.path, self.recipe, self.accelerator = path, recipe, accelerator
        self.start_sha256 = weights.header(recipe.start)["sha256"] if recipe.start else ""
        self.history: list[Record] = []

    def claim(self):
        """Makes the folder this recipe's.

        Raises:
            RecipeError: it holds the run of another one, or one from other weights.
        """
        path, started = self.path / "recipe.json", self.path / "start.sha256"
        if path.exists():
            found = Recipe.from_json(path)
            # How a path to the start is written says nothing: the weights' checksum, below, decides.
            if found.replace(start=self.recipe.start if found.start else "") != self.recipe:
                raise RecipeError(
                    f"{self.path} holds a run of another recipe ({found.name}); choose another folder or delete it"
                )
        if started.exists() and started.read_text().strip() != self.start_sha256:
            raise RecipeError(
                f"{self.recipe.start} holds other weights than those that the run in {self.path} started from; "
                "bring them back, or choose another folder"
            )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            for left in (self.path / "checkpoints").glob(".*"):
                shutil.rmtree(left)
            files.write_atomically(path, self.recipe.to_json().encode())
            if self.recipe.start:
                files.write_atomically(started, f"{self.start_sha256}\n".encode())
        self.accelerator.wait_for_everyone()

    def checkpoints(self) -> list[Path]:
        """The whole checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*"))

    def cut_history(self, step: int):
        """Keeps the records up to the checkpoint's step: a killed run may have logged steps after it."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
            self.history = [record for record in map(json.loads, lines) if record["step"] <= step]
        if self.accelerator.is_main_process:
            files.write_atomically(path, "".join(json.dumps(record) + "\n" for record in self.history).encode())
        self.accelerator.wait_for_everyone()

    def log(self, record: Record):
        """Adds a line to metrics.jsonl."""
        self.history.append(record)
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def checkpoint(self, step: int):
        """Writes checkpoints/step-N whole or not at all, then drops the oldest."""
        name = f"step-{step:08d}"
        temporary, final = (self.path / "checkpoints" / prefix for prefix in (f".{name}", name))
        self.accelerator.save_state(str(temporary))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            for path in temporary.iterdir():
                files.sync(path)
            files.sync(temporary)
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
            files.sync(final.parent)
            for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def save(self, name: str, network: nn.Module, card: dict):
        """Writes the weights NAME.safetensors, with what this folder adds to their card.

        Args:
            name: "last" or "best".
            network: whose weights.
            card: data, steps, megapixels, time and scores.
        """
        if self.accelerator.is_main_process:
            begun = {"start_sha256": self.start_sha256} if self.recipe.start else {}
            told = {"recipe": json.loads(self.recipe.to_json()), "hardware": self._hardware()} | begun
            weights.save(network, self.path / f"{name}.safetensors", told | card)

    def _hardware(self) -> str:
        processes = self.accelerator.num_processes
        if self.accelerator.device.type == "cuda":
            return f"{processes} x {torch.cuda.get_device_name()}"
        return f"{processes} x CPU ({platform.machine()}, {torch.get_num_threads()} threads)"
