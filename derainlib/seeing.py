"""Does deraining help seeing? What segmenters read in clean, rainy and derained streets.

    streets = scenes.RainyScenes(scenes.read("camvid", split="test"))
    verdict = judge({"espnet": load("espnet")}, {"phpnet": load("phpnet")}, streets)
    print(table(verdict.readings))

A judge must not have helped to train what it judges: PHPNet's Φ, which sits in its loss, is no judge of PHPNet.

Accuracy and mIoU count the pixels of all images together (`derainlib.metrics.Confusion`). Their intervals are of 95 %,
bootstrapped over images: a draw takes images with replacement and counts their pixels together. Images of one video
look alike, so such an interval is too narrow rather than too wide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from derainlib import evaluation
from derainlib.errors import DataError, DerainError
from derainlib.evaluation import RAINY, SCORES, Scores, Summary
from derainlib.layers import Pair
from derainlib.metrics import Confusion

CLEAN = "clean"
"""How tables name the row of the photographs before the rain."""

READS = ("accuracy", "miou")
"""What a reading is scored by."""


@dataclass(frozen=True)
class Reading:
    """What one judge reads in one version of the streets, image by image.

    Attributes:
        judge: name of the segmenter.
        picture: what it looks at: `CLEAN`, `evaluation.RAINY`, or the name of the network that derained it.
        dataset: name of the set.
        images: names of the images.
        counts: (N, K, K) int64, the confusion of each image; row: the true class, column: the class it was taken for.
    """

    judge: str
    picture: str
    dataset: str
    images: tuple[str, ...]
    counts: np.ndarray

    @property
    def confusion(self) -> Confusion:
        """The pixels of all images together."""
        total = Confusion(self.counts.shape[-1])
        total.counts += torch.from_numpy(self.counts.sum(0))
        return total

    @property
    def accuracy(self) -> float:
        """Share of the pixels that were read as what they are."""
        return self.confusion.accuracy

    @property
    def miou(self) -> float:
        """Mean intersection over union of the classes that occur."""
        return self.confusion.miou

    @property
    def iou(self) -> Tensor:
        """Intersection over union of each class, (K,); NaN for a class that occurs nowhere."""
        return self.confusion.iou

    def summary(self, name: str, rainy: "Reading") -> Summary:
        """A score beside that of the rainy input, with the intervals of both and of the gain.

        Args:
            name: "accuracy" or "miou".
            rainy: what the same judge reads in the rainy input.

        Raises:
            DerainError: another score, or a reading of other images.
        """
        low, high = evaluation.ends(_drawn(name, [self]))
        found = difference(name, [self], [rainy])
        return Summary(getattr(self, name), low, high, getattr(rainy, name), found["mean"], found["low"], found["high"])


class Verdict(NamedTuple):
    """What `judge` finds."""

    scores: list[Scores]
    """PSNR and SSIM of each network."""
    readings: list[Reading]
    """What each judge reads in the clean streets, the rainy ones, and what each network made of these."""


def predict(judge: nn.Module, image: Tensor) -> Tensor:
    """The classes that a segmenter reads.

    Args:
        judge: a network with extras["logits"].
        image: (N, 3, H, W) in [0, 1].

    Returns:
        (N, H, W) int64.

    Raises:
        DerainError: a network without classes.
    """
    return _logits(judge, image).argmax(1)


def judge(
    judges: Mapping[str, nn.Module],
    networks: Mapping[str, nn.Module],
    dataset: Sequence[Pair],
    *,
    set_name: str = "streets",
    scores: Sequence[str] = SCORES,
    limit: int | None = None,
    progress: bool = False,
    **options,
) -> Verdict:
    """Lets segmenters read the streets before the rain, in it, and derained; one image at a time is in memory.

    Args:
        judges: segmenters by name, on the CPU.
        networks: deraining networks by name; without any, only clean and rainy streets are read.
        dataset: pairs of one image each, with labels.
        set_name: of the set in tables.
        scores: of the derained images, as `evaluation.score` takes them.
        limit: take only so many pairs, from the start.
        progress: whether to show a bar for each network.
        options: how to derain: tile, device, dtype, see `inference.clean`.

    Raises:
        DataError: no pairs, a limit below one, or pairs without labels.
        DerainError: no judge, one that is no segmenter, or unknown scores.
    """
    if not judges:
        raise DerainError("no judge was given; {'espnet': derainlib.load('espnet')} is one")
    if taken := {CLEAN, RAINY} & networks.keys():
        raise DerainError(f"no network can be called {taken.pop()!r} here; choose another name for it")
    judges = {name: network.eval() for name, network in judges.items()}
    counts = {(name, picture): [] for picture in (CLEAN, RAINY, *networks) for name in judges}

    def read(picture: str, image: Tensor, pair: Pair):
        if pair.labels is None:
            raise DataError(
                f"{set_name} holds pairs without labels; derainlib.data.scenes reads streets that have them"
            )
        for name, network in judges.items():
            counts[name, picture].append(_confusion(network, image, pair.labels))

    images = evaluation.named(dataset, limit, set_name)
    for pair in (dataset[i] for i in range(len(images))):
        read(CLEAN, pair.clean, pair)
        read(RAINY, pair.rainy, pair)
    found = [
        evaluation.score(
            network, dataset, scores, name=picture, set_name=set_name, limit=limit, progress=progress,
            observe=lambda pair, estimate, picture=picture: read(picture, estimate, pair), **options,
        )
        for picture, network in networks.items()
    ]  # fmt: skip
    readings = [Reading(name, picture, set_name, images, np.stack(each)) for (name, picture), each in counts.items()]
    return Verdict(found, readings)


def difference(name: str, ours: Sequence[Reading], theirs: Sequence[Reading]) -> dict:
    """How much more one network's pictures let a judge read than another's, with a 95 % interval.

    Args:
        name: "accuracy" or "miou".
        ours, theirs: a reading for each seed of the training, of the same images; a draw takes seeds and images, each
            with replacement, and the mean over seeds.

    Returns:
        "mean", "low" and "high".

    Raises:
        DerainError: another score, no readings, or readings of different images, judges or numbers of seeds.
    """
    if name not in READS:
        raise DerainError(f"{name!r} is not read; there are {', '.join(READS)}")
    if not ours or len(ours) != len(theirs):
        raise DerainError(f"{len(ours)} and {len(theirs)} readings; give one for each seed on either side")
    if len({(r.judge, r.dataset, r.images) for r in (*ours, *theirs)}) > 1:
        raise DerainError("readings of different judges or images cannot be compared")
    mean = np.mean([getattr(a, name) - getattr(b, name) for a, b in zip(ours, theirs, strict=True)])
    low, high = evaluation.ends(_drawn(name, ours) - _drawn(name, theirs))
    return {"mean": mean.item(), "low": low, "high": high}


def table(readings: Sequence[Reading], style: str = "text") -> str:
    """Readings as one table: a row for each picture, a block for each judge.

    A cell reads `0.712 ±0.010 (+0.034)`: the score, half the width of its 95 % interval, and the gain over the rainy
    input.

    Args:
        readings: of one set, the rainy input's among them.
        style: "text" for terminals, "markdown" for documents.

    Raises:
        DerainError: no reading of the rainy input, or an unknown style.
    """
    rows = [("judge", "picture", *READS)]
    for reading in readings:
        rainy = rainy_of(reading, readings)
        cells = (evaluation.cell(name, reading.summary(name, rainy)) for name in READS)
        rows.append((f"{reading.judge} ({len(reading.images)})", reading.picture, *cells))
    return evaluation.lay_out(rows, style)


def rainy_of(reading: Reading, readings: Sequence[Reading]) -> Reading:
    """What the same judge reads in the same streets in the rain.

    Raises:
        DerainError: it is not among the readings.
    """
    wanted = (reading.judge, reading.dataset, RAINY)
    for other in readings:
        if (other.judge, other.dataset, other.picture) == wanted:
            return other
    raise DerainError(f"{reading.judge} has not read the rainy input of {reading.dataset}; keep that reading too")


def _confusion(judge: nn.Module, image: Tensor, labels: Tensor) -> np.ndarray:
    """The confusion (K, K) of one image."""
    with torch.inference_mode():
        logits = _logits(judge, image)
    found = Confusion(logits.shape[1])
    found.update(logits.argmax(1), labels)
    return found.counts.numpy()


def _logits(judge: nn.Module, image: Tensor) -> Tensor:
    extras = judge(image).extras or {}
    if "logits" not in extras:
        name = getattr(judge, "name", type(judge).__name__)
        raise DerainError(f"{name} reads no classes; give a segmenter, as derainlib.load('espnet') is one")
    return extras["logits"]


def _drawn(name: str, readings: Sequence[Reading], draws: int = 2000) -> np.ndarray:
    """A score over draws of images (and seeds, a reading each), (draws,); the draws are the same each time."""
    rng, images = np.random.default_rng(0), len(readings[0].images)
    often = rng.multinomial(images, np.full(images, 1 / images), size=draws)
    seeds = rng.integers(len(readings), size=(draws, len(readings)))
    scored = np.stack([_score(name, np.tensordot(often, reading.counts, 1)) for reading in readings], 1)
    return np.take_along_axis(scored, seeds, 1).mean(1)


def _score(name: str, counts: np.ndarray) -> np.ndarray:
    """Accuracy or mIoU of confusions (…, K, K), as `Confusion` has them for one."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    if name == "accuracy":
        return hits.sum(-1) / counts.sum((-2, -1))
    with np.errstate(invalid="ignore"):  # 0 / 0: a class that occurs nowhere in this draw does not count
        return np.nanmean(hits / (counts.sum(-1) + counts.sum(-2) - hits), -1)
