"""Sparsity: how the derivatives of photographs and of rain are distributed.

The derivatives of a photograph are mostly zero and sometimes large: its log-histogram has a sharp peak and heavy
tails. Levin and Weiss ("User assisted separation of reflections from a single image using a sparsity prior") call a
distribution *sparse* if its logarithm lies below the straight line between its highest value and its ends. QSNet's
section 3.1 puts 10,000 rainy photographs to that test, section 3.2 fits what it sees:

    (1)  P(x) = π1/(2 s1) e^(−|x|/s1) + π2/(2 s2) e^(−|x|/s2)    two Laplacians: sparse      `laplacian_mixture`
    (2)  P_q(x) = π/s e^(−|x|/s)                                 one: the borderline         `quasi_sparse`
    (3)  P_q(I) = ∏_i,k P_q(ω_i,k ∗ I)                           pixels i, filters k         `log_prior`

    image = images.read("street.png")[None]
    histogram = log_histogram(responses(image)["horizontal"])
    levin_weiss(histogram)                         # Verdict(sparse=True, left=-0.01, right=-0.01)
    experiment("photographs/")                     # section 3.1 over a folder

Statistics are taken in grey levels: luminance as an 8-bit file stores it, so that derivatives are whole numbers and
a histogram has one bin for each. Finer bins would be empty, and the logarithm of nothing is −∞.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import log
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib import images, rain
from derainlib.errors import DerainError, ImageError
from derainlib.mixtures import (  # noqa: F401 (names of this module, too)
    GAUSSIAN,
    LAPLACIAN,
    Fit,
    Kernel,
    fit_gaussian,
    fit_gaussian_scale_mixture,
    fit_laplacian,
    fit_laplacian_mixture,
    fits,
    log_mixture,
)

FILTERS = ("horizontal", "vertical", "second horizontal", "second vertical")
"""The four derivative filters ω_k in the order in which `derivatives` returns them."""

LEAST = 100
"""Values in a bin of a log-histogram, at least: its logarithm is then known to 0.1 (one standard deviation)."""

TOLERANCE = 0.05
"""How far a log-histogram may rise above the line and still count as below it, as a share of the line's drop.

A Gaussian rises by 0.25, a Laplacian, the borderline itself, by nothing; but of Laplacian samples, as many as a
481 x 321 photograph has pixels and rounded to grey levels, the tails are noisy: 19 in 20 stay within 0.05."""

MIN_SIDE = 64
"""Smaller images have too few derivatives for a tail to be seen."""

_WIDEST = 1 << 20  # levels between the smallest and the largest value of a histogram


def derivatives(image: Tensor) -> Tensor:
    """ω_k ∗ image for the four filters: first and second derivative, across (x) and down (y).

        horizontal         x[i, j + 1] − x[i, j]                      [−1, 1]
        second horizontal  x[i, j + 1] − 2 x[i, j] + x[i, j − 1]      [1, −2, 1]

    and the same down the columns. Beyond the border the image goes on with its last row and column, so that nothing
    outside the image responds. Differentiable, and linear in the image.

    Args:
        image: (N, C, H, W), float, any range.

    Returns:
        (N, 4, C, H, W), filters in the order of `FILTERS`.

    Raises:
        DerainError: the image is not a batch.
    """
    if image.ndim != 4:
        raise DerainError(f"derivatives need images (N, C, H, W), not {tuple(image.shape)}: add the batch axis")
    across, down = image.diff(dim=-1), image.diff(dim=-2)
    # With the border repeated, the differences beyond it are zero: padding them is padding the image.
    right, left = (F.pad(across, side) for side in ((0, 1), (1, 0)))
    below, above = (F.pad(down, side) for side in ((0, 0, 0, 1), (0, 0, 1, 0)))
    return torch.stack((right, below, right - left, below - above), dim=1)


# --- the densities of the paper ---------------------------------------------------------------------------------


def laplacian_mixture(x: np.ndarray, weights: tuple[float, ...], scales: tuple[float, ...]) -> np.ndarray:
    """ln P(x) of a mixture of Laplacians around zero; with two of them Eq. 1.

    Args:
        x: any shape.
        weights: π_j ≥ 0, which sum to 1.
        scales: s_j > 0, in the unit of x.

    Returns:
        natural logarithms, of the shape of x.
    """
    return log_mixture(LAPLACIAN, np.abs(np.asarray(x, dtype=np.float64)), weights, scales)


def quasi_sparse(x: Tensor, scale: float) -> Tensor:
    """ln P_q(x) of a single Laplacian, Eq. 2 with π = ½, the value that makes it a probability: −ln(2s) − |x|/s.

    Args:
        x: any shape.
        scale: s > 0, in the unit of x.

    Returns:
        natural logarithms, of the shape of x; differentiable.

    Raises:
        DerainError: the scale is not positive.
    """
    if not scale > 0:
        raise DerainError(f"the scale is {scale}; give a number above 0, in the unit of the derivatives")
    return -log(2 * scale) - x.abs() / scale


def log_prior(image: Tensor, scale: float) -> Tensor:
    """ln P_q(I), Eq. 3: `quasi_sparse` of the four derivatives, summed over filters, channels and pixels.

    Args:
        image: (N, C, H, W), float.
        scale: s > 0, in the unit of the image.

    Returns:
        (N,), differentiable.

    Raises:
        DerainError: the image is not a batch, or the scale not positive.
    """
    return quasi_sparse(derivatives(image), scale).sum((1, 2, 3, 4))


# --- histograms and the Levin–Weiss test ------------------------------------------------------------------------


def luminance(image: Tensor) -> np.ndarray:
    """The grey levels of an image, as whole numbers.

    Each colour is rounded to 8 bits before the colours are weighed (BT.601), and the result is rounded again, in
    integers: the same file gives the same levels on every machine.

    Args:
        image: (3, H, W) or (1, H, W), or a batch of one, in [0, 1]; a rain layer may be negative or exceed 1.

    Returns:
        int32 (H, W), 0..255 for an image in [0, 1].

    Raises:
        ImageError: another shape, values that are not finite, or a side below `MIN_SIDE`.
    """
    image = image[0] if image.ndim == 4 and len(image) == 1 else image
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ImageError(f"an image of shape {tuple(image.shape)} has no luminance: give one (3, H, W) or (1, H, W)")
    if min(image.shape[1:]) < MIN_SIDE:
        size = f"{image.shape[1]} x {image.shape[2]}"
        raise ImageError(f"{size} pixels are too few for statistics: give at least {MIN_SIDE} x {MIN_SIDE}")
    if not image.isfinite().all():
        raise ImageError("the image has values that are not finite: read it anew")
    levels = (image.detach().cpu().float() * 255).round().to(torch.int32).numpy()
    if len(levels) == 1:
        return levels[0]
    red, green, blue = (round(1000 * weight) for weight in rain.LUMINANCE)
    return (red * levels[0] + green * levels[1] + blue * levels[2] + 500) // 1000


def responses(image: Tensor) -> dict[str, np.ndarray]:
    """The four derivatives of an image's luminance, in grey levels, inside the image only.

    These are the values of `derivatives` where both or all three pixels are the image's own: the zeros that a
    repeated border makes are no statistics of the image.

    Args:
        image: as for `luminance`.

    Returns:
        from each name in `FILTERS` to int32 values, (H, W − 1), (H − 1, W), (H, W − 2) and (H − 2, W).

    Raises:
        ImageError: as `luminance`.
    """
    return _differences(luminance(image))


def _differences(grey: np.ndarray) -> dict[str, np.ndarray]:
    across, down = np.diff(grey, axis=1), np.diff(grey, axis=0)
    return dict(zip(FILTERS, (across, down, np.diff(across, axis=1), np.diff(down, axis=0)), strict=True))


@dataclass(frozen=True, eq=False)
class LogHistogram:
    """How often each value occurs: a bin a grey level where values are many, wider bins in the thin tails.

    Attributes:
        level: (K,) the middle of each bin, in grey levels, ascending.
        width: (K,) how many grey levels the bin spans.
        count: (K,) how many values lie in it.
        peak: index of the most frequent grey level.
        total: how many values were given, those beyond the outermost bins included.
    """

    level: np.ndarray
    width: np.ndarray
    count: np.ndarray
    peak: int
    total: int

    @cached_property
    def log_density(self) -> np.ndarray:
        """(K,) natural logarithm of the share of values per grey level."""
        return np.log(self.count / (self.width * self.total))

    @cached_property
    def line(self) -> np.ndarray:
        """(K,) the straight lines from the peak to the two ends, in the unit of `log_density`."""
        corners = [0, self.peak, len(self.level) - 1]
        return np.interp(self.level, self.level[corners], self.log_density[corners])


def log_histogram(values: np.ndarray, least: int = LEAST) -> LogHistogram:
    """Count values by grey level.

    From the most frequent level outwards, on either side, neighbouring levels are joined until a bin holds `least`
    values; what remains beyond the last full bin, fewer than `least` values a side, is left out. So no bin is empty,
    the ends of the histogram are not decided by a single pixel, and their logarithms carry the same small error.

    Args:
        values: any shape, in grey levels; rounded to whole ones.
        least: values in a bin, at least 1; the bin of the most frequent level may hold fewer.

    Raises:
        DerainError: there are no values, some are not finite or far from being grey levels, or `least` is below 1.
    """
    values = np.asarray(values).ravel()
    if least < 1:
        raise DerainError(f"a bin of at least {least} values is none: give 1 or more")
    if not values.size or not np.isfinite(values).all():
        raise DerainError("a histogram needs values, all of them finite")
    if values.dtype.kind == "f":
        values = np.rint(values)
    lowest, highest = int(values.min()), int(values.max())
    if highest - lowest > _WIDEST:
        raise DerainError(f"values from {lowest} to {highest} are no grey levels: scale them to 0..255")
    counts = np.bincount(values.astype(np.int64) - lowest)
    mode = int(counts.argmax())
    right = mode + 1 + _full_bins(counts[mode + 1 :], least)
    left = mode - _full_bins(counts[:mode][::-1], least)
    edges = np.concatenate([left[::-1], [mode, mode + 1], right])
    width = np.diff(edges)
    # Where no bin is full on the right, the last edge lies behind the last level; nothing is added there.
    count = np.add.reduceat(np.append(counts, 0), edges)[:-1]
    level = lowest + edges[:-1] + (width - 1) / 2
    return LogHistogram(level, width, count, peak=len(left), total=values.size)


def _full_bins(counts: np.ndarray, least: int) -> np.ndarray:
    """How many levels from the start the ends of successive full bins are."""
    ends, held = [], 0
    for place, count in enumerate(counts.tolist(), 1):
        held += count
        if held >= least:
            ends.append(place)
            held = 0
    return np.array(ends, dtype=np.int64)


class Verdict(NamedTuple):
    """What the Levin–Weiss test says of a histogram.

    Attributes:
        sparse: neither side rises above its line by more than the tolerance.
        left, right: the *bulge* of either side: how far the log-histogram rises above the line between peak and end
            where it does so most, as a share of the line's drop. A Gaussian has 0.25, a Laplacian 0, and what is
            below the line everywhere a negative number.
    """

    sparse: bool
    left: float
    right: float

    @property
    def bulge(self) -> float:
        """The larger of the two."""
        return max(self.left, self.right)


def levin_weiss(histogram: LogHistogram, tolerance: float = TOLERANCE) -> Verdict:
    """Is the log-histogram below the straight lines from its peak to its ends?

    A side without a bin between peak and end has nothing that could rise above the line: its bulge is 0. So a
    constant image, whose derivatives are all zero, is sparse. A side that does not fall at all has bulge ∞.

    Args:
        histogram: see `log_histogram`.
        tolerance: the largest bulge that still counts as below.
    """
    peak, above = histogram.peak, histogram.log_density - histogram.line
    drops = histogram.log_density[peak] - histogram.log_density[[0, -1]]
    bulges = [_bulge(side, drop) for side, drop in zip((above[1:peak], above[peak + 1 : -1]), drops, strict=True)]
    return Verdict(max(bulges) <= tolerance, *bulges)


def _bulge(above: np.ndarray, drop: float) -> float:
    if not above.size:
        return 0.0
    return float(above.max() / drop) if drop > 0 else float("inf")


# --- the experiment of section 3.1 ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistics:
    """Sparsity and contrast of one image.

    Attributes:
        name: of the image.
        bulges: of its four log-histograms, the larger of the two sides, in the order of `FILTERS`.
        contrast: standard deviation of its luminance, in grey levels.
        entropy: of its luminance, in bits; 8 where all grey levels are equally frequent.
    """

    name: str
    bulges: tuple[float, float, float, float]
    contrast: float
    entropy: float

    @property
    def bulge(self) -> float:
        """The largest of the four."""
        return max(self.bulges)

    def sparse(self, tolerance: float = TOLERANCE) -> bool:
        """Whether all four log-histograms are below their lines."""
        return self.bulge <= tolerance


def examine(image: Tensor, name: str = "") -> Statistics:
    """Sparsity and contrast of an image; arguments and errors as for `luminance`."""
    grey = luminance(image)
    bulges = tuple(levin_weiss(log_histogram(values)).bulge for values in _differences(grey).values())
    shares = np.bincount((grey - grey.min()).ravel()) / grey.size
    shares = shares[shares > 0]
    return Statistics(name, bulges, float(grey.std()), float(-(shares * np.log2(shares)).sum()))


@dataclass(frozen=True)
class Experiment:
    """The test over many images.

    Attributes:
        records: of each image.
        tolerance: the largest bulge that counts as sparse.
        failed: images that could not be examined, and why.
    """

    records: tuple[Statistics, ...]
    tolerance: float = TOLERANCE
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of images that are sparse in all four filters; the paper finds 0.937."""
        return float(np.mean([record.sparse(self.tolerance) for record in self.records]))

    @property
    def by_filter(self) -> dict[str, float]:
        """Share of images that are sparse in each filter."""
        bulges = np.array([record.bulges for record in self.records])
        return dict(zip(FILTERS, (bulges <= self.tolerance).mean(0).tolist(), strict=True))

    @property
    def sparse(self) -> tuple[Statistics, ...]:
        """The sparse images."""
        return tuple(record for record in self.records if record.sparse(self.tolerance))

    @property
    def not_sparse(self) -> tuple[Statistics, ...]:
        """The others, the least sparse first."""
        rest = (record for record in self.records if not record.sparse(self.tolerance))
        return tuple(sorted(rest, key=lambda record: -record.bulge))

    def __str__(self) -> str:
        lines = [f"{self.share:.1%} of {len(self.records)} images are sparse"]
        lines += [f"{share:7.1%} {name}" for name, share in self.by_filter.items()]
        for word, group in (("sparse", self.sparse), ("not sparse", self.not_sparse)):
            if group:
                contrast = np.mean([record.contrast for record in group])
                lines.append(f"mean contrast {contrast:.1f} grey levels: {len(group)} {word}")
        lines += [f"  bulge {r.bulge:.2f}, contrast {r.contrast:5.1f}: {r.name}" for r in self.not_sparse]
        return "\n".join([*lines, *self.failed.values()])


def experiment(
    source: str | os.PathLike | Iterable[tuple[str, Tensor]],
    tolerance: float = TOLERANCE,
    progress: bool = False,
) -> Experiment:
    """How many images of a folder are sparse: section 3.1.

    A bad image does not stop the others; it is named in the result.

    Args:
        source: a folder, searched with the folders in it, or names with images as for `luminance`.
        tolerance: the largest bulge that counts as sparse, see `levin_weiss`.
        progress: whether to show a bar over the images.

    Raises:
        DerainError: no such folder, no images, or not one that can be examined.
    """
    from tqdm.auto import tqdm

    folder = isinstance(source, str | os.PathLike)
    jobs = [(str(path), path) for path in _find(Path(source))] if folder else source
    records, failed = [], {}
    for name, image in tqdm(jobs, disable=not progress, unit="image"):
        try:
            records.append(examine(images.read(image) if folder else image, name))
        except ImageError as error:
            failed[name] = str(error) if name in str(error) else f"{name}: {error}"
    if not records:
        reason = next(iter(failed.values()), "there are no images: the list is empty")
        raise DerainError(f"nothing can be examined; {reason}")
    return Experiment(tuple(records), tolerance, failed)


def _find(folder: Path) -> list[Path]:
    """The images below a folder."""
    if not folder.is_dir():
        raise DerainError(f"there is no folder {folder}")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.READABLE and path.is_file())
    if not found:
        raise DerainError(f"there are no images ({', '.join(images.READABLE)}) in {folder}")
    return found
