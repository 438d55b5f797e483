"""The colour alignment of PHPNet: the angle between what a pixel's colour is and what it should be."""

import torch
from torch import Tensor

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses.charbonnier import coarse
from derainlib.losses.term import Term

BLACK = 0.5 / 255
"""An RGB vector shorter than half a grey level is stored as black."""


class Colour(Term):
    """Eq. 4 of PHPNet: L_col = 1 − (1/N) Σ_i X_i · X_i^gt / (‖X_i‖₂ ‖X_i^gt‖₂), over the N pixels' RGB vectors.

    0 where a colour is right in all but its brightness, 1 where it is at a right angle to the truth, 2 where opposite.
    Brightness changes nothing; the background accuracy looks after that.

    Black has no colour, and the printed fraction no value there. Where the truth is black the pixel counts as 0, and
    has no gradient. An estimate shorter than `black` is divided by `black` in place of its length: the fraction then
    falls to 0 as the estimate gets dark, and the gradient is that of a plane, 1/`black` long at most, which turns the
    estimate towards the true colour.

    Args:
        on: "coarse", the output X^c of PHPNet's first sub-network, which Eq. 5 gives to this term (for networks
            without X^c the background), or "background". Under stages="all" the stages are supervised, which have X^c
            among them, and "coarse" is the same as "background".
        black: length below which an RGB vector counts as black, > 0, on the scale of the image.
        stages, early, last, normaliser: as in `Term`.

    Raises:
        DerainError: an unknown option.
    """

    name = "colour"

    def __init__(
        self,
        on: str = "coarse",
        black: float = BLACK,
        stages: str = "last",
        early: float = 0.5,
        last: float = 1.5,
        normaliser: str = "mean",
    ):
        super().__init__(stages, early, last, normaliser)
        if on not in ("coarse", "background"):
            raise DerainError(f"the colour loss acts on 'coarse' or 'background', not {on!r}")
        if not black > 0:
            raise DerainError(f"black is {black!r}; give a length above 0")
        self.on, self.black = on, black

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        estimate, length = self._direction(background)
        truth, true_length = self._direction(pair.clean)
        # 1 − u·v of unit vectors is half their squared distance, which rounding does not turn into noise near 0.
        apart = (estimate - truth).square().sum(1, keepdim=True) / 2
        darkness = 1 - (length / self.black).clamp_max(1).square()
        return (apart + darkness / 2) * (true_length >= self.black)

    def _direction(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Each pixel's vector divided by its length, at least `black`, and the length: (N, 3, H, W), (N, 1, H, W)."""
        length = torch.linalg.vector_norm(image, dim=1, keepdim=True)
        return image / length.clamp_min(self.black), length

    def _picture(self, layers: Layers, pair: Pair) -> Tensor:
        return super()._picture(coarse(layers) if self.on == "coarse" else layers, pair)
