"""The background accuracy of PHPNet: absolute error, rounded off at zero, against a truth with or without details."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import DerainError
from derainlib.losses.term import Comparison, Positive

KERNELS = (3, 5, 7, 9)
"""Sizes of the Gaussian low-pass kernels among which the paper chooses."""


def deviation(size: int) -> float:
    """Standard deviation σ in pixels of the kernel of `size`: 0.3 ((size − 1)/2 − 1) + 0.8.

    The paper names sizes alone. This is the rule by which OpenCV derives σ from a size: 0.8, 1.1, 1.4 and 1.7 for 3,
    5, 7 and 9; the kernels end at 1.25 to 2.4 σ.
    """
    return 0.3 * ((size - 1) / 2 - 1) + 0.8


def low_pass(image: Tensor, size: int) -> Tensor:
    """The image without its finest details: a Gaussian of size x size pixels and σ = `deviation(size)`, summing to 1.

    Beyond the border the image goes on with its last row and column, so that a constant stays what it is.

    Args:
        image: (N, C, H, W), float, any range and size.
        size: 3, 5, 7 or 9.

    Returns:
        (N, C, H, W).

    Raises:
        DerainError: a size that is none of these.
    """
    if size not in KERNELS:
        raise DerainError(f"a low-pass kernel has a size of {', '.join(map(str, KERNELS))}; got {size!r}")
    radius, channels = size // 2, image.shape[1]
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    weights = torch.exp(-(offsets**2) / (2 * deviation(size) ** 2))
    column = (weights / weights.sum()).view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    with torch.autocast(image.device.type, enabled=False):  # half precision would shift the truth by a grey level
        return F.conv2d(F.conv2d(padded, column, groups=channels), column.transpose(2, 3), groups=channels)


class Charbonnier(Comparison):
    """Eq. 3 of PHPNet: ℓ(a, a^gt) = √((a − a^gt)² + ε²), for every value; its two summands are two of these terms.

    The first sub-network's X^c is held to a truth that went through a low-pass, so that it need not care for details
    (`on="coarse"` and a `lowpass`), and the final X to the truth itself (`on="background"`). Far from zero this is
    the absolute error, within ε of zero a parabola, and never below ε.

    The paper filters with four kernels and lets people choose one of them, in which the content can be told and the
    details not; it does not say which they chose. It prints no ε: 10⁻⁶ is that of the reference it gives for this
    error, Xu et al. 2017, "Deep image matting".
    """

    name = "charbonnier"

    epsilon: Positive = 1e-6
    """ε, on the scale of the image."""
    lowpass: Literal[0, *KERNELS] = 0
    """Size of the Gaussian kernel through which the truth goes; 0 leaves it as it is."""

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        difference = estimate - (low_pass(truth, self.lowpass) if self.lowpass else truth)
        # Not the root of a sum of squares: ε² is nothing in half precision, and the root has no slope at nothing.
        return torch.hypot(difference, difference.new_tensor(self.epsilon)).mean(1, keepdim=True)
