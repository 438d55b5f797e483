"""Does our rain look like the public sets'? Statistics of the presets, beside Rain100L, RainTrainH and Rain800.

    python benchmarks/rain_statistics.py [--data DIR] [--limit 100]

The sets are read from DIR (or the folder that DERAIN_DATA names): Rain100L's pairs, RainTrainH's rain layers (whose
holes are left out), Rain800's training pairs. Rain100L's clean photographs then carry our rain too, so that both are
compared on the same scenes, and the layers of the folder streaks/ those of the renderer "layers". Without the folder
scikit-image's photographs are rained on. The table holds averages over images; benchmarks/results/rain_statistics.json
has the standard deviations and medians too.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import torch
from scipy import ndimage

from derainlib import metrics
from derainlib.data import pairs
from derainlib.data.synthetic import rain_layers
from derainlib.rain import FROM_FILES, PRESETS, add_rain, generator
from derainlib.streaks import Layer

COLUMNS = {
    "psnr": "PSNR of the rainy image, dB (RGB)",
    "mean": "mean of R = rainy - clean, 0..255",
    "visible": "pixels with R > 8, %",
    "dark": "pixels with R < -4, %",
    "luma": "shift of the luma, 0..255",
    "p10": "10th percentile of R",
    "p50": "median of R",
    "p90": "90th percentile of R",
    "p99": "99th percentile of R",
    "p999": "99.9th percentile of R",
    "lean": "direction, degrees from the vertical, without its sign",
    "coherence": "concentration of directions, 0 (none) to 1 (a single one)",
    "along": "half width of the autocorrelation along the streaks, px",
    "across": "half width of the autocorrelation across the streaks, px",
}


def statistics(rainy: torch.Tensor, clean: torch.Tensor) -> dict[str, float]:
    """The columns of the table for one pair, (3, H, W) in [0, 1]; R is what was really added, after clipping."""
    layer = (rainy - clean).numpy() * 255
    of_the_pair = {
        "psnr": metrics.psnr(rainy[None], clean[None]).item(),
        "luma": np.tensordot((0.299, 0.587, 0.114), layer, 1).mean().item(),
    }
    # The channel that changed most: in white places the others cannot grow, in grey rain all three are alike.
    return of_the_pair | of_layer(np.take_along_axis(layer, np.abs(layer).argmax(0)[None], 0)[0])


def of_layer(layer: np.ndarray, known: np.ndarray | None = None) -> dict[str, float]:
    """The columns that need R alone, (H, W) in 0..255.

    Shares and percentiles are of the pixels `known`, by default all. Lean, coherence, along and across are of all
    pixels, unknown ones as they stand in `layer`: gradients and correlations want the neighbours too.
    """
    angle, coherence = direction(layer)
    along, across = correlation_lengths(layer, angle)
    values = layer if known is None else layer[known]
    percentiles = dict(
        zip(("p10", "p50", "p90", "p99", "p999"), np.percentile(values, (10, 50, 90, 99, 99.9)), strict=True)
    )
    row = {
        "mean": values.mean(),
        "visible": (values > 8).mean() * 100,
        "dark": (values < -4).mean() * 100,
        **percentiles,
        "lean": abs(angle),
        "coherence": coherence,
        "along": along,
        "across": across,
    }
    return {name: float(value) for name, value in row.items()}


def direction(layer: np.ndarray) -> tuple[float, float]:
    """Angle of the streaks in degrees from the vertical, positive to the right, and coherence (structure tensor)."""
    dy, dx = np.gradient(layer)
    xx, yy, xy = (dx * dx).mean(), (dy * dy).mean(), (dx * dy).mean()
    # Streaks run at right angles to the strongest gradient, and y points down.
    angle = -np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
    return angle, np.hypot(xx - yy, 2 * xy) / max(xx + yy, 1e-12)


def correlation_lengths(layer: np.ndarray, angle: float) -> tuple[float, float]:
    """How far R stays at least half correlated with itself, in pixels, along `angle` and across it."""
    padded = np.pad(layer - layer.mean(), [(0, n) for n in layer.shape])
    correlation = np.fft.fftshift(np.fft.ifft2(np.abs(np.fft.fft2(padded)) ** 2).real)
    sin, cos = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    reach = np.arange(0, min(layer.shape) // 2, 0.1)
    lengths = []
    for right, down in ((sin, cos), (cos, -sin)):
        path = [layer.shape[0] + reach * down, layer.shape[1] + reach * right]
        profile = ndimage.map_coordinates(correlation, path, order=1) / correlation[layer.shape]
        below = np.flatnonzero(profile < 0.5)
        lengths.append(reach[below[0]] if len(below) else reach[-1])
    return lengths[0], lengths[1]


def public(folder: Path, split: Path | None, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Up to `count` pairs of a set, evenly spread."""
    found = pairs.read(folder, split=split)
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    return [(found[i].rainy[0], found[i].clean[0]) for i in chosen]


def photographs(count: int) -> list[torch.Tensor]:
    """Scikit-image's photographs in turn, as large as Rain100L's."""
    from skimage import data

    bundled = [data.astronaut(), data.coffee(), data.chelsea()]
    return [torch.from_numpy(bundled[i % 3][:321, :481]).permute(2, 0, 1) / 255 for i in range(count)]


def rained(
    style: str, scenes: Sequence[torch.Tensor], layers: Sequence[Layer]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The scenes in the rain of a preset, rounded to 8 bits as a file would be."""
    rainy = (add_rain(scene[None], style, [generator(0, 0, i)], layers) for i, scene in enumerate(scenes))
    return [((pair.rainy[0] * 255).round() / 255, pair.clean[0]) for pair in rainy]


def summary(rows: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation and median of each column over the images."""
    measures = {"mean": np.mean, "sd": np.std, "median": np.median}
    values = {name: [row[name] for row in rows] for name in COLUMNS if name in rows[0]}
    return {name: {m: round(float(of(v)), 2) for m, of in measures.items()} for name, v in values.items()}


def known(layer: Layer) -> dict[str, float]:
    """The columns of a rain layer from a file, outside its holes."""
    return of_layer(layer.streaks.numpy().astype(float), None if layer.holes is None else ~layer.holes.numpy())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return common.parser(__doc__, "rain_statistics", "data", "limit", limit=100)


@common.command
def main(arguments: Sequence[str] | None = None):
    """Measures, prints, writes."""
    options = common.parse(parser(), arguments)
    table, data, count, layers = {}, options.data, options.limit, []
    if data:
        rain100l = public(data / "rain100l", None, count)
        rain800 = public(data / "rain800" / "training", data / "splits" / "rain800_train.txt", count)
        table |= {"Rain100L": rain100l, "Rain800": rain800}
        table = {name: summary([statistics(*pair) for pair in found]) for name, found in table.items()}
        table["RainTrainH"] = summary([known(layer) for layer in rain_layers(data / "streaks" / "raintrainh")])
        scenes, layers = [clean for _, clean in rain100l], rain_layers(data / "streaks")
    else:
        print("neither --data nor DERAIN_DATA: no public sets to compare with", file=sys.stderr)
        scenes = photographs(count)
    for name in (*PRESETS, *(FROM_FILES if layers else ())):
        table[name] = summary([statistics(*pair) for pair in rained(name, scenes, layers)])
    print(f"{'':12}" + "".join(f"{name:>10}" for name in COLUMNS))
    for name, row in table.items():
        cells = (f"{row[column]['mean']:.2f}" if column in row else "-" for column in COLUMNS)
        print(f"{name:12}" + "".join(f"{cell:>10}" for cell in cells))
    scenes_of = "Rain100L" if data else "scikit-image"
    result = {"machine": common.machine(), "scenes": scenes_of, "images": len(scenes)}
    common.write(options.out, result | {"columns": COLUMNS, "statistics": table})


if __name__ == "__main__":
    sys.exit(main())
