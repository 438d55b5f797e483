"""The folder of a run: whose it is, its checkpoints, its log, and its weights with their cards.

Several processes may share it; the main one writes, the others wait for it.
"""

import contextlib
import dataclasses
import hashlib
import json
import platform
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from derainlib import files
from derainlib.errors import DataError, RecipeError, WeightsError, one_line
from derainlib.models import weights
from derainlib.recipe import Recipe
from derainlib.training.state import plain_tensors_only

KEPT_CHECKPOINTS = 2

_CHECKPOINT = r"step-\d{8}"
_SUMS = "sha256.json"
"""Of a checkpoint: the checksums of its files, which tell a damaged one before anything of it is taken."""

Record = dict[str, float]
"""A line of metrics.jsonl."""


class Folder:
    """What a training writes, and what it finds there when it goes on.

    Args:
        path: the folder.
        recipe: what is trained in it.
        data: what it is trained on, see `derainlib.data.fingerprint`.
        accelerator: accelerate's, which saves the states.
    """

    def __init__(self, path: Path, recipe: Recipe, data: dict, accelerator):
        self.path, self.recipe, self.data, self.accelerator = path, recipe, data, accelerator
        self.start_sha256 = weights.header(recipe.start)["sha256"] if recipe.start else ""
        self.history: list[Record] = []

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps the folder for this training as long as it lasts; of several processes, the main one does.

        Raises:
            RecipeError: another training works in it.
        """
        with contextlib.ExitStack() as held:
            if self.accelerator.is_main_process:
                self.path.mkdir(parents=True, exist_ok=True)
                try:
                    held.enter_context(files.locked(self.path / "run.lock"))
                except BlockingIOError:
                    raise RecipeError(
                        f"another process trains in {self.path}: wait for its end, or choose another folder"
                    ) from None
            yield

    def claim(self):
        """Makes the folder this recipe's, and these data's.

        Raises:
            RecipeError: it holds the run of another recipe, or one from other weights.
            DataError: it holds a run on other data.
        """
        path, started, data = (self.path / name for name in ("recipe.json", "start.sha256", "data.json"))
        if path.exists():
            _require_same_recipe(path, self.recipe)
        require_same_data(self.path, self.data)
        if started.exists() and started.read_text().strip() != self.start_sha256:
            raise RecipeError(
                f"{self.recipe.start} holds other weights than those that the run in {self.path} started from; "
                "bring them back, or choose another folder"
            )
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
            for left in (self.path / "checkpoints").iterdir():
                if re.fullmatch(rf"\.{_CHECKPOINT}", left.name):
                    shutil.rmtree(left)
            told = {path: self.recipe.to_json(), data: json.dumps(self.data, indent=2, ensure_ascii=False) + "\n"}
            told |= {started: f"{self.start_sha256}\n"} if self.recipe.start else {}
            for file, text in told.items():
                if not file.exists():
                    files.write_atomically(file, text.encode())
        self.accelerator.wait_for_everyone()

    def finished(self) -> int:
        """Steps that the final weights in the folder have seen; 0 where there are none."""
        try:
            return weights.card(self.path / "last.safetensors")["steps"]
        except WeightsError:
            return 0

    def require_writable(self):
        """Refuses, before its first line is logged, a run whose checkpoints or weights could not be written.

        Raises:
            RecipeError: the folder, or that of its checkpoints, is closed.
        """
        for place in (self.path, self.path / "checkpoints") if self.accelerator.is_main_process else ():
            try:
                tempfile.TemporaryFile(dir=place).close()
            except OSError as error:
                raise RecipeError(
                    f"nothing can be saved in {place} ({error.strerror}); open it, or choose another folder"
                ) from None

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first; what else people or their systems put beside them is theirs."""
        found = (self.path / "checkpoints").iterdir()
        return sorted(path for path in found if re.fullmatch(_CHECKPOINT, path.name) and path.is_dir())

    def restore(self) -> bool:
        """Goes on from the newest checkpoint that is whole, if there is any; damaged ones are set aside, with a word.

        Nothing in one is executed: those of earlier versions have no checksums, and a run may be somebody else's.

        Raises:
            RecipeError: there are checkpoints, and none can be read.
        """
        damaged = {}
        for path in reversed(self.checkpoints()):
            try:
                _check_sums(path)
                with plain_tensors_only():
                    self.accelerator.load_state(str(path))
            except Exception as error:  # a damaged file may raise anything
                damaged[path] = one_line(error)
                continue
            if self.accelerator.is_main_process:
                for wrong, reason in damaged.items():
                    files.rename(wrong, wrong.with_name(f"{wrong.name}.damaged"))
                    warnings.warn(f"{wrong} is damaged ({reason}): the run goes on from {path.name}", stacklevel=4)
            return True
        if damaged:
            path, reason = next(iter(damaged.items()))
            raise RecipeError(f"no checkpoint can be read ({path}: {reason}); choose another folder")
        return False

    def cut_history(self, step: int):
        """Keeps the records up to the checkpoint's step: a killed run may have logged steps after it."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            lines = path.read_text().splitlines()
            whole = [json.loads(line) for line in lines if line.endswith("}")]
            self.history = [record for record in whole if record["step"] <= step]
        if self.accelerator.is_main_process and (not path.exists() or len(lines) > len(self.history)):
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
            sums = {path.name: _sum(path) for path in temporary.iterdir()}
            (temporary / _SUMS).write_text(json.dumps(sums, indent=2) + "\n")
            for path in temporary.iterdir():
                files.sync(path)
            files.sync(temporary)
            if final.exists():
                shutil.rmtree(final)
            files.rename(temporary, final)
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


# --- whose a folder is ------------------------------------------------------------------------------------------


def require_same_data(path: Path, data: dict):
    """Refuses other data than those of the run in a folder; runs of earlier versions, which do not tell, get a word.

    Args:
        path: the run's folder, which may be new.
        data: the data's `fingerprint`.

    Raises:
        DataError: they are others.
    """
    told = path / "data.json"
    if not told.exists():
        if (path / "metrics.jsonl").exists():
            note = f"{path} does not tell what its run was trained on, as earlier versions did not: see to it yourself"
            warnings.warn(note, stacklevel=3)
        return
    try:
        found = json.loads(told.read_text(encoding="utf-8"))
        same = found["sha256"] == data["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{told} cannot be read: {one_line(error)}; choose another folder") from None
    if not same:
        raise DataError(
            f"{path} holds a run on other data ({_described(found)}) than these ({_described(data)}): names, sizes or "
            "order of files differ; bring them back, or choose another folder"
        )


def _described(data: dict) -> str:
    return f"{data.get('note')}, {data.get('files')} files of {data.get('bytes')} bytes"


def _require_same_recipe(path: Path, asked: Recipe):
    found = Recipe.from_json(path)
    # How a path to the start is written says nothing: the weights' checksum decides.
    found = found.replace(start=asked.start if found.start else "")
    compared = (spec.name for spec in dataclasses.fields(Recipe) if spec.compare)
    pairs = {name: (getattr(found, name), getattr(asked, name)) for name in compared}
    differing = {name: values for name, values in pairs.items() if values[0] != values[1]}
    if not differing:
        return
    words = ", ".join(f"{name} {_short(there)} there, {_short(here)} here" for name, (there, here) in differing.items())
    advice = "choose another folder or delete it"
    if differing.keys() <= {"steps", "minutes"}:
        advice = "end it as it began (a longer training then adds a phase), or choose another folder"
    raise RecipeError(f"{path.parent} holds a run of another recipe ({found.name}: {words}); {advice}")


def _short(value) -> str:
    return text if len(text := repr(value)) <= 40 else f"{text[:37]} …"


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sums(checkpoint: Path):
    """Raises for a checkpoint whose files are not as they were written; those of earlier versions do not tell."""
    told = checkpoint / _SUMS
    if told.exists():
        for name, expected in json.loads(told.read_text()).items():
            if _sum(checkpoint / name) != expected:
                raise ValueError(f"{name} is not as it was written")
