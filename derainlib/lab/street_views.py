"""Streets in the rain and what segmenters read in them: what the notebooks on reading share.

folder, streets = street_views.opened("", seed=300, count=6)        # drawn, for none is named
street_views.overview({"B": clean, "O": rainy}, streets[0], "espnet", espnet, folder.classes)
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from derainlib import metrics, seeing
from derainlib.data import scenes
from derainlib.evaluation import RAINY
from derainlib.lab import figures
from derainlib.layers import IGNORED, Pair
from derainlib.metrics import Confusion
from derainlib.seeing import CLEAN

SIZE = (144, 192)
"""Height and width of drawn streets."""

PALE = 0.55
"""How bright a black pixel becomes where a picture is but the ground for what is marked on it."""


def opened(folder: str, seed: int, count: int) -> tuple[scenes.SceneFolder, list[Pair]]:
    """Labelled streets in the rain of PHPNet's streets: those of a folder, or drawn ones.

    Args:
        folder: of labelled streets with a part "test" or "val"; empty: streets are drawn.
        seed: of the first drawn street.
        count: how many, at most; of a folder they are taken at equal distances, since neighbours in a video look alike.

    Returns:
        where the streets are from, with its classes, and the pairs, a street each.
    """
    if folder:
        split = next(name for name in ("test", "val") if name in scenes.splits(folder))
        found = scenes.read(folder, split, scenes.CAMVID)
        found = found[:: max(1, len(found) // count)][:count]
    else:
        found = scenes.drawn(range(seed, seed + count), SIZE)
    dataset = scenes.RainyScenes(found, "streets")
    return found, [dataset[number] for number in range(len(dataset))]


def rained(pair: Pair, heaviness: float) -> Pair:
    """The pair in the same rain, `heaviness` times as heavy: O = B + hR, clipped."""
    return pair._replace(rainy=(pair.clean + heaviness * pair.drawn).clamp(0, 1))


def marked(image: Tensor, where: Tensor, colour: str = "rain") -> Tensor:
    """The picture (N, 3, H, W) in pale grey, with some of its pixels, (N, H, W), in one of `figures.COLOURS`."""
    pale = PALE + (1 - PALE) * image.mean(1, keepdim=True).expand_as(image)
    return pale.where(~where[:, None], torch.tensor(figures.COLOURS[colour]).view(1, 3, 1, 1))


def readings(judges: Mapping[str, nn.Module], networks: Mapping[str, nn.Module], pairs: Sequence[Pair]):
    """What `seeing.judge` finds, by judge and picture: {(judge, picture): Reading}."""
    found = seeing.judge(judges, networks, pairs, scores=("psnr_rgb",)).readings
    return {(reading.judge, reading.picture): reading for reading in found}


def overview(
    pictures: Mapping[str, Tensor], pair: Pair, judge: str, reader: nn.Module, classes: scenes.Classes
) -> figures.Picture:
    """Pictures of a street, what a judge reads in each below it, the labels, and which colour is which class.

    Args:
        pictures: by title, each (1, 3, H, W) in [0, 1].
        pair: of the labels.
        judge, reader: the segmenter, and what it is called.
        classes: names and colours.
    """
    count, names = len(pictures), classes.names
    summary = f"{', '.join(pictures)}, and what {judge} reads"
    figure, axes = figures.canvas(2, count + 1, (2.5 * (count + 1), 3.9), summary)
    for (title, image), above, below in zip(pictures.items(), *axes[:, :count], strict=True):
        read = seeing.predict(reader, image)
        figures.place(above, image, title)
        figures.place(below, classes.paint(read), f"{judge}: {_counted(read, pair.labels, classes).accuracy:.0%} right")
    figures.place(axes[0, count], classes.paint(pair.labels), "labels")
    legend, top = axes[1, count], len(names)
    for number, (name, colour) in enumerate(zip(names, classes.palette, strict=True), 1):
        legend.add_patch(Rectangle((0.04, top - number + 0.2), 0.14, 0.7, color=np.divide(colour, 255)))
        legend.text(0.24, top - number + 0.5, name, va="center", fontsize=8)
    legend.set(xlim=(0, 1), ylim=(0, top))
    legend.set_axis_off()
    return figure


def read_beside(
    pictures: Mapping[str, Tensor], pair: Pair, judge: str, reader: nn.Module, classes: scenes.Classes
) -> figures.Picture:
    """Pictures of a street in rows, each beside what a judge reads in it and where that is wrong.

    Args:
        pictures, pair, judge, reader, classes: as `overview` takes them.
    """
    figure, axes = figures.canvas(len(pictures), 3, (8.6, 2.2 * len(pictures)), squeeze=False)
    for row, (title, image) in zip(axes, pictures.items(), strict=True):
        read = seeing.predict(reader, image)
        found, wrong = _counted(read, pair.labels, classes), (read != pair.labels) & (pair.labels != IGNORED)
        decibels = metrics.psnr(image, pair.clean).item()
        figures.place(row[0], image, f"{title}: {decibels:.1f} dB" if np.isfinite(decibels) else f"{title}: the truth")
        figures.place(row[1], classes.paint(read), f"{judge}: {found.accuracy:.0%} right")
        figures.place(row[2], marked(image, wrong), f"wrong; mIoU {found.miou:.0%}")
    return figure


def intervals(ax: Axes, summaries: Mapping[str, object]) -> None:
    """Means with 95 % intervals, a line for each picture.

    Args:
        ax: where to draw.
        summaries: by picture, what `Reading.summary` gives.
    """
    known = {CLEAN: "clean", RAINY: "rainy"}
    for place, (picture, found) in enumerate(summaries.items()):
        colour = figures.COLOURS[known.get(picture, "derained")]
        ax.plot([found.low, found.high], [place, place], color=colour)
        ax.plot(found.mean, place, "o", ms=5, color=colour)
    ax.set(yticks=range(len(summaries)), yticklabels=summaries, ylim=(len(summaries) - 0.5, -0.5))
    ax.grid(axis="x", alpha=0.4)


def bars(ax: Axes, place: np.ndarray, found: Sequence[tuple[float, float, float]], **look) -> None:
    """Means with 95 % intervals side by side.

    Args:
        ax: where to draw.
        place: along the axis, one each.
        found: (mean, low, high), one each.
        look: what `Axes.errorbar` takes.
    """
    mean, low, high = np.transpose(found)
    ax.errorbar(place, mean, np.maximum((mean - low, high - mean), 0), ms=5, **look)


def stretch(ax: Axes) -> None:
    """Let the upward axis, of gains in a share of pixels, have room around zero."""
    ax.set_yscale("symlog", linthresh=0.02)
    ticks = (-0.1, -0.02, 0, 0.02, 0.1, 0.5)
    ax.set_yticks(ticks, map(str, ticks))
    ax.set_ylim(-0.15, 0.8)


def _counted(read: Tensor, labels: Tensor, classes: scenes.Classes) -> Confusion:
    confusion = Confusion(len(classes.names))
    confusion.update(read, labels)
    return confusion
