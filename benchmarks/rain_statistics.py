"""Does drawn rain look like the public sets'? Statistics of the presets, beside Rain100L's where it is at hand.

    python benchmarks/rain_statistics.py [--images 100]

Rain100L is read from the folder that DERAIN_DATA names (rain100l/rain, rain100l/clean); its clean photographs then
carry the drawn rain too, so that both are compared on the same scenes. Without it scikit-image's photographs do. The
table holds averages over images; benchmarks/results/rain_statistics.json has the standard deviations too.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from derainlib import images, metrics
from derainlib.rain import PRESETS, add_rain, generator

RESULTS = Path(__file__).parent / "results" / "rain_statistics.json"
COLUMNS = {
    "psnr": "PSNR of the rainy image, dB (RGB)",
    "mean": "mean of R = rainy - clean, 0..255",
    "visible": "pixels with R > 8, %",
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
    layer = (rainy - clean).amax(0).numpy() * 255
    angle, coherence = direction(layer)
    along, across = correlation_lengths(layer, angle)
    p90, p99, p999 = np.percentile(layer, (90, 99, 99.9))
    row = {
        "psnr": metrics.psnr(rainy[None], clean[None]).item(),
        "mean": layer.mean(),
        "visible": (layer > 8).mean() * 100,
        "p90": p90,
        "p99": p99,
        "p999": p999,
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


def rain100l(folder: Path, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Up to `count` pairs of Rain100L, evenly spread."""
    names = sorted(path.name for path in (folder / "rain").iterdir())
    names = [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)]
    return [(images.read(folder / "rain" / name), images.read(folder / "clean" / name)) for name in names]


def photographs(count: int) -> list[torch.Tensor]:
    """Scikit-image's photographs in turn, as large as Rain100L's."""
    from skimage import data

    bundled = [data.astronaut(), data.coffee(), data.chelsea()]
    return [torch.from_numpy(bundled[i % 3][:321, :481]).permute(2, 0, 1) / 255 for i in range(count)]


def rained(style: str, scenes: Sequence[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The scenes in the rain of a preset, rounded to 8 bits as a file would be."""
    pairs = (add_rain(scene[None], style, [generator(0, 0, i)]) for i, scene in enumerate(scenes))
    return [((pair.rainy[0] * 255).round() / 255, pair.clean[0]) for pair in pairs]


def summary(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation of each column over the pairs."""
    rows = [statistics(*pair) for pair in pairs]
    values = {name: [row[name] for row in rows] for name in COLUMNS}
    return {name: {"mean": round(float(np.mean(v)), 2), "sd": round(float(np.std(v)), 2)} for name, v in values.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100, help="scenes to measure on (default 100)")
    count = parser.parse_args().images
    table, data = {}, os.environ.get("DERAIN_DATA")
    if data:
        pairs = rain100l(Path(data) / "rain100l", count)
        table["Rain100L"] = summary(pairs)
        scenes = [clean for _, clean in pairs]
    else:
        print("DERAIN_DATA is not set: no Rain100L to compare with")
        scenes = photographs(count)
    for name in PRESETS:
        table[name] = summary(rained(name, scenes))
    print(f"{'':10}" + "".join(f"{name:>11}" for name in COLUMNS))
    for name, row in table.items():
        print(f"{name:10}" + "".join(f"{column['mean']:>11.2f}" for column in row.values()))
    scenes_of = "Rain100L" if data else "scikit-image"
    result = {"scenes": scenes_of, "images": len(scenes), "columns": COLUMNS, "statistics": table}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
