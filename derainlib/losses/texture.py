"""The texture matching loss of MENET: which patches an image is made of, wherever they lie."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses.term import Comparison, Positive

PATCH = 4
"""K: side of a patch (paper: 4)."""


def patches(image: Tensor, size: int = PATCH) -> Tensor:
    """(·)_p: the image as a matrix with a patch a column, side by side without overlap.

    Rows and columns that fill no whole patch, below and to the right, are left out.

    Args:
        image: (N, C, H, W), H, W ≥ size.
        size: K.

    Returns:
        (N, C K², M), M = ⌊H/K⌋⌊W/K⌋; a column holds the patch's first channel row by row, then the second …
    """
    height, width = (side // size * size for side in image.shape[-2:])
    return F.pixel_unshuffle(image[:, :, :height, :width], size).flatten(2)


def gram(columns: Tensor) -> Tensor:
    """G(F) = F Fᵀ, (N, n, M) → (N, n, n)."""
    return columns @ columns.mT


class Texture(Comparison):
    """The texture matching loss, Eq. 7 and 8 of MENET: ℓ(y, ŷ) = ‖G(y_p) − G(ŷ_p)‖²_F.

    y_p are the image's 4x4 patches (`patches`), CK² = 48 numbers each, and G their Gram matrix (`gram`): which pairs
    of values occur together in a patch, summed over the image. Where a patch lies does not matter; an image whose
    patches were swapped has the loss zero.

    Forms:
        "mean": G is divided by the number of patches M. The loss does not depend on the image's size, and is that of
            an average patch.
        "literal": G as printed, a sum. The loss grows with M², and with the fourth power of `scale`: on patches of
            224² pixels it is 10⁷ times "mean", and beside it MSE and edges have no say at fixed weights.
        "scalar": the authors' code takes the mean of the printed G's 48² entries first, and squares the difference of
            these two numbers.

    The loss of a batch is the mean over its images. It is not a sum over patches; but with Δ = G(ŷ_p) − G(y_p) and
    e, s the difference and the sum of an estimated patch and the true one,

        Δ = ½ Σ_m (e_m s_mᵀ + s_m e_mᵀ),  ‖Δ‖²_F = Σ_m e_mᵀ Δ s_m

    so `map` shows each patch's share e_mᵀ Δ s_m, evenly on its pixels: negative where a patch makes up for others,
    zero on pixels of no whole patch. It averages to the loss.

    Raises:
        DerainError: when called, images smaller than a patch.
    """

    name = "texture"

    scale: Positive = 255
    """What the images are multiplied by; 255 for values in 0..255, as in the paper."""
    form: Literal["mean", "literal", "scalar"] = "mean"
    """How the Gram matrices are compared."""

    def forward(self, layers: Layers, pair: Pair) -> Tensor:
        """The scalar loss: the mean (or sum) of `map`, not below zero, where rounding may bring shares that cancel."""
        return super().forward(layers, pair).clamp_min(0)

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        height, width = estimate.shape[-2:]
        if min(height, width) < PATCH:
            raise DerainError(f"texture needs images of at least {PATCH} x {PATCH} pixels; got {width} x {height}")
        with torch.autocast(estimate.device.type, enabled=False):
            wide = torch.promote_types(estimate.dtype, torch.float32)
            estimate, truth = self.scale * estimate.to(wide), self.scale * truth.to(wide)
            difference, total = patches(estimate - truth), patches(estimate + truth)
            count = difference.shape[2]
            # The difference of two Gram matrices, each rounded by itself, would be lost near the truth.
            half = difference @ total.mT / (2 * (count if self.form == "mean" else 1))
            delta = half + half.mT
            if self.form == "scalar":
                delta = (delta.mean((1, 2), keepdim=True) / delta[0].numel()).expand_as(delta)
            shares = (difference * (delta @ total)).sum(1)
            if self.form != "mean":
                shares = shares * count
            return _laid_out(shares, height, width)


def _laid_out(shares: Tensor, height: int, width: int) -> Tensor:
    """A value a patch, (N, M) → the same on the patch's pixels, (N, 1, height, width), with the same mean."""
    rows, columns = height // PATCH, width // PATCH
    picture = shares.view(-1, 1, rows, columns).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    rest = (0, width % PATCH, 0, height % PATCH)
    return F.pad(picture, rest) * (height * width / picture[0].numel())
