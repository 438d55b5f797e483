"""Losses on pixels alone."""

from torch import Tensor

from derainlib.losses.term import Term


class MSE(Term):
    """Squared error, Eq. 15 of Ren et al.: ℓ(a, a^gt) = ‖a − a^gt‖², here its mean over pixels and channels.

    The mean differs from the printed sum by the number of values, so that the weight of a sum of losses does not
    depend on the patch size.
    """

    def pixelwise(self, estimate: Tensor, truth: Tensor) -> Tensor:
        return (estimate - truth).square().mean(1, keepdim=True)
