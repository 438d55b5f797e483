"""The background accuracy of PHPNet: absolute error, rounded off at zero, against a truth with or without details."""

import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses.term import Comparison

KERNELS = (3, 5, 7, 9)
"""Sizes of the Gaussian low-pass kernels among which the paper chooses."""


def coarse(layers: Layers) -> Layers:
    """The layers with X^c in the background's place; those of a network that has (or keeps) no X^c as they are.

    X^c is the output of PHPNet's first sub-network, `layers.extras["coarse"]`.
    """
    image = (layers.extras or {}).get("coarse")
    return layers if image is None else layers._replace(background=image)


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

    Args:
        on: "background" (B̂ against B), "rain" (R̂ against O − B as stored) or "coarse": X^c against B, for networks
            without X^c the background. Under stages="all" the stages are supervised, which have X^c among them, and
            "coarse" is the same as "background".
        epsilon: ε > 0, on the scale of the image.
        lowpass: size of the Gaussian kernel through which the truth goes: 3, 5, 7 or 9; 0 leaves it as it is.
        stages, early, last, normaliser: as in `Term`.

    Raises:
        DerainError: an unknown option.
    """

    name = "charbonnier"

    def __init__(
        self,
        on: str = "background",
        epsilon: float = 1e-6,
        lowpass: int = 0,
        stages: str = "last",
        early: float = 0.5,
        last: float = 1.5,
        normaliser: str = "mean",
    ):
        if on not in ("background", "rain", "coarse"):
            raise DerainError(f"this loss acts on 'background', 'rain' or 'coarse', not {on!r}")
        if not epsilon > 0:
            raise DerainError(f"epsilon is {epsilon!r}; give a number above 0")
        if lowpass not in (0, *KERNELS):
            raise DerainError(f"lowpass is {lowpass!r}; give {', '.join(map(str, KERNELS))}, or 0 for none")
        super().__init__("rain" if on == "rain" else "background", stages, early, last, normaliser)
        self.coarse, self.epsilon, self.lowpass = on == "coarse", epsilon, lowpass

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        difference = estimate - (low_pass(truth, self.lowpass) if self.lowpass else truth)
        # Not the root of a sum of squares: ε² is nothing in half precision, and the root has no slope at nothing.
        return torch.hypot(difference, difference.new_tensor(self.epsilon)).mean(1, keepdim=True)

    def _picture(self, layers: Layers, pair: Pair) -> Tensor:
        return super()._picture(coarse(layers) if self.coarse else layers, pair)
