"""Loss terms: one idea, one file. Any network trains with any weighted sum of them."""

from derainlib.losses.auxiliary import Auxiliary
from derainlib.losses.balance import BALANCES, Fixed, GradientBalanced, LossBalanced, Uncertainty
from derainlib.losses.charbonnier import Charbonnier
from derainlib.losses.colour import Colour
from derainlib.losses.detail import Detail
from derainlib.losses.edge import Edge
from derainlib.losses.perceptual import Perceptual
from derainlib.losses.pixel import L1, MSE, NegativePSNR
from derainlib.losses.quasi_sparsity import QuasiSparsity
from derainlib.losses.semantic import Presence, Semantic
from derainlib.losses.ssim import NegativeSSIM
from derainlib.losses.texture import Texture

TERMS = {
    "mse": MSE,
    "l1": L1,
    "psnr": NegativePSNR,
    "ssim": NegativeSSIM,
    "quasi_sparsity": QuasiSparsity,
    "detail": Detail,
    "auxiliary": Auxiliary,
    "perceptual": Perceptual,
    "charbonnier": Charbonnier,
    "colour": Colour,
    "semantic": Semantic,
    "presence": Presence,
    "edge": Edge,
    "texture": Texture,
}
"""The terms by the name that recipes use; a recipe adds the arguments."""

__all__ = [
    "BALANCES",
    "L1",
    "MSE",
    "TERMS",
    "Auxiliary",
    "Charbonnier",
    "Colour",
    "Detail",
    "Edge",
    "Fixed",
    "GradientBalanced",
    "LossBalanced",
    "NegativePSNR",
    "NegativeSSIM",
    "Perceptual",
    "Presence",
    "QuasiSparsity",
    "Semantic",
    "Texture",
    "Uncertainty",
]
