"""How close an estimate is to the truth: PSNR and SSIM, each under a named protocol; and how well a street is read.

Two papers may print different scores for one and the same image, because each step before the formula is a
choice: which channel, whether pixels were first stored as 8-bit numbers (and rounded or truncated), whether
SSIM shrinks a large image beforehand. A `Protocol` is one set of such choices, `PROTOCOLS` holds those in
use, and a score is always reported with the protocol in its name: `psnr_rgb`, `psnr_y`, `ssim_y`.

Why "1.2 dB less than the paper" is so common a question: MATLAB's Y runs from 16 to 235, so a grey error of e
on RGB is an error of 219/255·e on Y, while the peak in the PSNR stays 255. For grey errors, such as those of
grey rain, PSNR on Y is therefore higher by 20·log10(255/219) = 1.32 dB without a single pixel being better.

Segmentation is scored by `Confusion`: pixel accuracy and mean intersection over union, over the pixels of a whole set.

References:
    Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity.
    IEEE Transactions on Image Processing, 2004.
    ITU-R BT.601, in the digital form of MATLAB's rgb2ycbcr.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import DerainError, ImageError
from derainlib.layers import IGNORED

ROUNDING = 1e-6
"""How far a pixel may lie outside [0, 1]: a resized picture's white is easily 1.0000002."""

WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


@dataclass(frozen=True)
class Protocol:
    """What happens to an image before it is scored. The estimate is clamped to [0, 1] under every protocol.

    Attributes:
        name: how scores name it, as in `psnr_<name>`.
        about: one sentence: what it does and who uses it.
        channel: "rgb" scores the three channels alike; "y" their BT.601 luma, black 16, white 235, peak 255.
        quantise: how the estimate becomes 8-bit numbers first: "none" keeps it in float, "round" takes the
            nearest number (image libraries), "truncate" the one below (`uint8(255 * x)`, as in the test
            scripts of PReNet and BRN; at 40 dB it is worth up to 0.16 dB).
        round_y: whether Y too is rounded to whole numbers, as rgb2ycbcr does when it is given 8-bit images.
        shrink: whether SSIM first averages and subsamples by round(min(H, W) / 256), as its authors' ssim.m.
    """

    name: str
    about: str
    channel: Literal["rgb", "y"] = "y"
    quantise: Literal["none", "round", "truncate"] = "none"
    round_y: bool = False
    shrink: bool = False

    def __post_init__(self):
        if self.channel not in ("rgb", "y"):
            raise DerainError(f"protocol {self.name}: channel is 'rgb' or 'y', not {self.channel!r}")
        if self.quantise not in ("none", "round", "truncate"):
            raise DerainError(f"protocol {self.name}: quantise is 'none', 'round' or 'truncate', not {self.quantise!r}")
        if self.round_y and self.channel != "y":
            raise DerainError(f"protocol {self.name}: round_y needs channel='y'")


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "rgb",
            "Float RGB against float RGB: what most machine-learning code reports.",
            channel="rgb",
        ),
        Protocol(
            "rgb8",
            "The estimate rounded to 8 bits, RGB: what a saved file scores, and the damage done to a dry photograph.",
            channel="rgb",
            quantise="round",
        ),
        Protocol(
            "y",
            "Float luma (16–235, peak 255), SSIM at full size: the convention of deraining papers, without "
            "the storing of images in between; the tables of this project.",
        ),
        Protocol(
            "y-down",
            "The estimate truncated to 8 bits, float luma, SSIM after automatic downsampling: the scripts "
            "published with PReNet (SRN) and BRN.",
            quantise="truncate",
            shrink=True,
        ),
        Protocol(
            "y8",
            "The estimate rounded to 8 bits, luma rounded to 8 bits, SSIM at full size: the scripts "
            "published with MPRNet and Restormer.",
            quantise="round",
            round_y=True,
        ),
    )
}


def luma(image: Tensor) -> Tensor:
    """BT.601 luma as MATLAB's rgb2ycbcr defines it, over 255: black is 16/255, white 235/255.

        Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255

    Args:
        image: RGB, (N, 3, H, W) in [0, 1].

    Returns:
        Y, (N, 1, H, W) in [16/255, 235/255].
    """
    weights = image.new_tensor([65.481, 128.553, 24.966]).view(1, 3, 1, 1)
    return ((image * weights).sum(1, keepdim=True) + 16) / 255


def psnr(estimate: Tensor, truth: Tensor, protocol: str | Protocol = "rgb") -> Tensor:
    """Peak signal-to-noise ratio of each image, 10·log10(peak² / mean squared error).

    Args:
        estimate: RGB, (N, 3, H, W); values outside [0, 1] are clamped.
        truth: RGB, (N, 3, H, W) in [0, 1].
        protocol: a name in `PROTOCOLS`, or a `Protocol`.

    Returns:
        (N,) float64 in dB; infinite where the two images are equal under the protocol.

    Raises:
        ImageError: shapes differ or are not (N, 3, H, W); values that are not finite; a truth outside [0, 1].
        DerainError: an unknown protocol.
    """
    estimate, truth, _ = _prepare(estimate, truth, protocol)
    return -10 * (estimate - truth).square().mean(dim=(1, 2, 3)).log10()


def ssim(estimate: Tensor, truth: Tensor, protocol: str | Protocol = "y") -> Tensor:
    """Structural similarity of each image: the mean of `ssim_map` over "valid" windows and channels.

    Args:
        estimate: RGB, (N, 3, H, W); values outside [0, 1] are clamped.
        truth: RGB, (N, 3, H, W) in [0, 1].
        protocol: a name in `PROTOCOLS`, or a `Protocol`.

    Returns:
        (N,) float64, at most 1.

    Raises:
        ImageError: as `psnr`; and an image smaller than the 11x11 window.
        DerainError: an unknown protocol.
    """
    estimate, truth, protocol = _prepare(estimate, truth, protocol)
    if protocol.shrink:
        estimate, truth = shrink(estimate), shrink(truth)
    return ssim_map(estimate, truth).mean(dim=(1, 2, 3))


def named(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The function behind the name of a score: `named("psnr_y")(estimate, truth)`.

    Any of "psnr_", "ssim_" followed by a name in `PROTOCOLS`.

    Raises:
        DerainError: no such score.
    """
    measure, _, protocol = name.partition("_")
    measures = {"psnr": psnr, "ssim": ssim}
    if measure not in measures or protocol not in PROTOCOLS:
        known = ", ".join(f"{m}_{p}" for m in measures for p in PROTOCOLS)
        raise DerainError(f"no score is called {name!r}; choose from {known}")
    return partial(measures[measure], protocol=protocol)


def ssim_map(
    a: Tensor,
    b: Tensor,
    *,
    window: int = WINDOW,
    sigma: float = SIGMA,
    padding: Literal["valid", "zero", "reflect"] = "valid",
    data_range: float = 1.0,
) -> Tensor:
    """Structural similarity of each pixel and channel (Wang et al. 2004, Eq. 13), differentiable in both.

        SSIM = (2 μa μb + C1)(2 σab + C2) / ((μa² + μb² + C1)(σa² + σb² + C2))

    with means and (co)variances under a Gaussian window, C1 = (0.01 L)² and C2 = (0.03 L)². With d = a − b it
    is computed in the equal form

        SSIM = (1 − μd² / (μa² + μb² + C1)) · (1 − σd² / (σa² + σb² + C2))

    which needs four filtered maps in place of five, and loses no digits where the images are nearly equal.
    Half precision is raised to float32, inside autocast too: σ² is a small difference of large numbers.

    Args:
        a, b: images of any number of channels, (N, C, H, W).
        window: width of the Gaussian window, odd, in pixels.
        sigma: its standard deviation in pixels.
        padding: "valid" keeps the windows that lie inside the image (scores); "zero" and "reflect" extend the
            image, so that each pixel has a value (losses: SRN and BRN were trained with "zero").
        data_range: L, the distance between black and white.

    Returns:
        (N, C, H, W), or (N, C, H − window + 1, W − window + 1) for "valid"; float64 for float64 images, else
        float32.

    Raises:
        ImageError: shapes differ; an image too small for the window.
        DerainError: an even window, a sigma or range that is not positive, an unknown padding.
    """
    _check_window(a, b, window, sigma, padding, data_range)
    dtype = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
    with torch.autocast(device_type=a.device.type, enabled=False):
        # Variances do not change when a constant is taken off, and are more exact nearer to zero.
        middle = data_range / 2
        a, b = a.to(dtype) - middle, b.to(dtype) - middle
        a, b = _pad(a, window // 2, padding, -middle), _pad(b, window // 2, padding, -middle)
        moments = torch.cat([a, b, a.square() + b.square(), (a - b).square()], dim=1)
        mean_a, mean_b, square_sum, square_difference = _blur(moments, window, sigma).chunk(4, dim=1)
        mean_d = (mean_a - mean_b).square()
        variance_sum = square_sum - mean_a.square() - mean_b.square()
        variance_d = square_difference - mean_d
        power = (mean_a + middle).square() + (mean_b + middle).square()
        c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
        return (1 - mean_d / (power + c1)) * (1 - variance_d / (variance_sum + c2))


def shrink(image: Tensor) -> Tensor:
    """The automatic downsampling of SSIM's authors: an f x f box average, then every f-th pixel.

        f = max(1, round(min(H, W) / 256))

    Borders are mirrored with the edge repeated, and a box of even width reaches one pixel further right and
    down, as MATLAB's imfilter(…, "symmetric") places it.

    Args:
        image: (N, C, H, W).

    Returns:
        (N, C, ⌈H/f⌉, ⌈W/f⌉).
    """
    height, width = image.shape[-2:]
    factor = max(1, math.floor(min(height, width) / 256 + 0.5))
    for dim in (-2, -1):
        index = _mirror(image.shape[dim], (factor - 1) // 2, factor // 2)
        image = image.index_select(dim, index.to(image.device))
    return F.avg_pool2d(image, factor)


class Confusion:
    """How many pixels of each class were taken for each class, over a whole set: the source of all scores below.

        confusion = Confusion(classes=11)
        for pair in streets:
            confusion.update(network(pair.rainy).extras["logits"].argmax(1), pair.labels)
        confusion.accuracy, confusion.miou

    Scores come from the pixels of all images together, as the benchmarks of segmentation count them; the mean of the
    images' own scores is another number.

    Args:
        classes: K, how many classes there are.
        ignored: the label of pixels that do not count.

    Attributes:
        counts: (K, K) int64 on the CPU; row: the true class, column: the class it was taken for.

    Raises:
        DerainError: no whole number of classes from 1, or an ignored label that is one of them.
    """

    def __init__(self, classes: int, ignored: int = IGNORED):
        if type(classes) is not int or classes < 1:
            raise DerainError(f"classes is {classes!r}; give a whole number from 1")
        if 0 <= ignored < classes:
            raise DerainError(f"ignored is {ignored}, which is one of the {classes} classes")
        self.classes, self.ignored = classes, ignored
        self.counts = torch.zeros(classes, classes, dtype=torch.int64)

    def update(self, predicted: Tensor, truth: Tensor) -> None:
        """Counts the pixels of some images.

        Args:
            predicted: classes, integers of any shape, in [0, K) wherever the truth counts.
            truth: classes or the ignored label, same shape.

        Raises:
            DerainError: shapes differ, types are not integers, or a class that does not exist.
        """
        if predicted.shape != truth.shape:
            raise DerainError(f"predicted {tuple(predicted.shape)} and truth {tuple(truth.shape)} differ in shape")
        for name, labels in (("predicted", predicted), ("truth", truth)):
            if labels.is_floating_point():
                raise DerainError(f"{name} holds {labels.dtype}; give classes: logits.argmax(1)")
        judged = truth != self.ignored
        truth, predicted = truth[judged].long(), predicted.to(truth.device)[judged].long()
        for name, labels in (("predicted", predicted), ("truth", truth)):
            if labels.numel() and not 0 <= labels.min() <= labels.max() < self.classes:
                span = f"{labels.min().item()} to {labels.max().item()}"
                raise DerainError(f"{name} spans {span}; the {self.classes} classes are 0 to {self.classes - 1}")
        pairs = torch.bincount(truth * self.classes + predicted, minlength=self.classes**2)
        self.counts += pairs.view(self.classes, self.classes).cpu()

    @property
    def accuracy(self) -> float:
        """Share of the pixels that were taken for what they are; NaN before any pixel counted."""
        total = self.counts.sum().item()
        return self.counts.trace().item() / total if total else math.nan

    @property
    def iou(self) -> Tensor:
        """Intersection over union of each class, (K,) float64; NaN for a class neither true nor predicted anywhere."""
        counts = self.counts.double()
        hits = counts.diagonal()
        return hits / (counts.sum(0) + counts.sum(1) - hits)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur, in the truth or in a prediction; NaN before any pixel counted."""
        return self.iou.nanmean().item()


def _prepare(estimate: Tensor, truth: Tensor, protocol: str | Protocol) -> tuple[Tensor, Tensor, Protocol]:
    """Both images as the protocol compares them, (N, 1 or 3, H, W) float64 in [0, 1], and the protocol."""
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise DerainError(f"no protocol is called {protocol!r}; choose from {', '.join(PROTOCOLS)}")
        protocol = PROTOCOLS[protocol]
    _check_images(estimate, truth)
    estimate = _quantise(estimate.clamp(0, 1), protocol.quantise)
    # Scores are not worth rounding errors, and float64 exists on every device but Apple's.
    images = [image.cpu() if image.device.type == "mps" else image for image in (estimate, truth)]
    images = [image.double() for image in images]
    if protocol.channel == "y":
        images = [luma(image) for image in images]
    if protocol.round_y:
        images = [_quantise(image, "round") for image in images]
    return *images, protocol


def _quantise(image: Tensor, how: str) -> Tensor:
    """The image on the grid of 8-bit numbers, still in [0, 1]."""
    if how == "none":
        return image
    # In the image's own precision, as scripts do it: k/255 of float32, made float64, may lie below k/255.
    number = image.float() * 255 if image.dtype in (torch.float16, torch.bfloat16) else image * 255
    return (number.round() if how == "round" else number.floor()) / 255


def _mirror(size: int, before: int, after: int) -> Tensor:
    """Indices −before … size − 1 + after into a line of `size` pixels, mirrored with the edge repeated."""
    index = torch.arange(-before, size + after) % (2 * size)
    return torch.where(index < size, index, 2 * size - 1 - index)


def _pad(image: Tensor, border: int, padding: str, value: float) -> Tensor:
    if padding == "valid":
        return image
    if padding == "reflect":
        return F.pad(image, [border] * 4, mode="reflect")
    return F.pad(image, [border] * 4, value=value)


def _blur(image: Tensor, window: int, sigma: float) -> Tensor:
    """The image under a separable Gaussian window, "valid" pixels only."""
    # One depthwise convolution in plain NCHW: on CPUs twenty times quicker than channel by channel, and on
    # CUDA a kernel that never rounds to TF32, whose ten bits would drown the variances.
    channels = image.shape[1]
    distance = torch.arange(window, dtype=image.dtype, device=image.device) - window // 2
    kernel = torch.exp(-distance.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(channels, 1, 1, window).contiguous()
    image = F.conv2d(image.contiguous(), kernel, groups=channels)
    return F.conv2d(image, kernel.transpose(2, 3).contiguous(), groups=channels)


def _check_images(estimate: Tensor, truth: Tensor) -> None:
    if estimate.shape != truth.shape:
        raise ImageError(f"estimate {tuple(estimate.shape)} and truth {tuple(truth.shape)} differ in shape")
    if truth.ndim != 4 or truth.shape[1] != 3 or truth.numel() == 0:
        raise ImageError(f"images are (N, 3, H, W), not {tuple(truth.shape)}; pass a single one as image[None]")
    for name, image in (("estimate", estimate), ("truth", truth)):
        if not image.is_floating_point():
            raise ImageError(f"the {name} holds {image.dtype}; divide 8-bit images by 255")
        if not image.isfinite().all():
            raise ImageError(f"the {name} holds values that are not finite")
    low, high = truth.aminmax()
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ImageError(f"the truth spans {low:.7g} to {high:.7g}; images are in [0, 1]")


def _check_window(a: Tensor, b: Tensor, window: int, sigma: float, padding: str, data_range: float) -> None:
    if a.shape != b.shape or a.ndim != 4:
        raise ImageError(f"SSIM compares two images (N, C, H, W), not {tuple(a.shape)} and {tuple(b.shape)}")
    if window < 1 or window % 2 == 0:
        raise DerainError(f"the window of SSIM is odd and positive, not {window}")
    if not (sigma > 0 and data_range > 0):
        raise DerainError(f"sigma and data_range of SSIM are positive, not {sigma} and {data_range}")
    if padding not in ("valid", "zero", "reflect"):
        raise DerainError(f"padding is 'valid', 'zero' or 'reflect', not {padding!r}")
    smallest = {"valid": window, "reflect": window // 2 + 1, "zero": 1}[padding]
    if min(a.shape[-2:]) < smallest:
        found = f"{a.shape[-2]}x{a.shape[-1]}"
        raise ImageError(f"SSIM with {padding!r} padding needs {smallest}x{smallest} pixels; this image has {found}")
