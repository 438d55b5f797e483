"""Studies: a paper's ablation table as data, trained again at one equal budget and scored with intervals.

    order = Order(("dcdnet/table-3", "dcdnet/table-4"), "studies", steps=1500, seeds=(0, 1), without=("perceptual",))
    for report in order.run(jobs=2):
        print(table(report))

Each row is trained once for each seed, in a folder of its own that is named by everything that decides the result. An
interrupted study goes on where it was, a finished training is never repeated, and rows that two studies share are
trained once. A finished training counts whatever version of the code made it: another version wants another folder.
The final weights are scored, not the best ones: no score chooses what it then judges. The folder holds

    runs/NETWORK-seed-S-HASH/   a training (`derainlib.training`), and scores.json with the scores of every image
    STUDY.json                  the report: budget, rows, differences to the reference row and their intervals, and
                                the scores of every image
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from derainlib import evaluation, files, recipes
from derainlib.errors import DerainError, RecipeError, WeightsError
from derainlib.evaluation import Scores
from derainlib.losses import TERMS
from derainlib.models import weights
from derainlib.recipes import Recipe, check_type
from derainlib.training import Job, train


@dataclass(frozen=True)
class Row:
    """A row of a study: a recipe, and how it is changed."""

    label: str
    """What the row is called in tables."""
    recipe: str
    """Name of the recipe, see `derainlib.recipes.list_recipes`."""
    paper: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    """The paper's PSNR in dB and SSIM by test set. Only differences between rows are used: where a paper's text gives
    differences alone, its reference row is 0."""
    changes: dict = field(default_factory=dict)
    """Fields of the recipe that differ; of its options, only those named here."""


@dataclass(frozen=True)
class Study:
    """A table of a paper, as rows to train alike."""

    name: str
    """Name of the study."""
    source: str
    """The paper's table."""
    reference: str
    """Label of the row that all others are compared with."""
    rows: tuple[Row, ...]
    """The rows, in the paper's order."""

    def __post_init__(self):
        labels = [row.label for row in self.rows]
        if len(set(labels)) < len(labels) or self.reference not in labels:
            raise RecipeError(f"study {self.name}: labels must differ and include the reference {self.reference!r}")

    def only(self, labels: Sequence[str]) -> "Study":
        """The same study with these rows and the reference; without labels, all of it.

        Raises:
            RecipeError: a label that no row has.
        """
        unknown = sorted(set(labels) - {row.label for row in self.rows})
        if unknown:
            known = ", ".join(row.label for row in self.rows)
            raise RecipeError(f"{self.name} has no row {', '.join(unknown)}; there are {known}")
        kept = {*labels, self.reference}
        return dataclasses.replace(self, rows=tuple(row for row in self.rows if not labels or row.label in kept))


def _study(name: str, source: str, reference: str, *rows: Row) -> Study:
    return Study(name, source, reference, rows)


def _on_three(*figures: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """QSNet's figures on its three test sets."""
    return dict(zip(("Test-I", "Test-II", "Test-III"), figures, strict=True))


def _on_rain100h(psnr: float) -> dict[str, tuple[float, None]]:
    """DCDNet's text gives gains in PSNR over a row; its gains in SSIM are in per cent, of what it does not say."""
    return {"Rain100H": (psnr, None)}


def _on_rain100(light: tuple[float, float], heavy: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """MENET's figures."""
    return {"Rain100L": light, "Rain100H": heavy}


def _on(name: str, psnr: float, ssim: float) -> dict[str, tuple[float, float]]:
    """PHPNet's figures."""
    return {name: (psnr, ssim)}


_V4 = _on_three((33.15, 0.923), (25.66, 0.830), (33.94, 0.938))
_OURS = _on("Cityscapes", 26.53, 0.8975)
_MSE = _on_rain100((33.5484, 0.9506), (27.5016, 0.8146))
_EDGE = _on_rain100((33.5116, 0.9508), (27.6132, 0.8200))
_GB = _on_rain100((34.1852, 0.9554), (28.1457, 0.8524))
_LB = _on_rain100((34.0846, 0.9548), (28.1572, 0.8534))

_ALL = [
    _study(
        "qsnet/table-4", "QSNet, Table 4: the terms of the loss", "L_C",
        Row("L_C", "qsnet/V1", _on_three((29.94, 0.858), (24.75, 0.716), (31.19, 0.883))),
        Row("+ L_Q", "qsnet/V2", _on_three((31.70, 0.898), (25.21, 0.773), (32.61, 0.913))),
        Row("+ L_D", "qsnet/V3", _on_three((32.03, 0.908), (25.55, 0.791), (32.91, 0.921))),
        Row("+ L_A", "qsnet/V4", _V4),
    ),
    _study(
        "qsnet/table-5", "QSNet, Table 5: sharing of information", "with sharing",
        Row("without sharing", "qsnet/no-sharing", _on_three((31.91, 0.897), (25.53, 0.799), (32.64, 0.907))),
        Row("with sharing", "qsnet", _V4),
    ),
    _study(
        "dcdnet/table-2", "DCDNet, Table 2: larger forms", "ours",
        Row("ours", "dcdnet"), Row("DDN's size", "dcdnet/DDN-size"), Row("RESCAN's size", "dcdnet/RESCAN-size"),
    ),
    _study(
        "dcdnet/table-3", "DCDNet, Table 3: each component", "ours",
        Row("no dilation", "dcdnet/no-dilation"),
        Row("no inner dense", "dcdnet/no-inner-dense"),
        Row("no outer dense", "dcdnet/no-outer-dense"),
        Row("no dense", "dcdnet/no-dense"),
        Row("no refinement", "dcdnet/no-refinement", _on_rain100h(-0.40)),
        Row("ours", "dcdnet", _on_rain100h(0.0)),
    ),
    _study(
        "dcdnet/table-4", "DCDNet, Table 4: coarse to fine", "ours",
        Row("single stage", "dcdnet/single", _on_rain100h(-0.40 - 4.84)),
        Row("no refinement", "dcdnet/no-refinement", _on_rain100h(-0.40)),
        Row("ours", "dcdnet", _on_rain100h(0.0)),
    ),
    _study(
        "dcdnet/figure-10", "DCDNet, Fig. 10: the number of stages", "T = 12",
        *[Row(f"T = {stages}", f"dcdnet/T{stages}") for stages in range(1, 15)],
    ),
    _study(
        "phpnet/table-2", "PHPNet, Table II: the rain to train on", "intensity",
        Row("density", "phpnet/density", _on("Rain800", 20.51, 0.8143)),
        Row("spatial", "phpnet/spatial", _on("Rain800", 19.08, 0.7741)),
        Row("depth", "phpnet/depth", _on("Rain800", 23.15, 0.8211)),
        Row("intensity", "phpnet", _on("Rain800", 23.29, 0.8521)),
    ),
    _study(
        "phpnet/table-3", "PHPNet, Table III: the terms of the loss", "L_acc",
        Row("L_acc", "phpnet/acc", _on("Cityscapes", 25.59, 0.8419)),
        Row("+ L_col", "phpnet/acc-col", _on("Cityscapes", 25.64, 0.8572)),
        Row("+ L_col + L_seg", "phpnet", _OURS),
    ),
    _study(
        "phpnet/table-4", "PHPNet, Table IV: the network, its targets and its rain", "ours",
        Row("standard convolution", "phpnet/standard", _on("Cityscapes", 20.41, 0.7545)),
        Row("parallel only", "phpnet/parallel", _on("Cityscapes", 22.61, 0.7911)),
        Row("hierarchical only", "phpnet/hierarchical", _on("Cityscapes", 24.34, 0.8207)),
        Row("PHP-concatenation", "phpnet/concatenation", _on("Cityscapes", 25.17, 0.8710)),
        Row("PHP → non-local", "phpnet/nonlocal", _on("Cityscapes", 24.91, 0.8431)),
        Row("no contrast-aware pooling", "phpnet/no-contrast", _on("Cityscapes", 25.47, 0.8817)),
        Row("max-pooling", "phpnet/max-pooling", _on("Cityscapes", 25.10, 0.8563)),
        Row("unfiltered target", "phpnet/unfiltered", _on("Cityscapes", 26.23, 0.8906)),
        Row("no X", "phpnet/no-refinement", _on("Cityscapes", 20.19, 0.7126)),
        Row("X^c by QSNet (paper: SPANet)", "phpnet/qsnet", _on("Cityscapes", 25.87, 0.8620)),
        Row("no small streaks", "phpnet/no-small", _on("Cityscapes", 25.82, 0.8841)),
        Row("no medium streaks", "phpnet/no-medium", _on("Cityscapes", 24.71, 0.8701)),
        Row("no large streaks", "phpnet/no-large", _on("Cityscapes", 25.58, 0.8820)),
        Row("ours", "phpnet", _OURS),
    ),
    _study(
        "phpnet/table-5", "PHPNet, Table V: ways to use semantics", "ours",
        Row("shared objects", "phpnet/shared-objects", _on("Cityscapes", 17.74, 0.7211)),
        Row("cascaded objects", "phpnet/cascaded-objects", _on("Cityscapes", 20.69, 0.7007)),
        Row("shared segmentation", "phpnet/shared-segmentation", _on("Cityscapes", 24.32, 0.8336)),
        Row("ours", "phpnet", _OURS),
    ),
    _study(
        "menet/table-1", "MENET, Table I: tasks, their weights, channel attention", "L_p",
        Row("L_p", "menet/MSE", _MSE),
        Row("L_p L_e, fixed", "menet/edge-fixed", _EDGE),
        Row("L_p L_e, GB", "menet/edge-GB", _on_rain100((33.7361, 0.9527), (27.8344, 0.8457))),
        Row("L_p L_e, LB", "menet/edge-LB", _on_rain100((33.6634, 0.9524), (27.9586, 0.8393))),
        Row("L_p L_e L_t, GB", "menet/texture-GB", _on_rain100((33.6836, 0.9526), (27.7668, 0.8472))),
        Row("L_p L_e L_t, LB", "menet/texture-LB", _on_rain100((33.5885, 0.9512), (27.7977, 0.8465))),
        Row("L_p L_e L_t, GB, CA", "menet/GB", _GB),
        Row("L_p L_e L_t, LB, CA", "menet/LB", _LB),
    ),
    _study(
        "menet/table-2", "MENET, Table II: its own rows, shallow and deep", "MENET-LB",
        Row("MENET-GB", "menet/GB", _GB),
        Row("MENET-LB", "menet/LB", _LB),
        Row("MENET-GB-deep", "menet/GB-deep", _on_rain100((34.2239, 0.9559), (28.7399, 0.8610))),
        Row("MENET-LB-deep", "menet/LB-deep", _on_rain100((34.1839, 0.9556), (28.7167, 0.8591))),
    ),
    _study(
        "menet/table-4", "MENET, Table IV: VGG19 in the place of edges", "MSE",
        Row("MSE", "menet/MSE", _MSE),
        Row("MSE + VGG", "menet/VGG", _on_rain100((33.8075, 0.9550), (27.6265, 0.8210))),
        Row("MSE + edge", "menet/edge-fixed", _EDGE),
    ),
]  # fmt: skip
STUDIES = {study.name: study for study in _ALL}
"""The papers' tables by name."""


def get(name: str) -> Study:
    """The study called `name`.

    Raises:
        RecipeError: there is none.
    """
    if name not in STUDIES:
        raise RecipeError(f"no study is called {name!r}; there are {', '.join(STUDIES)}")
    return STUDIES[name]


BUDGET = ("steps", "batch", "patch")
"""Fields of a recipe that must be equal in all rows of a study."""


@dataclass(frozen=True)
class Trial:
    """One training of a study: a recipe with its seed, and where it goes."""

    recipe: Recipe
    """What to train."""
    job: Job
    """The same by names, with the data."""
    folder: Path
    """The training's folder, named by everything that decides its result."""


@dataclass(frozen=True)
class Order:
    """Studies at one equal budget, asked for by names; what is shared by all rows stands here."""

    studies: tuple[str, ...]
    """Names of the studies, see `STUDIES`."""
    out_dir: str
    """Folder of the trainings and reports; what it holds already is used."""
    scale: str = "quick"
    """"full", "quick" or "tiny"."""
    steps: int = 0
    """Optimiser steps of every training; 0 leaves the scale's."""
    seeds: tuple[int, ...] = (0, 1)
    """Each row is trained once for each. A seed decides the first weights, the samples and their rain."""
    changes: dict = field(default_factory=dict)
    """Fields of every row's recipe to change. What makes a row what it is stays: the row's own options and changes."""
    without: tuple[str, ...] = ()
    """Terms that are left out of every row's loss, for example "perceptual" where no VGG weights are at hand."""
    rows: tuple[str, ...] = ()
    """Labels of the rows to train, the reference being one of them anyhow; empty for all."""
    data: dict = field(default_factory=dict)
    """What to train on: `training.Job`'s data_dir, clean_dir … by name."""
    sets: tuple[str, ...] = ("skimage-light", "skimage-heavy")
    """Sets to score on, see `derainlib.evaluation.dataset`."""
    sets_dir: str = ""
    """The folder that holds bsds500/ and rain100l/, for the sets that need it."""

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check_type(spec.name, getattr(self, spec.name), spec.type)
        for name in ("studies", "seeds", "sets"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise RecipeError(f"{name} must be at least one, and all different; got {values}")
        if min(self.seeds) < 0 or self.steps < 0:
            raise RecipeError(f"seeds and steps must not be negative; got {self.seeds} and {self.steps}")
        reserved = [name for name in ("name", "source", "seed", "steps", "minutes") if name in self.changes]
        if reserved:
            raise RecipeError(f"a study sets {', '.join(reserved)} itself, by its rows, seeds and steps")
        unknown = [term for term in self.without if term not in TERMS]
        if unknown:
            raise RecipeError(f"no loss term is called {', '.join(unknown)}; there are {', '.join(TERMS)}")

    def chosen(self) -> list[Study]:
        """The studies, with the rows asked for."""
        return [get(name).only(self.rows) for name in self.studies]

    def trial(self, row: Row, seed: int) -> Trial:
        """The training of a row.

        Raises:
            DerainError: a recipe or data that do not fit.
        """
        changes = self._changes(row, seed)
        job = Job.of(
            self.data | {"recipe": row.recipe, "out_dir": self.out_dir, "scale": self.scale, "changes": changes}
        )
        recipe, sources = job.plan()
        return Trial(recipe, job, Path(self.out_dir) / "runs" / _identity(recipe, sources.note))

    def _changes(self, row: Row, seed: int) -> dict:
        """What becomes of the row's recipe at the scale: first what all rows share, then what is the row's own."""
        scaled = recipes.get(row.recipe, self.scale)
        own = {key: value for key, value in scaled.options.items() if key in recipes.RECIPES[row.recipe].options}
        shared = self.changes | ({"steps": self.steps} if self.steps else {})
        check_type("options", shared.get("options", {}), dict)
        options = scaled.options | shared.get("options", {}) | own | row.changes.get("options", {})
        changed = scaled.replace(**shared | row.changes | {"options": options, "seed": seed})
        losses = tuple(loss for loss in changed.losses if loss.term not in self.without)
        return shared | row.changes | {"options": options, "seed": seed, "losses": losses}

    def run(self, jobs: int = 1, progress: bool = False) -> list[dict]:
        """Trains what is not trained, scores what is not scored, and writes a report for each study.

        Everything is checked first, down to a training step of every row on one sample. Then an error in one training
        leaves the others whole; the reports say which failed.

        Args:
            jobs: processes that train at the same time, each with one thread.
            progress: whether to show a bar, and a line for each training.

        Returns:
            The reports, see `report`, in the order of `studies`.

        Raises:
            DerainError: something in the order does not fit; nothing was trained.
        """
        if jobs < 1:
            raise DerainError(f"jobs is {jobs}; at least one process must train")
        trials = self.check()
        _make(Path(self.out_dir) / "runs")
        once = {trial.folder: trial for trial in trials.values()}
        failures = _work_through(list(once.values()), self.sets, self.sets_dir, jobs, progress)
        return [self._report(study, trials, failures) for study in self.chosen()]

    def check(self) -> dict[tuple[str, str, int], Trial]:
        """All trainings by (study, label, seed), each tried for one step on one sample.

        Raises:
            DerainError: what does not fit.
        """
        studies = self.chosen()
        trials = {
            (study.name, row.label, seed): self.trial(row, seed)
            for seed in self.seeds
            for study in studies
            for row in study.rows
        }
        for study in studies:
            self._compare_rows(study, [trials[study.name, row.label, self.seeds[0]] for row in study.rows])
        used = {loss.term for study in studies for row in study.rows for loss in recipes.RECIPES[row.recipe].losses}
        unused = [term for term in self.without if term not in used]
        if unused:
            raise RecipeError(f"no row has a term {', '.join(unused)} to leave out")
        for name in self.sets:
            _dataset(name, self.sets_dir)
        once = {trial.folder: trial for (_, _, seed), trial in trials.items() if seed == self.seeds[0]}
        for trial in once.values():
            if not _is_trained(trial):
                _rehearse(trial)
        return trials

    def _compare_rows(self, study: Study, trials: Sequence[Trial]):
        """Refuses rows of different budgets, and rows that are the same training."""
        for name in BUDGET:
            found = {getattr(trial.recipe, name) for trial in trials}
            if len(found) > 1:
                raise RecipeError(f"{study.name}: {name} is {sorted(found)} in its rows; set one for all")
        seen = {}
        for row, trial in zip(study.rows, trials, strict=True):
            if trial.folder in seen:
                raise RecipeError(
                    f"{study.name}: the rows {seen[trial.folder]!r} and {row.label!r} would be the same training; "
                    "a shared change undoes their difference"
                )
            seen[trial.folder] = row.label

    def _report(self, study: Study, trials: Mapping, failures: Mapping[Path, str]) -> dict:
        """The report of a study, written too."""
        own = {(label, seed): trial for (name, label, seed), trial in trials.items() if name == study.name}
        failed = [
            {"row": label, "seed": seed, "error": failures[trial.folder]}
            for (label, seed), trial in own.items()
            if trial.folder in failures
        ]
        done = {key: _Outcome.read(trial, self.sets) for key, trial in own.items() if trial.folder not in failures}
        facts = {"budget": self._budget(own), "torch": torch.__version__, "failed": failed}
        found = report(study, done) | facts
        path = Path(self.out_dir) / f"{study.name.replace('/', '-')}.json"
        files.write_atomically(path, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
        return found

    def _budget(self, trials: Mapping) -> dict:
        """What all rows share; fields in which rows differ are left out."""
        budget = {"scale": self.scale, "seeds": list(self.seeds)}
        for name in (*BUDGET, "rain", "paired", "lr", "schedule", "clip", "precision"):
            first, *others = (getattr(trial.recipe, name) for trial in trials.values())
            if all(other == first for other in others):
                budget[name] = first
        return budget | {"changes": _plain(self.changes), "without": list(self.without)}


# --- training and scoring ------------------------------------------------------------------------------------------

FINAL, LAST_STAGE = "final", "last stage"
"""What scores.json calls a network, and the same without its refinement."""


@dataclass(frozen=True)
class _Outcome:
    """What a finished training left: its card, and scores by (set, FINAL or LAST_STAGE)."""

    card: dict
    scores: dict[tuple[str, str], Scores]

    @classmethod
    def read(cls, trial: Trial, sets: Sequence[str]) -> "_Outcome":
        found = evaluation.from_json((trial.folder / "scores.json").read_text())
        return cls(weights.card(_weights(trial)), {(s.dataset, s.model): s for s in found if s.dataset in sets})


def _weights(trial: Trial) -> Path:
    return trial.folder / "last.safetensors"


def _identity(recipe: Recipe, note: str) -> str:
    """A folder's name from all that decides a result: fields that are not the default's, and the data.

    Neither the recipe's name nor its source are part of it, so that equal rows of two tables are one training.
    """
    defaults = {spec.name: spec.default for spec in dataclasses.fields(Recipe)}
    values = {name: value for name, value in dataclasses.asdict(recipe).items() if name not in ("name", "source")}
    told = {name: value for name, value in values.items() if value != defaults[name]}
    text = json.dumps({"recipe": told, "data": note}, sort_keys=True)
    return f"{recipe.model}-seed-{recipe.seed}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _rehearse(trial: Trial):
    """One step on one sample in a folder that is thrown away: a row that cannot start says so before any work."""
    recipe, sources = trial.job.plan()
    with tempfile.TemporaryDirectory() as folder:
        train(recipe.replace(batch=recipe.accumulate), sources, folder, stop_after=1)


def _make(folder: Path):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DerainError(f"{folder} cannot be made: {error.strerror}; choose another folder") from None


def _is_trained(trial: Trial) -> bool:
    try:
        return weights.card(_weights(trial)).get("steps") == trial.recipe.steps
    except WeightsError:
        return False


def _work_through(
    trials: Sequence[Trial], sets: Sequence[str], sets_dir: str, jobs: int, progress: bool
) -> dict[Path, str]:
    """Trains and scores in `jobs` processes; the errors by folder."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from tqdm import tqdm

    failures = {trial.folder: "its process was ended from outside; was there enough memory?" for trial in trials}
    with tqdm(total=len(trials), unit="training", disable=None if progress else True) as bar:  # None: no bar in a log
        finished = Parallel(jobs, return_as="generator_unordered")(
            delayed(_one)(trial, tuple(sets), sets_dir, _Owner.here()) for trial in trials
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


class _Owner(NamedTuple):
    """The process that runs the study; the processes that train for it outlive it by a step at most."""

    host: str
    pid: int

    @classmethod
    def here(cls) -> "_Owner":
        return cls(socket.gethostname(), os.getpid())

    def require(self, *_):
        """An observer that ends a training whose study was killed. Those on other machines cannot see it."""
        if os.name != "posix" or self.host != socket.gethostname():
            return
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            raise DerainError("the study was ended") from None


def _one(trial: Trial, sets: Sequence[str], sets_dir: str, owner: _Owner) -> tuple[Trial, str]:
    """Trains and scores one training; the error in one line, or "" if there was none."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        owner.require()
        trial.folder.mkdir(parents=True, exist_ok=True)
        with _alone(trial.folder):
            if not _is_trained(trial):
                _, sources = trial.job.plan()
                train(_as_begun(trial), sources, trial.folder, observers=[owner.require])
            _score(trial, sets, sets_dir)
    except Exception as error:  # of whatever kind: the other rows must go on
        text = " ".join(str(error).split())
        return trial, text if isinstance(error, DerainError) else f"{type(error).__name__}: {text}"
    finally:
        torch.set_num_threads(threads)
    return trial, ""


def _as_begun(trial: Trial) -> Recipe:
    """The recipe under the name that the training was begun with, perhaps by another study."""
    path = trial.folder / "recipe.json"
    if not path.exists():
        return trial.recipe
    begun = Recipe.from_json(path)
    return trial.recipe.replace(name=begun.name, source=begun.source)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits while another process, perhaps of another study, works in the folder."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _score(trial: Trial, sets: Sequence[str], sets_dir: str):
    """Adds the scores of sets that are not scored yet to scores.json, of a refined network without refinement too."""
    path = trial.folder / "scores.json"
    found = evaluation.from_json(path.read_text()) if path.exists() else []
    missing = [name for name in sets if name not in {scores.dataset for scores in found}]
    if not missing:
        return
    network = weights.load(_weights(trial))
    forms = {FINAL: network}
    if getattr(network, "refinement", None) is not None:
        forms[LAST_STAGE] = weights.load(_weights(trial))
        forms[LAST_STAGE].refinement = None
    found += evaluation.compare(forms, {name: _dataset(name, sets_dir) for name in missing})
    files.write_atomically(path, evaluation.to_json(found).encode())


@functools.lru_cache(maxsize=8)
def _dataset(name: str, folder: str):
    return evaluation.dataset(name, folder or None)


# --- reports -------------------------------------------------------------------------------------------------------


def report(study: Study, outcomes: Mapping[tuple[str, int], _Outcome]) -> dict:
    """A study's results as plain data.

    Args:
        study: the study.
        outcomes: by (label, seed); missing ones are missing in the report.

    Returns:
        Of each row and set every score's mean over seeds and images (and by seed), its difference to the reference row
        over the seeds that both have, with the 95 % interval of `evaluation.interval` over images and seeds (pairs of
        the same seed and image), and where the network has a refinement, the refined image's gain over the last stage.
        "by_image" is each image's score, the mean over seeds, in the set's order and with a table's digits; reports of
        earlier versions lack it.
    """
    cards = [outcome.card for outcome in outcomes.values()]
    return {
        "study": study.name,
        "source": study.source,
        "reference": study.reference,
        "data": sorted({card["data"] for card in cards}),
        "hardware": sorted({card["hardware"] for card in cards}),
        "seconds": sum(card["wall_seconds"] for card in cards),
        "rows": [_row(study, row, outcomes) for row in study.rows],
    }


def _row(study: Study, row: Row, outcomes: Mapping[tuple[str, int], _Outcome]) -> dict:
    """A row of the report."""
    own = {seed: outcome for (label, seed), outcome in outcomes.items() if label == row.label}
    reference = {seed: outcome for (label, seed), outcome in outcomes.items() if label == study.reference}
    cards = [outcome.card for outcome in own.values()]
    sets = dict.fromkeys(name for outcome in own.values() for name, _ in outcome.scores)
    return {
        "row": row.label,
        "recipe": row.recipe,
        "paper_difference": _paper_difference(study, row),
        "parameters": cards[0]["parameters"] if cards else None,
        "seeds": list(own),
        "seconds": [card["wall_seconds"] for card in cards],
        "sets": {name: _on_set(name, own, reference, row.label == study.reference) for name in sets},
    }


def _on_set(name: str, own: Mapping[int, _Outcome], reference: Mapping[int, _Outcome], is_reference: bool) -> dict:
    """A row's scores on one set."""
    ours = {seed: outcome.scores[name, FINAL] for seed, outcome in own.items()}
    theirs = {seed: outcome.scores[name, FINAL] for seed, outcome in reference.items() if seed in own}
    unrefined = {s: o.scores[name, LAST_STAGE] for s, o in own.items() if (name, LAST_STAGE) in o.scores}
    first = next(iter(ours.values()))
    found = {"images": len(first.records)}
    for measure in first.names:
        values = _values(ours, measure)
        found[measure] = {
            "mean": _short(values.mean()),
            "by_seed": [_short(mean) for mean in values.mean(axis=1)],
            "by_image": [float(evaluation.number(measure, mean)) for mean in values.mean(axis=0)],
            "rainy": _short(first.summary(measure).rainy),
        }
        if theirs and not is_reference:
            shared = {seed: ours[seed] for seed in theirs}
            found[measure]["difference"] = _difference(_values(shared, measure) - _values(theirs, measure))
        if unrefined:
            found[measure]["refinement"] = _difference(values - _values(unrefined, measure))
    return found


def _values(scores: Mapping[int, Scores], measure: str) -> np.ndarray:
    """(seeds, images)."""
    return np.array([[record.estimate[measure] for record in one.records] for one in scores.values()])


def _difference(values: np.ndarray) -> dict:
    low, high = evaluation.interval(values)
    by_seed = [_short(mean) for mean in values.mean(axis=1)]
    return {"mean": _short(values.mean()), "low": _short(low), "high": _short(high), "by_seed": by_seed}


def _paper_difference(study: Study, row: Row) -> dict[str, dict[str, float]]:
    """The paper's difference between this row and the reference, by its test sets; empty where it gives none."""
    (reference,) = (other.paper for other in study.rows if other.label == study.reference)
    found = {}
    if row.label != study.reference:
        for name in (name for name in row.paper if name in reference):
            pairs = zip(("psnr", "ssim"), row.paper[name], reference[name], strict=True)
            found[name] = {what: _short(a - b) for what, a, b in pairs if a is not None and b is not None}
    return found


def table(found: dict) -> str:
    """A report as text: a block for each set, a row for each row of the study, and what it took.

    A score reads `25.12 (-0.40 [-0.52, -0.31])`: mean over images and seeds, difference to the reference row, and its
    95 % interval.

    Args:
        found: what `Order.run` gave, or the JSON that it wrote.
    """
    sets = list(dict.fromkeys(name for row in found["rows"] for name in row["sets"]))
    blocks = [_block(found, name) for name in sets]
    failed = [f"failed: {one['row']}, seed {one['seed']}: {one['error']}" for one in found["failed"]]
    return "\n".join([_heading(found), *blocks, _footnote(found), *failed])


def _heading(found: dict) -> str:
    budget = found["budget"]
    left_out = f", without {' and '.join(budget['without'])}" if budget["without"] else ""
    changes = f", changed for all: {json.dumps(budget['changes'])}" if budget["changes"] else ""
    seeds = ", ".join(map(str, budget["seeds"]))
    return (
        f"{found['source']}\nevery row: {budget['steps']:,} steps of {budget['batch']} patches of {budget['patch']}², "
        f"scale {budget['scale']}, seeds {seeds}{left_out}{changes}"
    )


def _block(found: dict, name: str) -> str:
    """The rows' scores on one set."""
    rows = [row for row in found["rows"] if name in row["sets"]]
    first = rows[0]["sets"][name]
    measures = [measure for measure in first if measure != "images"]
    refined = any("refinement" in row["sets"][name][measures[0]] for row in rows)
    title = [f"{name} ({first['images']})", "parameters", "s", *measures, "paper's difference"]
    rainy = [evaluation.RAINY, "", "", *(evaluation.number(m, first[m]["rainy"]) for m in measures), ""]
    lines = [title + ["refinement's gain"] * refined, rainy + [""] * refined]
    for row in rows:
        scores = row["sets"][name]
        seconds = sum(row["seconds"]) / len(row["seconds"])
        line = [row["row"], f"{row['parameters']:,}", f"{seconds:.0f}", *(_cell(m, scores[m]) for m in measures)]
        line.append("reference" if row["row"] == found["reference"] else _paper_text(row["paper_difference"]))
        if refined:
            gain = scores[measures[0]].get("refinement")
            line.append(_signed(measures[0], gain) if gain else "")
        lines.append(line)
    return "\n" + evaluation.aligned(lines)


def _cell(measure: str, score: dict) -> str:
    mean = evaluation.number(measure, score["mean"])
    return f"{mean} ({_signed(measure, score['difference'])})" if "difference" in score else mean


def _signed(measure: str, difference: dict) -> str:
    mean, low, high = (f"{difference[key]:+{'.2f' if measure.startswith('psnr') else '.4f'}}" for key in _ENDS)
    return f"{mean} [{low}, {high}]"


_ENDS = ("mean", "low", "high")


def _paper_text(differences: Mapping[str, Mapping[str, float]]) -> str:
    texts = []
    for name, one in differences.items():
        numbers = [f"{one[what]:+.{digits}f}" for what, digits in (("psnr", 2), ("ssim", 3)) if what in one]
        texts.append(f"{' / '.join(numbers)} ({name})")
    return "; ".join(texts) or "-"


def _footnote(found: dict) -> str:
    seeds = len(found["budget"]["seeds"])
    over = "images and seeds" if seeds > 1 else "images alone: one seed says nothing about others"
    few = f"; {seeds} seeds show how much seeds matter, but bound it loosely" if 1 < seeds < 5 else ""
    hardware = ", ".join(found["hardware"]) or "nothing"
    return (
        f"\nin brackets: difference to {found['reference']!r}, with its 95 % bootstrap interval over {over}{few}\n"
        f"{found['seconds'] / 3600:.2f} hours of training on {hardware}, torch {found['torch']}; s: seconds a training"
    )


def _plain(changes: dict) -> dict:
    """Shared changes as JSON holds them."""
    return json.loads(json.dumps(changes, default=lambda loss: dataclasses.asdict(loss)))


def _short(value: float) -> float:
    return round(float(value), 5)
