"""A training asked for by names: what the command line and the notebook hand over."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from derainlib import recipes
from derainlib.data import scenes, validation
from derainlib.data.synthetic import Sources, gather
from derainlib.errors import DataError, RecipeError, WeightsError
from derainlib.layers import Pair
from derainlib.models import weights
from derainlib.recipe import Recipe, check_type
from derainlib.training.loop import AUTOMATIC, Observer, Result, train

OLD_NAMES = {"data_dir": "pairs_dir", "data_list": "pairs_list"}
"""What parameters were called once; notebooks, scripts and orders of studies may still call them so."""
MOST_WORKERS = 256
"""Processes that make samples, at most."""


def _as_meant(value, kind: type | None):
    """A value from a command line that guesses types, as papermill's does: a folder 2024, a dict that came as text."""
    if kind is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if kind is dict and isinstance(value, str):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(value)
    return value


def _steps(folder: Path) -> int:
    """Steps of the finished training in a folder; 0 where there is none."""
    try:
        return weights.card(folder / "last.safetensors")["steps"]
    except WeightsError:
        return 0


@dataclass(frozen=True)
class Job:
    """A training asked for by names, checked before any work.

    `derain train` takes its words from the sentences below the fields.
    """

    recipe: str
    """Name of the recipe; an unknown one lists them all."""
    out_dir: str
    """The run's folder; a run in it goes on."""
    scale: str = "quick"
    """full (the paper's values), quick (two cores, hours) or tiny (seconds)."""
    _: KW_ONLY
    start: str = ""
    """Weights to start from, a shipped name or a .safetensors file; the recipe's unless given."""
    vgg: str = ""
    """File of VGG weights for perceptual terms of the loss; what the recipe says unless given."""
    pairs_dir: str = ""
    """Folder of rainy/clean pairs."""
    pairs_list: str = ""
    """Text file that names the pairs to use."""
    clean_dir: str = ""
    """Folder of clean photographs, for rain made on the fly."""
    clean_list: str = ""
    """Text file that names the photographs to use."""
    scenes_dir: str = ""
    """Folder of labelled streets, in the layout of CamVid or Cityscapes, for rain made on the fly."""
    streaks_dir: str = ""
    """Folder of rain layers, streaks on black, for rain that is laid on from files, such as allround."""
    streaks_list: str = ""
    """Text file that names the layers to use."""
    steps: int = 0
    """Optimiser steps; 0 leaves the recipe's."""
    minutes: float = 0.0
    """Time for the training in the place of steps; where the folder's training is finished, these many more."""
    changes: dict = field(default_factory=dict)
    """Other fields of the recipe to change, by name."""
    workers: int = AUTOMATIC
    """Processes that make samples; -1 takes the cores that there are to spare, where a GPU trains."""
    compiled: bool = False
    """Whether torch.compile makes the network quicker; worth its minute at the start on a GPU."""

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check_type(spec.name, getattr(self, spec.name), spec.type)
        if not AUTOMATIC <= self.workers <= MOST_WORKERS:
            few = f"at most {MOST_WORKERS}, or {AUTOMATIC} to leave it open"
            raise RecipeError(f"workers is {self.workers}; give a number of processes, {few}")

    @classmethod
    def of(cls, parameters: dict) -> "Job":
        """A job from parameters by name, those of `OLD_NAMES` among them.

        Raises:
            RecipeError: an unknown, missing or mistyped parameter, or one under its old name too.
        """
        parameters = dict(parameters)
        for old, new in OLD_NAMES.items():
            value = parameters.pop(old, "")
            if value and parameters.get(new):
                raise RecipeError(f"{new} was called {old} once: give one of them")
            if value:
                parameters[new] = value
        kinds = {spec.name: spec.type for spec in dataclasses.fields(cls)}
        parameters = {name: _as_meant(value, kinds.get(name)) for name, value in parameters.items()}
        known = list(kinds)
        unknown = [name for name in parameters if name not in known]
        if unknown:
            raise RecipeError(f"no parameter is called {', '.join(unknown)}; there are {', '.join(known)}")
        missing = [name for name in ("recipe", "out_dir") if not parameters.get(name)]
        if missing:
            raise RecipeError(f"parameter {' and '.join(missing)} must be given")
        return cls(**parameters)

    def plan(self) -> tuple[Recipe, Sources]:
        """The recipe and the data, both checked."""
        if self.minutes and (self.steps or "steps" in self.changes):
            raise RecipeError("a training has steps or minutes: give one of them")
        if "minutes" in self.changes:
            raise RecipeError(
                "minutes are given by themselves (--minutes), so that a finished training gets a new phase"
            )
        recipe = self._recipe()
        return recipe, self.sources(recipe.rain)

    def _recipe(self) -> Recipe:
        given = {name: getattr(self, name) for name in ("steps", "minutes", "start")}
        changes = self.changes | {name: value for name, value in given.items() if value}
        recipe = recipes.get(self.recipe, self.scale, **changes)
        return recipe.judged_by(self.vgg) if self.vgg else recipe

    def sources(self, rain: str) -> Sources:
        """What to train on, in this rain.

        Raises:
            DataError: folders or lists that do not fit.
        """
        try:
            return gather(
                self.clean_dir, self.clean_list, pairs_dir=self.pairs_dir, pairs_list=self.pairs_list, rain_style=rain,
                scenes_dir=self.scenes_dir, streaks_dir=self.streaks_dir, streaks_list=self.streaks_list,
            )  # fmt: skip
        except DataError as error:
            no_pairs = self.pairs_dir and not self.pairs_list and str(error).startswith(str(Path(self.pairs_dir)))
            if no_pairs and not self.clean_dir and Path(self.pairs_dir).is_dir():
                raise DataError(f"{error}; clean photographs alone are given as clean_dir") from None
            raise

    def run(self, observers: Iterable[Observer] = (), progress: bool = False) -> Result:
        """Trains, validating on what is held back of the data (`derainlib.data.validation`); segmenters on streets.

        Where too little was given to hold any back, drawn streets judge. The streets of segmenters are those of the
        folder's split "val", or drawn ones where it has none, in the rain of the training.

        A training for minutes whose folder holds a finished training goes on from its weights, with other draws, in
        the sub-folder phase-2; the next one in phase-3, from those of phase-2. So does a training of more steps than
        the folder's, if nothing else differs: it does those that are missing.
        """
        job = self.phase()
        recipe, sources = job.plan()
        sources, judged = job._hold_back(recipe, sources)
        how = {"workers": job.workers, "compiled": job.compiled, "observers": observers, "progress": progress}
        return train(recipe, sources, job.out_dir, validation=judged, **how)

    def phase(self) -> "Job":
        """This job, or the phase of it that is to be done now."""
        folder, start, number = Path(self.out_dir), self.start, 1
        missing = 0 if self.minutes else self._wanted_steps()
        while (folder / "last.json").exists() and (self.minutes or missing > (done := _steps(folder))):
            missing -= 0 if self.minutes else done
            number += 1
            folder, start = Path(self.out_dir) / f"phase-{number}", str(folder / "last.safetensors")
        if number == 1:
            return self
        seed = recipes.get(self.recipe, self.scale, **self.changes).seed + number - 1
        changes = {name: value for name, value in self.changes.items() if name != "steps"} | {"seed": seed}
        return dataclasses.replace(self, out_dir=str(folder), start=start, steps=missing, changes=changes)

    def _wanted_steps(self) -> int:
        """The steps asked for, where the folder's run is the same training but for its length; else 0."""
        path = Path(self.out_dir) / "recipe.json"
        if not path.exists():
            return 0
        asked, found = self._recipe(), Recipe.from_json(path)
        is_same = found.replace(steps=asked.steps, start=asked.start if found.start else "") == asked
        return asked.steps if is_same and found.steps == _steps(Path(self.out_dir)) else 0

    def _hold_back(self, recipe: Recipe, sources: Sources) -> tuple[Sources, Sequence[Pair]]:
        """What is left to train on, and what judges."""
        if not recipe.validation:
            return sources, ()
        if recipe.criterion == "miou":
            return sources, self._streets(recipe)
        if self.clean_dir or self.pairs_dir or self.scenes_dir:
            left, held = validation.hold_back(sources, recipe.validation)
            if len(held):
                return left, held
        return sources, validation.streets(recipe.validation)

    def _streets(self, recipe: Recipe) -> Sequence[Pair]:
        if self.scenes_dir and "val" in scenes.splits(self.scenes_dir):
            streets = scenes.read(self.scenes_dir, "val", scenes.CAMVID)
        else:
            streets = scenes.drawn(range(validation.STREETS, validation.STREETS + recipe.validation))
        apart = max(1, len(streets) // recipe.validation)  # neighbours in a video look alike
        return scenes.RainyScenes(streets[::apart][: recipe.validation], recipe.rain)
