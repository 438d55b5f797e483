"""What a recipe is: a training set-up as data, printable, comparable, and saved as JSON beside every checkpoint.

A recipe names the network, the loss terms, the data's patches, the optimiser and the schedule. The papers' recipes
stand in `derainlib.papers`, `derainlib.recipes` finds them by name. A value of a wrong type or out of its range is
refused at once; whether network and loss fit together is seen by building them (`Recipe.checked`), which is done where
a recipe is taken, changed or read, before anything starts.
"""

import dataclasses
import json
import math
import warnings
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

import torch
from torch import nn

from derainlib import files, models
from derainlib.errors import DerainError, RecipeError, one_line
from derainlib.losses import BALANCES, TERMS, Fixed, GradientBalanced, Term
from derainlib.losses.semantic import Recognition
from derainlib.models import weights
from derainlib.rain import FROM_FILES, MIXES, PRESETS, STREETS

SCHEDULES = ("steps", "cosine", "constant", "plateau")
PRECISIONS = ("no", "bf16", "fp16")
CRITERIA = ("psnr_rgb", "miou")


@dataclass(frozen=True)
class Loss:
    """One term of the training loss."""

    term: str
    """Name of the term in `derainlib.losses.TERMS`."""
    weight: float = 1.0
    """Its weight in the sum."""
    options: dict = field(default_factory=dict)
    """Arguments of the term, for example {"on": "rain", "stages": "all"}. A term that judges an image by a segmenter
    has its name here, {"network": "phi"}: shipped weights, the path of a .safetensors file, or "random" (for tests)."""

    def build(self) -> nn.Module:
        """The term itself; the segmenter that it may judge by is loaded and frozen.

        Raises:
            WeightsError: the segmenter's weights are missing or damaged.
        """
        name = self.segmenter
        options = self.options if name is None else self.options | {"network": _segmenter(name)}
        return TERMS[self.term](**options)

    @property
    def segmenter(self) -> str | None:
        """The segmenter that the term judges by, if any."""
        return self.options.get("network") if issubclass(TERMS.get(self.term, Term), Recognition) else None

    @property
    def takes_vgg(self) -> bool:
        """Whether the term judges by a VGG whose weights may be given; those of an untrained one may not."""
        return self.term == "perceptual" and self.options.get("weights") != "untrained"

    def judged_by(self, vgg: str) -> "Loss":
        """The term with these VGG weights, if it takes any."""
        return dataclasses.replace(self, options=self.options | {"weights": vgg}) if self.takes_vgg else self


def _segmenter(name: str) -> nn.Module:
    """A frozen segmenter with trained weights, or with random ones, always the same."""
    if name == "random":
        warnings.warn(
            "this loss judges by a segmenter with random weights: good for tests, not for training", stacklevel=3
        )
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = models.create("phi")
    else:
        network = weights.load(name)
    return network.requires_grad_(False).eval()


@dataclass(frozen=True)
class Recipe:
    """A training set-up. Lengths are in steps, positions in the schedule in fractions of all steps."""

    name: str = field(compare=False)
    """Name of the recipe; `derainlib.recipes.get` finds it by this. Recipes of two names may be the same training."""
    source: str = field(compare=False)
    """The paper's table row (or section) that this set-up stands for."""
    model: str
    """Name of the network, see `derainlib.list_models`."""
    options: dict = field(default_factory=dict)
    """Options of the network that differ from its variant's, for example {"stages": 3}."""
    _: KW_ONLY
    start: str = ""
    """Weights to start from, a shipped name or a .safetensors file; empty for an untrained network. `get` takes the
    network's options from them where the recipe does not fix its own."""
    frozen_statistics: bool = False
    """Whether batch normalisation keeps the statistics of `start`, as fine-tuning on one kind of rain wants: those of
    its own few photographs would take their place within a hundred steps, and the layers above know others."""
    losses: tuple[Loss, ...] = (Loss("ssim"),)
    """The terms of the loss, added with their weights."""
    balance: str = "fixed"
    """What moves the terms' weights: "fixed" nothing, "loss" and "gradient" MENET's Algorithms 2 (LB) and 1 (GB),
    "loss-printed" LB with the authors' rounding, "uncertainty" Kendall et al. 2018; each term enters multiplied by its
    own weight (`derainlib.losses.balance`)."""
    steps: int = 1000
    """Optimiser steps, unless there are `minutes`."""
    minutes: float = 0.0
    """Time for the training, its last validation included, in the place of `steps`: as many are done as fit into it
    (`derainlib.pace`). 0: the steps count."""
    batch: int = 12
    """Patches a step, over all processes together."""
    accumulate: int = 1
    """Portions that a process computes its share of the batch in, to save memory."""
    patch: int = 100
    """Height and width of a training patch, in pixels."""
    rain: str = "mixed"
    """Rain laid on clean photographs: a preset or mix of `derainlib.rain`."""
    paired: float = 0.25
    """Share of samples taken from rainy/clean pairs, where the data has both pairs and clean photographs."""
    dry: float = 0.0
    """Share of the clean photographs on which no rain falls. The papers' networks see rain alone; one that never saw a
    dry photograph wipes off what only looks like rain."""
    turned: float = 0.0
    """Share of samples that are turned by 90, 180 or 270 degrees, rain and all. The papers turn none; but people turn
    their cameras, and a network that never saw rain fall sideways leaves it there."""
    lr: float = 1e-3
    """Learning rate of Adam at the start."""
    schedule: str = "steps"
    """"steps" (times `gamma` at each milestone), "cosine" (to zero), "constant" or "plateau" (times `gamma` when the
    training loss stops improving)."""
    milestones: tuple[float, ...] = (0.3, 0.5, 0.8)
    """Where the learning rate drops, as fractions of all steps."""
    gamma: float = 0.2
    """Factor of each drop."""
    window: int = 500
    """Schedule "plateau": steps whose mean loss is one observation; a single step's loss is mostly noise."""
    patience: int = 10
    """Schedule "plateau": the learning rate drops after this many windows in a row without a new lowest mean loss."""
    min_lr: float = 1e-6
    """Schedule "plateau": smallest learning rate."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it alone, as the papers do."""
    ema: float = 0.0
    """Decay of a moving average of the weights, which is then validated and kept in their place: about the last
    1 / (1 − ema) steps are averaged, 1,000 with 0.999, fewer at the start (`derainlib.training.averaged`). 0: none."""
    precision: str = "no"
    """"no" (float32), "bf16" or "fp16" mixed precision."""
    seed: int = 0
    """Seed of the first weights and of every draw."""
    validate_every: int = 1000
    """Steps between two scores on the validation pairs."""
    validation: int = 5
    """Photographs, or pairs, that are kept out of the training to be scored then; at most a tenth of those given."""
    criterion: str = "psnr_rgb"
    """What the validation scores: "psnr_rgb", or "miou" for a segmenter."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    samples_per_epoch: int = 18_810
    """Patches in the paper's epoch; steps are shown as epochs by it (BRN: 1,254 images of 15 patches, our reading:
    `derainlib.papers.recurrent`)."""

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check_type(f"recipe {self.name}: {spec.name}", getattr(self, spec.name), spec.type)
        self._check_values()

    def checked(self) -> "Recipe":
        """This recipe, after its network and its loss were built to see whether they fit.

        Raises:
            RecipeError: an unknown network, term or option, or terms that cannot be balanced so.
        """
        try:
            with torch.device("meta"):  # takes no memory and no time
                network = models.create(self.model, **self.options)
            self._assemble([self._check_loss(loss) for loss in self.losses], network)
        except RecipeError:
            raise
        except DerainError as error:
            raise RecipeError(f"recipe {self.name}: {error}") from None
        return self

    def _refuse(self, what: str):
        raise RecipeError(f"recipe {self.name}: {what}")

    def _check_values(self):
        for name in (
            "steps",
            "batch",
            "accumulate",
            "window",
            "patience",
            "validate_every",
            "checkpoint_every",
            "samples_per_epoch",
        ):
            if getattr(self, name) < 1:
                self._refuse(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**63:
            self._refuse(f"seed must be from 0 to 2⁶³ − 1, not {self.seed}")
        if self.validation < 0:
            self._refuse(f"validation must not be negative; got {self.validation}")
        if self.patch < 16:
            self._refuse(f"patch must be at least 16 pixels, not {self.patch}")
        for name in ("paired", "dry", "turned"):
            if not 0 <= getattr(self, name) <= 1:
                self._refuse(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.minutes < 0:
            self._refuse(f"minutes must not be negative; got {self.minutes}")
        if self.frozen_statistics and not self.start:
            self._refuse("frozen_statistics keeps those of the weights to start from: name some, start='…'")
        if not 0 <= self.ema < 1:
            self._refuse(f"ema is 0 or a decay below 1, such as 0.999; got {self.ema}")
        if self.lr <= 0 or self.gamma <= 0 or self.clip < 0:
            self._refuse(
                f"lr and gamma must be positive and clip not negative; got {self.lr}, {self.gamma}, {self.clip}"
            )
        if self.schedule == "plateau" and not (self.gamma < 1 and 0 <= self.min_lr <= self.lr):
            self._refuse(
                f"on a plateau gamma must be below 1 and min_lr between 0 and lr; got {self.gamma}, {self.min_lr}"
            )
        if list(self.milestones) != sorted(self.milestones) or not all(0 < m < 1 for m in self.milestones):
            self._refuse(f"milestones are rising fractions between 0 and 1, not {self.milestones}")
        for name, known in (
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("rain", [*PRESETS, *MIXES, *STREETS, *FROM_FILES]),
            ("balance", BALANCES),
            ("criterion", CRITERIA),
        ):
            if getattr(self, name) not in known:
                self._refuse(f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}")
        if not self.losses:
            self._refuse("losses needs at least one term")

    def _check_loss(self, loss: Loss) -> nn.Module:
        """The term, without the segmenter that it may judge by: that is only loaded for a training."""
        if loss.term not in TERMS:
            self._refuse(f"no loss term is called {loss.term!r}; there are {', '.join(TERMS)}")
        if loss.segmenter is not None:
            check_type(f"recipe {self.name}: network", loss.segmenter, str)
            loss = dataclasses.replace(loss, options={k: v for k, v in loss.options.items() if k != "network"})
        return loss.build()

    def build_model(self) -> nn.Module:
        """The network, untrained or as `start` has it.

        Raises:
            WeightsError: `start` is missing, damaged, or another network's.
        """
        network = models.create(self.model, **self.options)
        if self.start:
            weights.copy(self.start, network)
        return network

    def build_loss(self, network: nn.Module | None = None) -> Fixed:
        """The weighted sum of the loss terms; a second term of one name gets a number.

        Args:
            network: the network that is trained; only balance "gradient" looks at it, for the layer that its outputs
                share (`network.shared`).

        Raises:
            DerainError: balance "gradient" without a network, or with one that names no shared layer.
            WeightsError: the weights of a segmenter that a term judges by are missing or damaged.
        """
        return self._assemble([loss.build() for loss in self.losses], network)

    def _assemble(self, terms: list[nn.Module], network: nn.Module | None) -> Fixed:
        names = [f"{loss.term}_{loss.options['on']}" if "on" in loss.options else loss.term for loss in self.losses]
        names = [name if names.count(name) == 1 else f"{name}_{i}" for i, name in enumerate(names)]
        named = dict(zip(names, terms, strict=True))
        weighed = {name: loss.weight for name, loss in zip(names, self.losses, strict=True)}
        if self.balance != "gradient":
            return BALANCES[self.balance](named, weighed)
        shared = getattr(network, "shared", None)
        if shared is None:
            raise DerainError(f"balance 'gradient' needs {self.model} to name its shared layer (`shared`); it does not")
        return GradientBalanced(named, weighed, shared)

    def judged_by(self, vgg: str) -> "Recipe":
        """The same recipe with the VGG weights of this file in its perceptual terms.

        Raises:
            RecipeError: it has no such term, or an untrained VGG in it.
        """
        if not any(loss.takes_vgg for loss in self.losses):
            self._refuse("no term of its loss is perceptual with a trained VGG, so it has no use for VGG weights")
        return self.replace(losses=tuple(loss.judged_by(vgg) for loss in self.losses))

    def learning_rate(self, step: int) -> float:
        """The learning rate of optimiser step `step`, counted from 0.

        With the schedule "plateau" it depends on the losses too (`derainlib.training.Plateau`); this is its start.
        """
        return self.learning_rate_at(step / self.steps)

    def learning_rate_at(self, progress: float) -> float:
        """The learning rate where a share `progress` of all steps is done, from 0 to 1."""
        if self.schedule == "cosine":
            return self.lr * (1 + math.cos(math.pi * progress)) / 2
        if self.schedule == "steps":
            return self.lr * self.gamma ** sum(progress >= milestone for milestone in self.milestones)
        return self.lr

    @property
    def epochs(self) -> float:
        """The steps in epochs of the paper's training set."""
        return self.steps * self.batch / self.samples_per_epoch

    def replace(self, **changes) -> "Recipe":
        """The same recipe with some fields changed, to values as JSON has them or ours; an unknown field is refused."""
        known = {spec.name for spec in dataclasses.fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            self._refuse(f"there is no field {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        return dataclasses.replace(self, **_from_plain(changes)).checked()

    def to_json(self) -> str:
        """The recipe as JSON text; `from_json` reads it back."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | Path) -> "Recipe":
        """A recipe from JSON text, or from a file that holds it.

        Raises:
            RecipeError: not JSON, or not a recipe.
        """
        try:
            return cls(**_from_plain(files.json_in(text))).checked()
        except DerainError:
            raise
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise RecipeError(f"not a recipe in JSON: {one_line(error)}") from None


def _from_plain(values: dict) -> dict:
    """Fields of a recipe from what JSON holds: lists are tuples, terms of the loss are dictionaries."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if isinstance(values.get("losses"), tuple):
        values["losses"] = tuple(_loss(item) if isinstance(item, dict) else item for item in values["losses"])
    return values


def _loss(values: dict) -> Loss:
    try:
        return Loss(**values)
    except TypeError as error:
        raise RecipeError(f"a term of the loss has term, weight and options: {error}") from None


def check_type(what: str, value, expected: type):
    """Refuses a value of another type; a whole number is a fine float, a bool is no number.

    Args:
        what: the value's name, for the message.
        value: the value.
        expected: a type, or tuple[X, ...].

    Raises:
        RecipeError: the value has another type.
    """
    container = getattr(expected, "__origin__", expected)
    accepted = (int, float) if container is float else (container,)
    if not isinstance(value, accepted) or (isinstance(value, bool) and container is not bool):
        raise RecipeError(f"{what} must be {container.__name__}, not {value!r}")
    if container is float and not math.isfinite(value):
        raise RecipeError(f"{what} must be a finite number, not {value}")
    if container is tuple:
        for item in value:
            check_type(f"each of {what.rpartition(' ')[2]}", item, expected.__args__[0])
