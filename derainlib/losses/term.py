"""What every loss term is: a small module that judges the estimated layers, stage by stage if asked.

`term(layers, pair)` is a scalar; `term.map(layers, pair)` is the picture, (N, 1, H, W), that averages to it.

What a term's options are is said once, by its fields. Those that many share stand in the three classes of which a loss
chooses the one that fits it:

    Comparison(Staged)    `compare(estimate, truth)`                 on: the background, the rain or the coarse image
    Staged(Term)          `pixelwise(background, rain, pair)`        stages, early, last: the last stage or all
    Term                  `picture(layers, pair)`                    normaliser: a mean or a sum
"""

from dataclasses import dataclass, fields
from inspect import signature
from numbers import Real
from typing import Annotated, ClassVar, Literal, dataclass_transform, get_args, get_origin

from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair

Positive = Annotated[float, "above 0"]
"""The type of an option that is a number above 0."""


@dataclass_transform(kw_only_default=True, eq_default=False)
@dataclass(kw_only=True, eq=False, repr=False)
class Term(nn.Module):
    """A loss on the estimated layers.

    Papers print sums over images, pixels and channels. Here every term is such a sum divided by one shared
    normaliser, the number of values N·3·H·W, so that a weight means the same at every patch and batch size. Since the
    normaliser is shared, the ratios between the weights of a sum of terms are those of the literal sums, which
    `normaliser="sum"` gives.

    Every child is a dataclass: what it annotates in its body is an option, a keyword of its constructor. Options of
    the type `Literal` or `Positive` are checked; `__post_init__` has room for more.

    Raises:
        DerainError: an unknown option, or a value that an option does not have.
    """

    name: ClassVar[str]
    """What recipes call the loss; a class without a name of its own is no loss by itself."""
    signed: ClassVar[bool] = False
    """Whether the loss can be negative, as −SSIM is; weights that come from the size of losses refuse it."""

    normaliser: Literal["mean", "sum"] = "mean"
    """"mean" divides by N·3·H·W; "sum" does not, and sums over the images of one call."""

    def __init_subclass__(cls):
        super().__init_subclass__()
        dataclass(cls, kw_only=True, eq=False, repr=False)
        for option in fields(cls):
            if option.name in vars(cls):
                delattr(cls, option.name)  # the default, which would hide a module of this name

    def __new__(cls, /, *_, **options):
        known = signature(cls).parameters
        unknown = [option for option in options if option not in known]
        if unknown:
            name = getattr(cls, "name", cls.__name__)
            raise DerainError(f"loss {name} has no option {', '.join(unknown)}; it takes {', '.join(known)}")
        term = super().__new__(cls)
        nn.Module.__init__(term)  # here, since a dataclass sets its fields at once and some are modules
        return term

    def __post_init__(self):
        for option in fields(self):
            value, choices = getattr(self, option.name), get_args(option.type)
            if get_origin(option.type) is Literal and value not in choices:
                raise DerainError(f"{option.name} must be one of {', '.join(map(str, choices))}; got {value!r}")
            if option.type is Positive and not (isinstance(value, Real) and value > 0):
                raise DerainError(f"{option.name} is {value!r}; give a number above 0")

    def picture(self, layers: Layers, pair: Pair) -> Tensor:
        """The loss at every pixel, averaged over channels, (N, 1, H, W)."""
        raise NotImplementedError

    def map(self, layers: Layers, pair: Pair) -> Tensor:
        """The loss as a picture, (N, 1, H, W): its mean, or its sum with `normaliser="sum"`, is `forward`.

        Raises:
            DerainError: the network has, or was asked to keep, no such stages or extras.
        """
        picture = self.picture(layers, pair)
        return picture if self.normaliser == "mean" else pair.clean.shape[1] * picture

    def forward(self, layers: Layers, pair: Pair) -> Tensor:
        """The scalar loss: the mean (or sum) of `map`."""
        picture = self.map(layers, pair)
        return picture.mean() if self.normaliser == "mean" else picture.sum()


class Staged(Term):
    """A loss on the layers of the last stage, or on those of all stages.

    Supervising all stages is Ren et al.'s recursive loss (Eq. 9; Eq. 10 on the background, Eq. 11 on the rain):

        L = Σ_t λ_t ℓ(x^t, x^gt),  λ_t = `early` for t < T,  λ_T = `last`

    and supervising the last stage alone is Eq. 13.
    """

    stages: Literal["last", "all"] = "last"
    """Which stages are supervised."""
    early: float = 0.5
    """λ_t of every stage before the last (paper: 0.5). Only read when stages="all"."""
    last: float = 1.5
    """λ_T (paper: 1.5). Only read when stages="all"."""

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        """ℓ of one stage's estimates at every pixel, averaged over channels: (N, 3, H, W) twice → (N, 1, H, W)."""
        raise NotImplementedError

    def picture(self, layers: Layers, pair: Pair) -> Tensor:
        if self.stages == "last":
            return self.pixelwise(layers.background, layers.rain, pair)
        if not layers.stages:
            raise DerainError("this loss supervises every stage: call a network that has stages with keep=True")
        weights = [self.early] * (len(layers.stages) - 1) + [self.last]
        each = zip(weights, layers.stages, layers.rain_stages, strict=True)
        return sum(weight * self.pixelwise(background, rain, pair) for weight, background, rain in each)


class Comparison(Staged):
    """A loss between one estimated image and its truth."""

    on: Literal["background", "rain", "coarse"] = "background"
    """What is compared: "background" (B̂ with B), "rain" (R̂ with O − B as stored), or "coarse": X^c, the output of
    PHPNet's first sub-network, with B; for networks without X^c the background. Under stages="all" the stages are
    supervised, which have X^c among them, and "coarse" is the same as "background"."""

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """ℓ at every pixel: (N, 3, H, W) twice → (N, 1, H, W)."""
        raise NotImplementedError

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        return self.compare(rain, pair.rain) if self.on == "rain" else self.compare(background, pair.clean)

    def picture(self, layers: Layers, pair: Pair) -> Tensor:
        return super().picture(coarse(layers) if self.on == "coarse" else layers, pair)


def coarse(layers: Layers) -> Layers:
    """The layers with X^c in the background's place; those of a network that has (or keeps) no X^c as they are."""
    kept = layers.kept("coarse")
    return layers._replace(background=kept[0]) if kept else layers
