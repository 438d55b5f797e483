"""Losses on pixels alone."""

from torch import Tensor

from derainlib.losses.term import Comparison, Positive


class MSE(Comparison):
    """Squared error, Eq. 15 of Ren et al.: ℓ(a, a^gt) = ‖a − a^gt‖², here its mean over pixels and channels.

    The mean differs from the printed sum by the number of values, so that the weight of a sum of losses does not
    depend on the patch size; `normaliser="sum"` is the printed sum. With `scale=255` it is the reconstruction loss of
    MENET, Eq. 3 and 4, 255² times as large.
    """

    name = "mse"

    scale: Positive = 1
    """What the images are multiplied by; 255 for values in 0..255."""

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        difference = estimate - truth if self.scale == 1 else self.scale * (estimate - truth)
        return difference.square().mean(1, keepdim=True)


class L1(Comparison):
    """Absolute error, the content loss of QSNet (Eq. 10): L_C = Σ |O − S(O) − B| = Σ |B̂ − B|.

    Where one input has several plausible truths, the squared error asks for their mean and the absolute error for
    their median. With `on="rain"` the value is the same for every network whose layers add up to O.
    """

    name = "l1"

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        return (estimate - truth).abs().mean(1, keepdim=True)


class NegativePSNR(Comparison):
    """ℓ(a, a^gt) = −PSNR in dB, 10·log10 of each image's mean squared error, averaged over the images.

    No loss of the five papers. MSE listens mostly to heavy rain, whose errors are the largest; here every image has
    the same say, as in the mean PSNR of a table. Each pixel's share in the map is its share in the image's squared
    error.

    The reward must end somewhere: ℓ = 10·log10(MSE + 10^(−ceiling/10)), which nears −ceiling as the images become
    equal. Among photographs of which some are dry, a network without a low ceiling learns to do nothing at all: on a
    dry one that is rewarded without end.
    """

    name = "psnr"
    signed = True

    ceiling: Positive = 100.0
    """Largest PSNR that is rewarded, in dB."""

    def compare(self, estimate: Tensor, truth: Tensor) -> Tensor:
        error = (estimate - truth).square().mean(1, keepdim=True).clamp_min(1e-12)
        average = error.mean((1, 2, 3), keepdim=True)
        return 10 * (average + 10 ** (-self.ceiling / 10)).log10() * (error / average).detach()
