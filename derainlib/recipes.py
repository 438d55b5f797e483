"""The papers' recipes by name: `get("brn")` is the paper's set-up, `get("brn", "quick")` fits two cores."""

import dataclasses
import inspect

from derainlib import models, papers
from derainlib.errors import RecipeError, WeightsError
from derainlib.models import weights
from derainlib.recipe import Loss, Recipe

RECIPES = {recipe.name: recipe for recipe in papers.set_ups()}
"""The papers' set-ups at full scale, by name."""

SCALES = {
    "full": {},
    "quick": {
        "steps": 8000,
        "batch": 8,
        "patch": 64,
        "paired": 0.2,
        "schedule": "cosine",
        "clip": 1.0,
        "precision": "bf16",
        "validate_every": 1000,
        "checkpoint_every": 250,
    },
    "tiny": {"steps": 4, "batch": 2, "patch": 32, "validate_every": 4, "validation": 1, "checkpoint_every": 2},
}
"""What a scale changes: "full" is the paper's, "quick" trains in hours on two cores, "tiny" proves that it runs."""

STAGES = {"quick": 4, "tiny": 2}
"""Stages T of networks that have stages at the smaller scales, where the recipe does not fix T itself."""


def list_recipes() -> list[str]:
    """The names that `get` accepts."""
    return list(RECIPES)


def get(name: str, scale: str = "full", **changes) -> Recipe:
    """The recipe called `name` at a scale, with some of its fields changed.

    Args:
        name: one of `list_recipes()`.
        scale: "full" (the paper's values), "quick" (two cores, hours) or "tiny" (seconds).
        changes: fields of `Recipe` to replace, for example steps=2000.

    Raises:
        RecipeError: an unknown name, scale, field or value.
        WeightsError: `start` is missing, damaged, or another network's.
    """
    if name not in RECIPES:
        raise RecipeError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    recipe = RECIPES[name]
    found = recipe.replace(**at_scale(recipe, scale) | changes)
    return _as_started(found, _fixed(recipe, scale) | changes.get("options", {})) if found.start else found


def at_scale(recipe: Recipe, scale: str) -> dict:
    """The fields of a recipe that a scale changes: budget, the network's options, a segmenter's crops, wanted files.

    Raises:
        RecipeError: no such scale.
    """
    if scale not in SCALES:
        raise RecipeError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
    changes = SCALES[scale] | {"options": _fixed(recipe, scale)}
    build, _ = (models.VARIANTS | models.SEGMENTERS)[recipe.model]
    if scale in STAGES and "stages" in inspect.signature(build).parameters:
        changes["options"] = {"stages": STAGES[scale]} | recipe.options
    if scale == "quick" and recipe.criterion == "miou":
        changes |= {"patch": 192, "paired": 0.0}
    if scale == "tiny":
        changes |= {"losses": tuple(map(_without_files, recipe.losses)), "start": ""}
    return changes


def _as_started(recipe: Recipe, fixed: dict) -> Recipe:
    """The recipe for the network that its `start` is of: the weights' options, but for those that are fixed."""
    header = weights.header(recipe.start)
    if header["model"] != recipe.model:
        raise WeightsError(f"{recipe.start} holds weights of {header['model']}, not of {recipe.model}")
    return recipe.replace(options=header["options"] | fixed)


def _fixed(recipe: Recipe, scale: str) -> dict:
    """The network's options that the recipe fixes, at this scale."""
    if scale == "quick":  # what is clipped has no gradient; a short training wants it
        return {key: value for key, value in recipe.options.items() if key != "clip"}
    return recipe.options


def _without_files(loss: Loss) -> Loss:
    """The term as it runs where no weights of a VGG or a segmenter are at hand."""
    if loss.segmenter:
        return dataclasses.replace(loss, options=loss.options | {"network": "random"})
    return loss.judged_by("random")
