"""Section 3.1 of QSNet on the sets at hand: how many photographs, dry and rainy, are sparse, and what decides it.

    python benchmarks/sparsity.py --data FOLDER [--limit 1000]

FOLDER (or DERAIN_DATA) holds bsds500/, rain800/training, rain100l/rain and real/; a set that is missing is left out.
BSDS500 is examined dry and in drawn rain. benchmarks/results/sparsity.json has, for each set, the share of sparse
images over all filters and for each, their contrast and entropy beside the others', the share by tolerance and by
contrast, and the share where something about the images or the test is changed.
"""

import argparse
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import common
import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from derainlib import images
from derainlib.data import pairs
from derainlib.rain import add_rain, generator
from derainlib.sparsity import (
    FILTERS,
    LEAST,
    TOLERANCE,
    Experiment,
    Statistics,
    experiment,
    levin_weiss,
    log_histogram,
    responses,
)

PAPER = {"share": 0.937, "images": "1,000 real and 9,000 synthetic"}
TOLERANCES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2)
SYNTHETIC = ("BSDS500 + light rain", "BSDS500 + heavy rain", "Rain100L, rainy", "Rain800, rainy")
CHANGED = 100  # images of a set on which changes are tried

Images = Iterator[tuple[str, Tensor]]


def photographs(folder: Path, count: int, style: str | None = None) -> Images:
    """Up to `count` images of a folder, evenly spread, in drawn rain if a style is given."""
    for number, path in enumerate(spread(pairs.photographs(folder), count)):
        image = images.read(path)[None]
        yield path.name, image if style is None else add_rain(image, style, [generator(0, 0, number)]).rainy


def rainy_halves(folder: Path, count: int) -> Images:
    """Up to `count` rainy images of Rain800, whose files hold the clean one beside them."""
    found = pairs.read(folder, layout="rain800")
    for name in spread(found.names, count):
        yield name, found[name].rainy


def spread(items: list, count: int) -> list:
    return [items[i] for i in np.linspace(0, len(items) - 1, min(count, len(items))).astype(int)]


def sources(data: Path) -> dict[str, Callable[[int], Images]]:
    """From a set's name to a function that reads up to so many of its images."""
    bsds500 = data / "bsds500"
    known = {
        "BSDS500, clean": (bsds500, photographs, {}),
        "BSDS500 + light rain": (bsds500, photographs, {"style": "light"}),
        "BSDS500 + heavy rain": (bsds500, photographs, {"style": "heavy"}),
        "Rain100L, rainy": (data / "rain100l" / "rain", photographs, {}),
        "Rain800, rainy": (data / "rain800" / "training", rainy_halves, {}),
        "real photographs": (data / "real", photographs, {}),
    }
    return {
        name: lambda count, f=function, p=folder, o=options: f(p, count, **o)
        for name, (folder, function, options) in known.items()
        if folder.is_dir()
    }


# --- changes: what decides whether an image is sparse? ----------------------------------------------------------


def with_least(image: Tensor, least: int) -> list[float]:
    """Bulges of the four filters where the ends of a histogram are decided by `least` values."""
    return [levin_weiss(log_histogram(values, least)).bulge for values in responses(image).values()]


def fainter(image: Tensor, factor: float) -> Tensor:
    return 0.5 + factor * (image - 0.5)


def noisy(image: Tensor, sigma: float) -> Tensor:
    return (image + sigma * torch.randn(image.shape, generator=generator(1))).clamp(0, 1)


def recompressed(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray((image[0] * 255).round().byte().permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)[None] / 255


CHANGES: dict[str, Callable[[Tensor], list[float]]] = {
    "as they are": partial(with_least, least=LEAST),
    "ends decided by single pixels": partial(with_least, least=1),
    "ends decided by 25 pixels": partial(with_least, least=25),
    "ends decided by 400 pixels": partial(with_least, least=400),
    "a third of the contrast, without noise": lambda image: with_least(fainter(image, 1 / 3), LEAST),
    "noise of 4 grey levels": lambda image: with_least(noisy(image, 4 / 255), LEAST),
    "a third of the contrast, noise of 4 grey levels": lambda image: with_least(
        noisy(fainter(image, 1 / 3), 4 / 255), LEAST
    ),
    "JPEG of quality 50": lambda image: with_least(recompressed(image, 50), LEAST),
}


def changed(load: Callable[[int], Images]) -> dict[str, float]:
    """Share of sparse images under each change, over the same images."""
    sample = [image for _, image in load(CHANGED)]
    return {name: share([max(change(image)) <= TOLERANCE for image in sample]) for name, change in CHANGES.items()}


def share(truths: list[bool]) -> float:
    return round(float(np.mean(truths)), 3)


# --- tables -----------------------------------------------------------------------------------------------------


def summary(found: Experiment) -> dict:
    """What the file says of a set."""
    contrast, bulge = np.array([(record.contrast, record.bulge) for record in found.records]).T
    fifths = np.array_split(np.argsort(contrast, kind="stable"), 5)
    filters = np.sum(np.array([record.bulges for record in found.records]) <= found.tolerance, axis=1)
    return {
        "images": len(found.records),
        "sparse": round(found.share, 4),
        "by filter": {name: round(value, 4) for name, value in found.by_filter.items()},
        "by tolerance": {str(tolerance): share(bulge <= tolerance) for tolerance in TOLERANCES},
        "by number of filters, at least": {str(count): share(filters >= count) for count in (1, 2, 3, 4)},
        "by contrast, fifths": {
            "contrast": [round(float(contrast[part].mean()), 1) for part in fifths],
            "sparse": [share(bulge[part] <= TOLERANCE) for part in fifths],
        },
        "rank correlation of bulge and contrast": round(float(spearmanr(bulge, contrast).statistic), 2),
        "sparse images": means(found.sparse),
        "other images": means(found.not_sparse),
    }


def means(records: tuple[Statistics, ...]) -> dict[str, float]:
    """Mean contrast (grey levels) and entropy (bits) of some images."""
    columns = ("contrast", "entropy")
    return {c: round(float(np.mean([getattr(record, c) for record in records])), 2) for c in columns} if records else {}


def speed(data: Path) -> float:
    """Images a second of BSDS500, from file to verdict."""
    with common.Stopwatch() as took:
        records = experiment(data / "bsds500" / "test").records
    return round(len(records) / took.wall, 1)


def mixed(table: dict[str, dict]) -> dict[str, float]:
    """Shares in the paper's mix, a tenth real photographs and the rest synthetic (our sets with equal weight)."""
    if "real photographs" not in table or not (synthetic := [table[name] for name in SYNTHETIC if name in table]):
        return {}

    def mix(score: Callable[[dict], float]) -> float:
        return round(
            0.1 * score(table["real photographs"]) + 0.9 * float(np.mean([score(row) for row in synthetic])), 3
        )

    return {
        "all four filters": mix(lambda row: row["sparse"]),
        "one filter, mean of the four": mix(lambda row: float(np.mean(list(row["by filter"].values())))),
        "all four filters, tolerance 0.1": mix(lambda row: row["by tolerance"]["0.1"]),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return common.parser(__doc__, "sparsity", "data", "limit", limit=1000)


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, writes."""
    options = common.parse(parser(), arguments, needs="bsds500/, rain800/, rain100l/ or real/")
    known = sources(options.data)
    table = {}
    print(f"{'':24}{'images':>8}{'sparse':>8}" + "".join(f"{name:>19}" for name in FILTERS))
    for name, load in known.items():
        table[name] = row = summary(experiment(load(options.limit), progress=True))
        row["changes"] = changed(load)
        filters = "".join(f"{value:>19.1%}" for value in row["by filter"].values())
        print(f"{name:24}{row['images']:>8}{row['sparse']:>8.1%}{filters}", flush=True)
    result = {
        "tolerance": TOLERANCE,
        "values in a bin": LEAST,
        "machine": common.machine(),
        "images a second, BSDS500 from file": speed(options.data) if "BSDS500, clean" in known else None,
        "paper": PAPER,
        "in the paper's mix": mixed(table),
        "sets": table,
    }
    common.write(options.out, result)


if __name__ == "__main__":
    sys.exit(main())
