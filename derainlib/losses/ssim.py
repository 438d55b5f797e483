"""Structural similarity as a loss."""

from torch import Tensor

from derainlib.losses.term import Comparison
from derainlib.metrics import ssim_map


class NegativeSSIM(Comparison):
    """Eq. 14 of Ren et al.: ℓ(a, a^gt) = −SSIM(a, a^gt), between −1 (equal) and 1.

    As the authors' code has it: an 11x11 Gaussian window of σ = 1.5, each channel by itself, the border padded with
    zeros so that the map has the image's size. In [0, 1] images; computed in float32 whatever the network's dtype.
    """

    name = "ssim"

    dissimilarity: bool = False
    """1 − SSIM in place of −SSIM: the same gradient, and between 0 and 2. Weights that come from the size of a loss
    (`derainlib.losses.balance`) need that."""

    @property
    def signed(self) -> bool:
        return not self.dissimilarity

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        similarity = ssim_map(estimate, truth, padding="zero").mean(1, keepdim=True)
        return -similarity if self.signed else 1 - similarity
