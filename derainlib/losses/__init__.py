"""Loss terms: one idea, one file. Any network trains with any weighted sum of them."""

from derainlib.losses.balance import Fixed
from derainlib.losses.pixel import MSE
from derainlib.losses.ssim import NegativeSSIM

TERMS = {"mse": MSE, "ssim": NegativeSSIM}
"""The terms by the name that recipes use; a recipe adds the arguments."""

__all__ = ["MSE", "TERMS", "Fixed", "NegativeSSIM"]
