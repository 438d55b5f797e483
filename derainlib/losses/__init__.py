"""Loss terms: one idea, one file. Any network trains with any weighted sum of them."""

from derainlib.losses.auxiliary import Auxiliary
from derainlib.losses.balance import Fixed
from derainlib.losses.detail import Detail
from derainlib.losses.perceptual import Perceptual
from derainlib.losses.pixel import L1, MSE, NegativePSNR
from derainlib.losses.quasi_sparsity import QuasiSparsity
from derainlib.losses.ssim import NegativeSSIM

TERMS = {
    "mse": MSE,
    "l1": L1,
    "psnr": NegativePSNR,
    "ssim": NegativeSSIM,
    "quasi_sparsity": QuasiSparsity,
    "detail": Detail,
    "auxiliary": Auxiliary,
    "perceptual": Perceptual,
}
"""The terms by the name that recipes use; a recipe adds the arguments."""

__all__ = [
    "L1",
    "MSE",
    "TERMS",
    "Auxiliary",
    "Detail",
    "Fixed",
    "NegativePSNR",
    "NegativeSSIM",
    "Perceptual",
    "QuasiSparsity",
]
