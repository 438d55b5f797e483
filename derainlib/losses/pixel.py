"""Losses on pixels alone."""

from torch import Tensor

from derainlib.losses.term import Comparison


class MSE(Comparison):
    """Squared error, Eq. 15 of Ren et al.: ℓ(a, a^gt) = ‖a − a^gt‖², here its mean over pixels and channels.

    The mean differs from the printed sum by the number of values, so that the weight of a sum of losses does not
    depend on the patch size; `normaliser="sum"` is the printed sum.
    """

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        return (estimate - truth).square().mean(1, keepdim=True)


class L1(Comparison):
    """Absolute error, the content loss of QSNet (Eq. 10): L_C = Σ |O − S(O) − B| = Σ |B̂ − B|.

    Where one input has several plausible truths, the squared error asks for their mean and the absolute error for
    their median. With `on="rain"` the value is the same for every network whose layers add up to O.
    """

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        return (estimate - truth).abs().mean(1, keepdim=True)


class NegativePSNR(Comparison):
    """ℓ(a, a^gt) = −PSNR in dB, 10·log10 of each image's mean squared error, averaged over the images.

    No loss of the five papers. MSE listens mostly to heavy rain, whose errors are the largest; here every image has
    the same say, as in the mean PSNR of a table. Each pixel's share in the map is its share in the image's squared
    error. An error below 1e-10 counts as 1e-10 (100 dB), so that equal images have a finite loss.
    """

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        error = (estimate - truth).square().mean(1, keepdim=True).clamp_min(1e-10)
        average = error.mean((1, 2, 3), keepdim=True)
        return 10 * average.log10() * (error / average).detach()
