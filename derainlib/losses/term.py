"""What every loss term is: a small module that judges the estimated layers, stage by stage if asked.

`term(layers, pair)` is a scalar; `term.map(layers, pair)` is the picture, (N, 1, H, W), that averages to it.
"""

from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair


class Term(nn.Module):
    """A loss on the estimated layers, on the last stage or on all of them.

    Supervising all stages is Ren et al.'s recursive loss (Eq. 9; Eq. 10 on the background, Eq. 11 on the rain):

        L = Σ_t λ_t ℓ(x^t, x^gt),  λ_t = `early` for t < T,  λ_T = `last`

    and supervising the last stage alone is Eq. 13.

    Papers print sums over images, pixels and channels. Here every term is such a sum divided by one shared
    normaliser, the number of values N·3·H·W, so that a weight means the same at every patch and batch size. Since the
    normaliser is shared, the ratios between the weights of a sum of terms are those of the literal sums, which
    `normaliser="sum"` gives.

    Args:
        stages: "last" or "all".
        early: λ_t of every stage before the last (paper: 0.5). Only read when stages="all".
        last: λ_T (paper: 1.5). Only read when stages="all".
        normaliser: "mean" divides by N·3·H·W; "sum" does not, and sums over the images of one call.

    Raises:
        DerainError: an unknown `stages` or `normaliser`.
    """

    name: str
    """What recipes call the loss; a class without a name of its own is no loss by itself."""
    signed = False
    """Whether the loss can be negative, as −SSIM is; weights that come from the size of losses refuse it."""

    def __init__(self, stages: str = "last", early: float = 0.5, last: float = 1.5, normaliser: str = "mean"):
        super().__init__()
        if stages not in ("last", "all"):
            raise DerainError(f"a loss supervises the 'last' stage or 'all', not {stages!r}")
        if normaliser not in ("mean", "sum"):
            raise DerainError(f"a loss is normalised as a 'mean' or left a 'sum', not {normaliser!r}")
        self.stages, self.early, self.last, self.normaliser = stages, early, last, normaliser

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        """ℓ of one stage's estimates at every pixel, averaged over channels: (N, 3, H, W) twice → (N, 1, H, W)."""
        raise NotImplementedError

    def map(self, layers: Layers, pair: Pair) -> Tensor:
        """The loss as a picture, (N, 1, H, W): its mean, or its sum with `normaliser="sum"`, is `forward`.

        Raises:
            DerainError: all stages are to be supervised and the network was not asked to keep them, or has none.
        """
        picture = self._picture(layers, pair)
        return picture if self.normaliser == "mean" else pair.clean.shape[1] * picture

    def forward(self, layers: Layers, pair: Pair) -> Tensor:
        """The scalar loss: the mean (or sum) of `map`."""
        picture = self.map(layers, pair)
        return picture.mean() if self.normaliser == "mean" else picture.sum()

    def _picture(self, layers: Layers, pair: Pair) -> Tensor:
        if self.stages == "last":
            return self.pixelwise(layers.background, layers.rain, pair)
        if not layers.stages:
            raise DerainError("this loss supervises every stage: call a network that has stages with keep=True")
        weights = [self.early] * (len(layers.stages) - 1) + [self.last]
        each = zip(weights, layers.stages, layers.rain_stages, strict=True)
        return sum(weight * self.pixelwise(background, rain, pair) for weight, background, rain in each)


class Comparison(Term):
    """A loss between one estimated layer and its truth.

    Args:
        on: "background" (B̂ against B) or "rain" (R̂ against O − B as stored).
        stages, early, last, normaliser: as in `Term`.

    Raises:
        DerainError: an unknown `on`, `stages` or `normaliser`.
    """

    def __init__(
        self,
        on: str = "background",
        stages: str = "last",
        early: float = 0.5,
        last: float = 1.5,
        normaliser: str = "mean",
    ):
        super().__init__(stages, early, last, normaliser)
        if on not in ("background", "rain"):
            raise DerainError(f"a loss acts on 'background' or 'rain', not {on!r}")
        self.on = on

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """ℓ at every pixel: (N, 3, H, W) twice → (N, 1, H, W)."""
        raise NotImplementedError

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        """`compare` on the layer that the loss acts on."""
        return self.compare(background, pair.clean) if self.on == "background" else self.compare(rain, pair.rain)
