"""The workshop of a study: its trainings, one by one or several at a time, and what they left.

Each training has a folder of its own that is named by everything that decides its result. An interrupted one goes on
where it was, and a finished one is never repeated, by whichever study it was begun.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from derainlib import evaluation, files
from derainlib.data.fingerprint import fingerprint
from derainlib.data.synthetic import Sources
from derainlib.errors import DerainError, WeightsError
from derainlib.evaluation import Scores
from derainlib.layers import Pair
from derainlib.models import weights
from derainlib.recipe import Recipe
from derainlib.training import train
from derainlib.training.folder import require_same_data

FINAL, LAST_STAGE = "final", "last stage"
"""What scores.json calls a network, and the same without its refinement."""


@dataclass(frozen=True)
class Trial:
    """One training of a study."""

    recipe: Recipe
    """What to train, with its seed."""
    gather: Callable[[], Sources]
    """Finds the data, in whatever process trains."""
    folder: Path
    """Where the training goes."""

    @property
    def last(self) -> Path:
        """The final weights."""
        return self.folder / "last.safetensors"

    @property
    def is_trained(self) -> bool:
        """Whether the training is finished."""
        try:
            return weights.card(self.last).get("steps") == self.recipe.steps
        except WeightsError:
            return False

    def rehearse(self):
        """One step on one sample in a folder that is thrown away: a row that cannot start says so before any work."""
        with tempfile.TemporaryDirectory() as folder:
            train(self.recipe.replace(batch=self.recipe.accumulate), self.gather(), folder, stop_after=1)


def identity(recipe: Recipe, note: str) -> str:
    """A folder's name from all that decides a result: fields that are not the default's, and the data.

    What does not count when recipes are compared, name and source, is no part of it, so that equal rows of two tables
    are one training.
    """
    values = dataclasses.asdict(recipe)
    fields = [spec for spec in dataclasses.fields(Recipe) if spec.compare]
    told = {spec.name: values[spec.name] for spec in fields if values[spec.name] != spec.default}
    text = json.dumps({"recipe": told, "data": note}, sort_keys=True)
    return f"{recipe.model}-seed-{recipe.seed}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


@dataclass(frozen=True)
class Outcome:
    """What a finished training left: its card, and scores by (set, FINAL or LAST_STAGE)."""

    card: dict
    scores: dict[tuple[str, str], Scores]

    @classmethod
    def read(cls, trial: Trial, sets: Sequence[str]) -> "Outcome":
        """The outcome of a training that was scored on these sets."""
        found = evaluation.from_json((trial.folder / "scores.json").read_text(encoding="utf-8"))
        return cls(weights.card(trial.last), {(s.dataset, s.model): s for s in found if s.dataset in sets})


def work_through(
    trials: Sequence[Trial], sets: Sequence[str], sets_dir: str, jobs: int, progress: bool
) -> dict[Path, str]:
    """Trains and scores what is not trained and scored.

    Args:
        trials: the trainings, each once.
        sets, sets_dir: the sets to score on, see `derainlib.evaluation.dataset`.
        jobs: processes that train at the same time, each with one thread.
        progress: whether to show a bar, and a line for each training.

    Returns:
        The errors, one line each, by the training's folder.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from tqdm import tqdm

    failures = {trial.folder: "its process was ended from outside; was there enough memory?" for trial in trials}
    with tqdm(total=len(trials), unit="training", disable=None if progress else True) as bar:  # None: no bar in a log
        finished = Parallel(jobs, return_as="generator_unordered")(
            delayed(_one)(trial, tuple(sets), sets_dir, Owner.here()) for trial in trials
        )
        with contextlib.suppress(TerminatedWorkerError):
            for count, (trial, error) in enumerate(finished, 1):
                del failures[trial.folder]
                if error:
                    failures[trial.folder] = error
                bar.update()
                if progress:
                    what = f"{trial.recipe.name}, seed {trial.recipe.seed}: {error or 'trained and scored'}"
                    bar.write(f"{count}/{len(trials)} {what}", file=sys.stderr)
    return failures


class Owner(NamedTuple):
    """The process that runs the study; the processes that train for it outlive it by a step at most."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> "Owner":
        return cls(socket.gethostname(), os.getpid())

    def require(self, *_):
        """An observer that ends a training whose study was killed. Those on other machines cannot see it."""
        if os.name != "posix" or self.host != socket.gethostname():
            return
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            raise DerainError("the study was ended") from None


def _one(trial: Trial, sets: Sequence[str], sets_dir: str, owner: Owner) -> tuple[Trial, str]:
    """Trains and scores one training; the error in one line, or "" if there was none."""
    try:
        owner.require()
        trial.folder.mkdir(parents=True, exist_ok=True)
        with one_thread(), files.locked(trial.folder / "lock", wait=True):  # perhaps another study works in it
            if trial.is_trained:
                require_same_data(trial.folder, fingerprint(trial.gather()))
            else:
                train(trial.recipe, trial.gather(), trial.folder, observers=[owner.require])
            _score(trial, sets, sets_dir)
    except Exception as error:  # of whatever kind: the other rows must go on
        text = " ".join(str(error).split())
        return trial, text if isinstance(error, DerainError) else f"{type(error).__name__}: {text}"
    return trial, ""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch with one thread, as long as it lasts: the same sums in the same order on any machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _score(trial: Trial, sets: Sequence[str], sets_dir: str):
    """Adds the scores of sets that are not scored yet to scores.json, of a refined network without refinement too."""
    path = trial.folder / "scores.json"
    found = evaluation.from_json(path.read_text(encoding="utf-8")) if path.exists() else []
    missing = [name for name in sets if name not in {scores.dataset for scores in found}]
    if not missing:
        return
    network = weights.load(trial.last)
    forms = {FINAL: network}
    if getattr(network, "refinement", None) is not None:
        forms[LAST_STAGE] = weights.load(trial.last)
        forms[LAST_STAGE].refinement = None
    found += evaluation.compare(forms, {name: dataset(name, sets_dir) for name in missing})
    files.write_atomically(path, evaluation.to_json(found).encode())


@functools.lru_cache(maxsize=8)
def dataset(name: str, folder: str) -> Sequence[Pair]:
    """A set to score on, kept for the next training."""
    return evaluation.dataset(name, folder or None)
