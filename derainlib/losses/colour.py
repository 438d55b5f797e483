"""The colour alignment of PHPNet: the angle between what a pixel's colour is and what it should be."""

from typing import Literal

import torch
from torch import Tensor

from derainlib.losses.term import Comparison, Positive

BLACK = 0.5 / 255
"""An RGB vector shorter than half a grey level is stored as black."""


class Colour(Comparison):
    """Eq. 4 of PHPNet: L_col = 1 − (1/N) Σ_i X_i · X_i^gt / (‖X_i‖₂ ‖X_i^gt‖₂), over the N pixels' RGB vectors.

    0 where a colour is right in all but its brightness, 1 where it is at a right angle to the truth, 2 where opposite.
    Brightness changes nothing; the background accuracy looks after that.

    Black has no colour, and the printed fraction no value there. Where the truth is black the pixel counts as 0, and
    has no gradient. An estimate shorter than `black` is divided by `black` in place of its length: the fraction then
    falls to 0 as the estimate gets dark, and the gradient is that of a plane, 1/`black` long at most, which turns the
    estimate towards the true colour.
    """

    name = "colour"

    on: Literal["coarse", "background"] = "coarse"
    """As in `Comparison`; Eq. 5 gives X^c to this term. Rain has no colour."""
    black: Positive = BLACK
    """Length below which an RGB vector counts as black, on the scale of the image."""

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        estimate, length = self._direction(estimate)
        truth, true_length = self._direction(truth)
        # 1 − u·v of unit vectors is half their squared distance, which rounding does not turn into noise near 0.
        apart = (estimate - truth).square().sum(1, keepdim=True) / 2
        darkness = 1 - (length / self.black).clamp_max(1).square()
        return (apart + darkness / 2) * (true_length >= self.black)

    def _direction(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Each pixel's vector divided by its length, at least `black`, and the length: (N, 3, H, W), (N, 1, H, W)."""
        length = torch.linalg.vector_norm(image, dim=1, keepdim=True)
        return image / length.clamp_min(self.black), length
