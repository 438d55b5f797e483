"""The edge-aware loss of MENET: what the Sobel filters see."""

import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.losses.term import Comparison, Positive

SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
"""The kernel that responds to a change from left to right; transposed, to one from top to bottom."""


def sobel(image: Tensor) -> Tensor:
    """φ: the Sobel responses of each channel, signed; at the border the image goes on mirrored.

    A step of height 1 gives 4, and a slope of 1 per pixel 8.

    Args:
        image: (N, C, H, W), float, H, W ≥ 2.

    Returns:
        (N, 2C, H, W): horizontal and vertical derivative of the first channel, then of the second …
    """
    across = torch.tensor(SOBEL, dtype=image.dtype, device=image.device)
    kernels = torch.stack([across, across.T])[:, None]
    channels = image.shape[1]
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(padded, kernels.repeat(channels, 1, 1, 1), groups=channels)


class Edge(Comparison):
    """The edge-aware loss, Eq. 5 and 6 of MENET: ℓ(y, ŷ) = ‖φ(y) − φ(ŷ)‖²_F / CHW, φ the Sobel filters (`sobel`).

    C counts the maps of φ, two a colour, as in the perceptual loss that the paper takes the form from and in the
    authors' code; were it the image's three, the value would be twice as large. The paper's fixed weight beside MSE is
    1e-2.

    An error that hardly varies costs hardly anything, waves of a period of four pixels 32 times their squared error:
    unlike MSE, the loss asks first for sharp edges, and for smooth areas to stay smooth. To waves of a period of two
    pixels the filters are blind; the loss needs MSE beside it.
    """

    name = "edge"

    scale: Positive = 255
    """What the images are multiplied by; 255 for values in 0..255, which the paper's weights belong to."""

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        difference = self.scale * (estimate - truth)
        with torch.autocast(difference.device.type, enabled=False):  # squares of 255 · 8 are too much for float16
            wide = difference.to(torch.promote_types(difference.dtype, torch.float32))
            return sobel(wide).square().mean(1, keepdim=True)
