"""Recipes: a paper's training set-up as data. `get("brn")` is the paper's, `get("brn", "quick")` fits two cores.

A recipe names the network, the loss terms, the data's patches, the optimiser and the schedule; it is printable,
comparable and saved as JSON beside every checkpoint. Everything in it is checked before anything starts.
"""

import dataclasses
import inspect
import json
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from derainlib import models
from derainlib.errors import DerainError, RecipeError, WeightsError
from derainlib.losses import BALANCES, TERMS, Fixed, GradientBalanced
from derainlib.models import weights
from derainlib.rain import FROM_FILES, MIXES, PRESETS, STREETS

SCHEDULES = ("steps", "cosine", "constant", "plateau")
PRECISIONS = ("no", "bf16", "fp16")
CRITERIA = ("psnr_rgb", "miou")
RECOGNITION = ("semantic", "presence")
"""Terms whose option "network" names a segmenter."""


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
        return self.options.get("network") if self.term in RECOGNITION else None


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

    name: str
    """Name of the recipe; `get` finds it by this."""
    source: str
    """The paper's table row (or section) that this set-up stands for."""
    model: str
    """Name of the network, see `derainlib.list_models`."""
    options: dict = field(default_factory=dict)
    """Options of the network that differ from its variant's, for example {"stages": 3}."""
    start: str = ""
    """Weights to start from, a shipped name or a .safetensors file; empty for an untrained network. `get` takes the
    network's options from them where the recipe does not fix its own."""
    losses: tuple[Loss, ...] = (Loss("ssim"),)
    """The terms of the loss, added with their weights."""
    balance: str = "fixed"
    """What moves the terms' weights: "fixed" nothing, "loss" and "gradient" MENET's Algorithms 2 (LB) and 1 (GB),
    "uncertainty" Kendall et al. 2018; each term enters multiplied by its own weight (`derainlib.losses.balance`)."""
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
    """Patches in the paper's epoch; steps are shown as epochs by it (BRN: 1,254 images of 15 patches)."""

    def __post_init__(self):
        for spec in dataclasses.fields(self):
            check_type(f"recipe {self.name}: {spec.name}", getattr(self, spec.name), spec.type)
        self._check_values()
        try:
            network = models.create(self.model, **self.options)
            self._assemble([self._check_loss(loss) for loss in self.losses], network)
        except RecipeError:
            raise
        except DerainError as error:
            raise RecipeError(f"recipe {self.name}: {error}") from None

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
        if self.validation < 0:
            self._refuse(f"validation must not be negative; got {self.validation}")
        if self.patch < 16:
            self._refuse(f"patch must be at least 16 pixels, not {self.patch}")
        for name in ("paired", "dry", "turned"):
            if not 0 <= getattr(self, name) <= 1:
                self._refuse(f"{name} is a share between 0 and 1, not {getattr(self, name)}")
        if self.minutes < 0:
            self._refuse(f"minutes must not be negative; got {self.minutes}")
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
        known = inspect.signature(TERMS[loss.term]).parameters
        unknown = [option for option in loss.options if option not in known]
        if unknown:
            self._refuse(f"loss {loss.term} has no option {', '.join(unknown)}; it takes {', '.join(known)}")
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
        weights = {name: loss.weight for name, loss in zip(names, self.losses, strict=True)}
        if self.balance != "gradient":
            return BALANCES[self.balance](named, weights)
        shared = getattr(network, "shared", None)
        if shared is None:
            raise DerainError(f"balance 'gradient' needs {self.model} to name its shared layer (`shared`); it does not")
        return GradientBalanced(named, weights, shared)

    def judged_by(self, vgg: str) -> "Recipe":
        """The same recipe with the VGG weights of this file in its perceptual terms.

        Raises:
            RecipeError: it has no such term.
        """
        if "perceptual" not in {loss.term for loss in self.losses}:
            self._refuse("no term of its loss is perceptual, so it has no use for VGG weights")
        return self.replace(losses=tuple(_perceptual(loss, vgg) for loss in self.losses))

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
        return dataclasses.replace(self, **_from_plain(changes))

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
            values = json.loads(text.read_text() if isinstance(text, Path) else text)
            return cls(**_from_plain(values))
        except (json.JSONDecodeError, TypeError, AttributeError, OSError) as error:
            raise RecipeError(f"not a recipe in JSON: {error}") from None


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


def _ren(name: str, source: str, model: str, batch: int, epochs=100, **changes) -> Recipe:
    """A recipe of Ren et al., Section IV: Adam 1e-3, times 0.2 at epochs 30, 50 and 80 of 100, patches of 100²."""
    return Recipe(name, source, model, batch=batch, steps=epochs * 18_810 // batch, paired=1.0, **changes)


def _qsnet(name: str, source: str, terms: str, model: str = "qsnet") -> Recipe:
    """A recipe of QSNet, Section 5.1: Adam 1e-3, times 0.1 when the loss stops improving, patches of 256².

    The paper states neither the batch, nor the length, nor when the loss counts as no longer improving. Our choices:
    16 patches, 100,000 steps, ten windows of 1,000 steps without a lower mean; an "epoch" is such a window.

    Args:
        name, source, model: fields of the recipe.
        terms: which terms of Eq. 13, by the letters of their symbols.
    """
    return Recipe(
        name, source, model, losses=tuple(_EQ_13[term] for term in terms), steps=100_000, batch=16, patch=256,
        paired=1.0, schedule="plateau", gamma=0.1, window=1000, patience=10, samples_per_epoch=16_000,
    )  # fmt: skip


_EQ_13 = {
    "C": Loss("l1", 1.0),
    "Q": Loss("quasi_sparsity", 1e-3),
    "D": Loss("detail", 1e-4),
    "A": Loss("auxiliary", 0.01),
}
"""λ L of QSNet's Eq. 13, by the index of L. All terms share one normaliser, so the λ are the paper's as they stand."""


def _dcdnet(name: str, source: str, *losses: Loss, **options) -> Recipe:
    """A recipe of DCDNet, Section 4.1: Adam 1e-3, ÷10 at steps 240,000 and 320,000 of 400,000, 10 patches of 100²."""
    return Recipe(
        name, source, "dcdnet", options, losses=losses or _EQ_8, steps=400_000, batch=10, patch=100, paired=1.0,
        milestones=(0.6, 0.8), gamma=0.1, samples_per_epoch=1800,
    )  # fmt: skip


_EQ_6 = Loss("mse", 1.0, {"on": "rain", "stages": "all", "early": 1.0, "last": 0.0})
"""Eq. 6 of DCDNet: the rain of every stage; the last of `stages` is the refined image, which Eq. 7 judges."""
_EQ_7 = Loss("l1"), Loss("perceptual")
_EQ_8 = (_EQ_6, *_EQ_7)
_UNREFINED = Loss("mse", 1.0, {"on": "rain", "stages": "all", "early": 1.0, "last": 1.0})


def _menet(name: str, source: str, *losses: Loss, model: str = "menet", balance: str = "fixed") -> Recipe:
    """A recipe of MENET, Section IV: Adam 1e-3, ÷10 at epoch 40 of 100.

    20 patches of 224² a step, a second ÷10 at epoch 80 and the clipped result are from the authors' scripts. The paper
    cuts the four corners and the middle out of each of RainTrainH's 1,800 images and mirrors them, 18,000 patches. Here
    places and mirroring are drawn anew each time, and 18,000 patches count as an epoch. The losses are those of images
    in 0..255.
    With LB and GB a task's own weight is 1, as in the paper.
    """
    return Recipe(
        name, source, model, {"clip": True}, losses=losses, balance=balance, steps=100 * 18_000 // 20, batch=20,
        patch=224, paired=1.0, milestones=(0.4, 0.8), gamma=0.1, samples_per_epoch=18_000,
    )  # fmt: skip


_P, _E, _T = Loss("mse", 1.0, {"scale": 255}), Loss("edge"), Loss("texture")
"""L_p, L_e and L_t of MENET's Eq. 4, 6 and 8."""
_EDGE = Loss("edge", 1e-2)
_VGG = Loss(
    "perceptual",
    round(1e-3 * 48 / 256 * (255 * 0.226) ** 2, 4),
    {"network": "vgg19", "layer": "conv3_4", "norm": "l2"},
)
"""MENET's Table IV: 1e-3 times Eq. 5, the mean over the features of images in 0..255. Our term averages over pixels and
channels, which is 256/48 times that mean, and its VGG sees images divided by 255 and by ImageNet's deviation of 0.226;
what a VGG makes of an image grows (its biases aside) as the image does."""


def _phpnet(name: str, source: str, *losses: Loss, model: str = "phpnet", rain: str = "streets", **changes) -> Recipe:
    """A recipe of PHPNet, Section III.D: Adam 3e-4, ÷10 at epochs 150 and 200 of 250, batches of one.

    An epoch is Cityscapes' 2,975 training images, in our rain alone. The paper crops but does not say how large: 512²,
    the size of its timings, is our choice. Scale, rotation, place and mirroring are drawn anew in every epoch.
    """
    return Recipe(
        name, source, model, losses=losses or _EQ_5, steps=250 * 2975, batch=1, patch=512, rain=rain, paired=0.0,
        lr=3e-4, milestones=(0.6, 0.8), gamma=0.1, samples_per_epoch=2975, **changes,
    )  # fmt: skip


_COARSE = Loss("charbonnier", 1.0, {"on": "coarse", "lowpass": 5})
"""λ_1 of PHPNet's Eq. 5: X^c against the truth without details. The paper chooses among four kernels by eye and does
not say which; 5x5 is our choice."""
_FINE = Loss("charbonnier", 1.0, {"on": "background"})
_UNFILTERED = Loss("charbonnier", 1.0, {"on": "coarse"})
_COLOUR = Loss("colour", 0.1)
_SEMANTIC = Loss("semantic", 0.05, {"network": "phi"})
_ACC_COL = (_COARSE, _FINE, _COLOUR)
_EQ_5 = (*_ACC_COL, _SEMANTIC)
"""PHPNet's Eq. 5 with the paper's λ, judged by the frozen Φ."""


def _segmenting(name: str, source: str, *losses: Loss, **changes) -> Recipe:
    """A segmenter for streets. PHPNet's paper says nothing about its training; the values are ours.

    300 epochs of Cityscapes' 2,975 training images, 12 crops of 384² a step, Adam 1e-3 down to 0 along a cosine.
    """
    values = {"rain": "none", "schedule": "cosine", "steps": 300 * 2975 // 12} | changes
    return Recipe(
        name, source, name.partition("/")[0], losses=losses or (Loss("semantic"),), batch=12, patch=384, paired=0.0,
        samples_per_epoch=2975, criterion="miou", validation=50, **values,
    )  # fmt: skip


_FINE_TUNING = {"start": "espnet", "lr": 2e-4, "steps": 30 * 2975 // 12}

_RECURSIVE = {"stages": "all", "early": 0.5, "last": 1.5}
_REC_BRN = (
    Loss("ssim", 0.45, _RECURSIVE | {"on": "rain"}),
    Loss("ssim", 0.55, _RECURSIVE | {"on": "background"}),
)

_ALL = [
    _ren("srn", "Table II, SRN: residual mapping, single SSIM loss", "srn", 18),
    _ren("srn/MSE", "Table I(a), SRN-MSE", "srn-direct", 18, losses=(Loss("mse"),)),
    _ren("srn/SSIM", "Table I(a), SRN-SSIM (Table II, SRN-LSTM; Table IV, SRN)", "srn-direct", 18),
    _ren("srn/RecSSIM", "Table I(a), SRN-RecSSIM", "srn-direct", 18, losses=(Loss("ssim", 1.0, _RECURSIVE),)),
    _ren("srn-x", "Table II, SRN_x", "srn-x", 18),
    _ren("srn-gru", "Table II, SRN-GRU", "srn-gru", 18),
    _ren("srn+", "Table IV, SRN+", "srn+", 18),
    _ren("brn", "Tables I(b), III, IV and V, BRN: single SSIM loss", "brn", 12),
    _ren("brn/MSE", "Table I(b), BRN-MSE", "brn", 12, losses=(Loss("mse"),)),
    _ren("brn/SSIM", "Table I(b), BRN-SSIM", "brn", 12),
    _ren("brn/RecSSIM", "Table I(b), BRN-RecSSIM", "brn", 12, losses=_REC_BRN),
    _ren("crn", "Table III, CRN", "crn", 12),
    _ren("brn-x2r", "Table III, BRN x→r", "brn-x2r", 12),
    _ren("brn-r2x", "Table III, BRN r→x", "brn-r2x", 12),
    _ren("brn-gru", "Table IV, BRN-GRU", "brn-gru", 12),
    *[
        _ren(f"{name}/T{stages}", f"Fig. 6, T = {stages}", model, batch, options={"stages": stages})
        for name, model, batch in (("srn", "srn-direct", 18), ("brn", "brn", 12))
        for stages in range(1, 10)
    ],
    # V1 to V3 keep the auxiliary decoders, whose images the main decoder reads: Table 4 ablates losses, not layers.
    _qsnet("qsnet", "Tables 1, 2, 4 and 5, QSNet (V4)", "CQDA"),
    _qsnet("qsnet/V1", "Table 4, V1: L_C", "C"),
    _qsnet("qsnet/V2", "Table 4, V2: L_C + L_Q", "CQ"),
    _qsnet("qsnet/V3", "Table 4, V3: L_C + L_Q + L_D", "CQD"),
    _qsnet("qsnet/V4", "Table 4, V4: L_C + L_Q + L_D + L_A", "CQDA"),
    _qsnet("qsnet/no-sharing", "Tables 2 and 5, QSNet without sharing", "CQDA", "qsnet-no-sharing"),
    _qsnet("qsnet/no-auxiliary", "no row: V3 without the auxiliary decoders", "CQD", "qsnet-no-auxiliary"),
    _dcdnet("dcdnet", "Tables 1, 3 and 4, ours"),
    _dcdnet("dcdnet/no-VGG", "no row: Eq. 8 without the VGG term, for which weights must be at hand", _EQ_6, _EQ_7[0]),
    _dcdnet("dcdnet/no-dilation", "Table 3, no dilation", dilations=[1, 1, 1, 1]),  # a list, as JSON has it
    _dcdnet("dcdnet/no-inner-dense", "Table 3, no inner dense connections", inner=False),
    _dcdnet("dcdnet/no-outer-dense", "Table 3, no outer dense connections", outer=False),
    _dcdnet("dcdnet/no-dense", "Table 3, no dense connections", inner=False, outer=False),
    _dcdnet("dcdnet/no-refinement", "Tables 3 and 4, without refinement", _UNREFINED, refinement=False),
    _dcdnet("dcdnet/single", "Table 4, single stage", _UNREFINED, stages=1, refinement=False),
    _dcdnet("dcdnet/DDN-size", "Table 2, about DDN's size: 57,213", width=27, dilations=[1, 2, 4, 8, 16]),
    _dcdnet("dcdnet/RESCAN-size", "Table 2, about RESCAN's size: 148,129", width=44, dilations=[1, 2, 4, 8, 16]),
    *[_dcdnet(f"dcdnet/T{stages}", f"Fig. 10, T = {stages}", stages=stages) for stages in range(1, 15)],
    # Of the two schemes the paper shows LB's pictures.
    _menet("menet", "Tables I and II, MENET-LB", _P, _E, _T, balance="loss"),
    _menet("menet/MSE", "Tables I and IV, L_p (baseline)", _P, model="menet-shallow"),
    _menet("menet/edge-fixed", "Tables I and IV, L_p L_e, fixed weight 1e-2", _P, _EDGE, model="menet-shallow"),
    _menet("menet/edge-GB", "Table I, L_p L_e, GB", _P, _E, model="menet-shallow", balance="gradient"),
    _menet("menet/edge-LB", "Table I, L_p L_e, LB", _P, _E, model="menet-shallow", balance="loss"),
    _menet("menet/texture-GB", "Table I, L_p L_e L_t, GB", _P, _E, _T, model="menet-shallow", balance="gradient"),
    _menet("menet/texture-LB", "Table I, L_p L_e L_t, LB", _P, _E, _T, model="menet-shallow", balance="loss"),
    _menet("menet/GB", "Tables I and II, L_p L_e L_t, GB, CA: MENET-GB", _P, _E, _T, balance="gradient"),
    _menet("menet/LB", "Tables I and II, L_p L_e L_t, LB, CA: MENET-LB", _P, _E, _T, balance="loss"),
    _menet("menet/GB-deep", "Table II, MENET-GB-deep", _P, _E, _T, model="menet-deep", balance="gradient"),
    _menet("menet/LB-deep", "Table II, MENET-LB-deep", _P, _E, _T, model="menet-deep", balance="loss"),
    _menet("menet/VGG", "Table IV, VGG19 in the place of edges", _P, _VGG, model="menet-shallow"),
    _menet("menet/uncertainty", "no row: weights of Kendall et al. 2018", _P, _E, _T, balance="uncertainty"),
    _phpnet("phpnet", "Tables I to VI, ours; Table II, Ours-Intensity"),
    _phpnet("phpnet/density", "Table II, Ours-Density", rain="density"),
    _phpnet("phpnet/spatial", "Table II, Ours-Spatial", rain="spatial"),
    _phpnet("phpnet/depth", "Table II, Ours-Depth", rain="depth"),
    _phpnet("phpnet/acc", "Table III, L_acc", _COARSE, _FINE),
    _phpnet("phpnet/acc-col", "Table III, L_acc + L_col", *_ACC_COL),
    _phpnet("phpnet/acc-seg", "Fig. 5(c), L_acc + L_seg", _COARSE, _FINE, _SEMANTIC),
    _phpnet(
        "phpnet/uncertainty",
        "Section III.C, weights learned from uncertainty, which did not converge",
        *(dataclasses.replace(loss, weight=1.0) for loss in _EQ_5),
        balance="uncertainty",
    ),
    _phpnet("phpnet/standard", "Table IV, standard convolution", model="phpnet-standard"),
    _phpnet("phpnet/parallel", "Table IV, parallel only", model="phpnet-parallel"),
    _phpnet("phpnet/hierarchical", "Table IV, hierarchical only", model="phpnet-hierarchical"),
    _phpnet("phpnet/concatenation", "Table IV, PHP-concatenation", model="phpnet-concatenation"),
    _phpnet("phpnet/nonlocal", "Table IV, PHP → non-local", model="phpnet-nonlocal"),
    _phpnet("phpnet/no-contrast", "Table IV, w/o contrast-aware pooling", model="phpnet-no-contrast"),
    _phpnet("phpnet/max-pooling", "Table IV, contrast-aware pooling → max-pooling", model="phpnet-max-pooling"),
    _phpnet("phpnet/unfiltered", "Table IV, X_g^gt → X^gt", _UNFILTERED, _FINE, _COLOUR, _SEMANTIC),
    _phpnet("phpnet/no-refinement", "Table IV, w/o X", _COARSE, _COLOUR, _SEMANTIC, model="phpnet-no-refinement"),
    _phpnet("phpnet/qsnet", "Table IV, X^c from another network: QSNet for SPANet", model="phpnet-qsnet"),
    _phpnet("phpnet/no-small", "Table IV, w/o S", rain="streets-no-small"),
    _phpnet("phpnet/no-medium", "Table IV, w/o M", rain="streets-no-medium"),
    _phpnet("phpnet/no-large", "Table IV, w/o L", rain="streets-no-large"),
    _phpnet("phpnet/shared-objects", "Table V, (a)", *_ACC_COL, Loss("presence", 0.05), model="phpnet-objects"),
    _phpnet("phpnet/cascaded-objects", "Table V, (b)", *_ACC_COL, Loss("presence", 0.05, {"network": "phi"})),
    _phpnet(
        "phpnet/shared-segmentation", "Table V, (c)", *_ACC_COL, Loss("semantic", 0.05), model="phpnet-segmentation"
    ),
    # The presence of classes, for Table V (b), weighs what Zhang et al. 2018 give it.
    _segmenting("phi", "Eq. 5, Φ", Loss("semantic"), Loss("presence", 0.2)),
    _segmenting("espnet", "Table VI, ESPNet"),
    _segmenting("espnet/rain", "Table VI, finetuned on rain", rain="streets", **_FINE_TUNING),
    # Its photographs are derained streets, made by a network beforehand.
    _segmenting("espnet/derained", "Table VI, finetuned on derained streets", **_FINE_TUNING),
    _segmenting("pspnet", "Table VI, PSPNet"),
]
RECIPES = {recipe.name: recipe for recipe in _ALL}
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
    if scale not in SCALES:
        raise RecipeError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
    recipe = RECIPES[name]
    found = recipe.replace(**SCALES[scale] | _own(recipe, scale) | changes)
    return _as_started(found, _fixed(recipe, scale) | changes.get("options", {})) if found.start else found


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


def _own(recipe: Recipe, scale: str) -> dict:
    """What a scale changes for this recipe only: a network's options, a segmenter's crops, files that are wanted."""
    changes = {"options": _fixed(recipe, scale)}
    build, _ = (models.VARIANTS | models.SEGMENTERS)[recipe.model]
    if scale in STAGES and "stages" in inspect.signature(build).parameters:
        changes["options"] = {"stages": STAGES[scale]} | recipe.options
    if scale == "quick" and recipe.criterion == "miou":
        changes |= {"patch": 192, "paired": 0.0}
    if scale == "tiny":
        changes |= {"losses": tuple(map(_without_files, recipe.losses)), "start": ""}
    return changes


def _without_files(loss: Loss) -> Loss:
    """The term as it runs where no weights of a VGG or a segmenter are at hand."""
    if loss.segmenter:
        return dataclasses.replace(loss, options=loss.options | {"network": "random"})
    return _perceptual(loss, "random")


def _perceptual(loss: Loss, vgg: str) -> Loss:
    """The term with these VGG weights, if it has any."""
    return dataclasses.replace(loss, options=loss.options | {"weights": vgg}) if loss.term == "perceptual" else loss
