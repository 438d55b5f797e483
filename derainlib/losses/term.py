"""What every loss term is: a small module that compares an estimate with its truth, stage by stage if asked.

`term(layers, pair)` is a scalar; `term.map(layers, pair)` is the picture, (N, 1, H, W), that averages to it.
"""

from torch import Tensor, nn

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair


class Term(nn.Module):
    """A loss between an estimated layer and its truth, on the last stage or on all of them.

    Supervising all stages is Ren et al.'s recursive loss (Eq. 9; Eq. 10 on the background, Eq. 11 on the rain):

        L = Σ_t λ_t ℓ(x^t, x^gt),  λ_t = `early` for t < T,  λ_T = `last`

    and supervising the last stage alone is Eq. 13.

    Args:
        on: "background" (B̂ against B) or "rain" (R̂ against O − B as stored).
        stages: "last" or "all".
        early: λ_t of every stage before the last (paper: 0.5). Only read when stages="all".
        last: λ_T (paper: 1.5). Only read when stages="all".

    Raises:
        DerainError: an unknown `on` or `stages`.
    """

    def __init__(self, on: str = "background", stages: str = "last", early: float = 0.5, last: float = 1.5):
        super().__init__()
        if on not in ("background", "rain"):
            raise DerainError(f"a loss acts on 'background' or 'rain', not {on!r}")
        if stages not in ("last", "all"):
            raise DerainError(f"a loss supervises the 'last' stage or 'all', not {stages!r}")
        self.on, self.stages, self.early, self.last = on, stages, early, last

    def pixelwise(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """ℓ at every pixel: (N, 3, H, W) twice → (N, 1, H, W)."""
        raise NotImplementedError

    def map(self, layers: Layers, pair: Pair) -> Tensor:
        """The loss as a picture, (N, 1, H, W); its mean is `forward`.

        Raises:
            DerainError: all stages are to be supervised and the network was not asked to keep them.
        """
        truth = pair.clean if self.on == "background" else pair.rain
        if self.stages == "last":
            return self.pixelwise(getattr(layers, self.on), truth)
        estimates = layers.stages if self.on == "background" else layers.rain_stages
        if not estimates:
            raise DerainError("this loss supervises every stage: call the network with keep=True")
        weights = [self.early] * (len(estimates) - 1) + [self.last]
        return sum(weight * self.pixelwise(x, truth) for weight, x in zip(weights, estimates, strict=True))

    def forward(self, layers: Layers, pair: Pair) -> Tensor:
        """The scalar loss: the mean of `map`."""
        return self.map(layers, pair).mean()
