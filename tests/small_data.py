"""Research data in small, for tests of what trains and measures."""

from pathlib import Path

import torch

from derainlib import images, rain
from derainlib.data import samples


def write(data: Path) -> Path:
    """Makes of an empty folder one as DERAIN_DATA names it, with a handful of drawn pictures in each part."""
    lists = {"bsds500_train": "bsds500", "urban100_train": "urban100", "cc0_train": "cc0"}
    for seed, (split, folder) in enumerate(lists.items()):
        names = [f"train/{k}.png" if folder == "bsds500" else f"{k}.png" for k in range(6)]
        for k, name in enumerate(names):
            images.write(samples.street((70, 80), seed=10 * seed + k)[0][0], made(data / folder / name))
        made(data / "splits" / f"{split}.txt").write_text("\n".join(names[1:]) + "\n")
    for k in range(3):
        clean = samples.street((70, 80), seed=50 + k)[0]
        rainy = rain.add_rain(clean, "light", [rain.generator(k)]).rainy
        images.write(torch.cat([clean[0], rainy[0]], 2), made(data / "rain800/training" / f"{k}.png"))
        layer = rain.draw("heavy", (70, 80), [rain.generator(k)])[0].clamp(0, 1).expand(3, -1, -1)
        for folder in ("garg", "raintrainh"):
            images.write(layer, made(data / "streaks" / folder / f"{k}.png"))
    (data / "splits/rain800_train.txt").write_text("0.png\n1.png\n")
    (data / "splits/raintrainh_train.txt").write_text("2.png\n")
    return data


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
