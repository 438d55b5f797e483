"""Makes this folder anew: the sample pictures and the README that states their terms.

    python data/make.py [folder] [--cc0 DIR]

The same versions of the libraries give the same files. Only what the project may hand out goes in: photographs in the
public domain that come with scikit-image, others that their collection publishes as CC0, and a drawn street. Of the
CC0 photographs the clean.png in this folder are copied, or made anew from the originals in DIR.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from derainlib import images, rain
from derainlib.data import samples

LONG_SIDE = 288  # of the photographs, in pixels
STYLES = {"light": "light rain", "heavy": "heavy rain", "veil": "rain with a veil of mist"}
# CamVid's colours, so that a viewer of pictures shows labels as papers do.
COLOURS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """One clean picture: what it shows, where it comes from, and the terms under which it may be passed on."""

    name: str
    shows: str
    origin: str
    licence: str


BUDGIE = "*{}*, from the collection Budgie Backgrounds (BuddiesOfBudgie/budgie-backgrounds)"

# The rain on a scene depends on its place here: new ones go to the end.
SCENES = (
    Scene("astronaut", "Eileen Collins", "NASA, by way of `skimage.data.astronaut`", "public domain (NASA)"),
    Scene("chelsea", "a cat", "Stéfan van der Walt, by way of `skimage.data.chelsea`", "CC0 1.0"),
    Scene("coffee", "a cup", "Rachel Michetti, by way of `skimage.data.coffee`", "CC0 1.0"),
    Scene("rocket", "a launch", "SpaceX, by way of `skimage.data.rocket`", "public domain (SpaceX)"),
    Scene("street", "a drawn street", "`derainlib.data.samples.street`", "MIT (drawn by this project)"),
    Scene("casa-mila", "the courtyard of Casa Milà", BUDGIE.format("casa-mila"), "CC0 1.0"),
    Scene("lake-sherburne", "Lake Sherburne", BUDGIE.format("lake-sherburne"), "CC0 1.0"),
    Scene("oakland-zoo-otters", "two otters", BUDGIE.format("oakland-zoo-otters"), "CC0 1.0"),
    Scene("roman-colosseum", "the Colosseum", BUDGIE.format("roman-colosseum"), "CC0 1.0"),
    Scene("the-spices-of-life", "spices in bowls", BUDGIE.format("the-spices-of-life"), "CC0 1.0"),
)

README = """# Sample pictures

Small pictures that this project may hand out, so that every notebook and test has something to work on where nothing
was downloaded. `derainlib.data.samples` reads them (`samples.names()`, `samples.load("astronaut-light")`), and
`python data/make.py` makes them anew. Photographs were made smaller; rain was drawn by `derainlib.rain` and is under
the same terms as the picture that it falls on. No picture here comes from a research data set, and no shipped network
was trained on the five of Budgie Backgrounds.

| file | what it is | origin | licence |
|---|---|---|---|
{rows}

`street/labels.png` holds a class for each pixel, in CamVid's order: {classes}.
"""


def clean_picture(scene: Scene, cc0: Path | None) -> tuple[Tensor, Tensor | None]:
    """The clean picture (1, 3, H, W) on 8-bit steps, and its labels (1, H, W) if it has any."""
    if scene.name == "street":
        return samples.street((216, LONG_SIDE), seed=2)
    if scene.name in samples.STORED and cc0:
        return smaller(images.read(cc0 / f"{scene.name}.jpg")[None]), None
    photograph = samples.photograph(scene.name)
    return photograph if scene.name in samples.STORED else smaller(photograph), None


def smaller(photograph: Tensor) -> Tensor:
    """A photograph (1, 3, H, W) with `LONG_SIDE` pixels on its long side, on 8-bit steps."""
    scale = LONG_SIDE / max(photograph.shape[-2:])
    size = [round(side * scale) for side in photograph.shape[-2:]]
    reduced = F.interpolate(photograph, size=size, mode="bicubic", antialias=True, align_corners=False)
    return (reduced.clamp(0, 1) * 255).round() / 255


def write_labels(labels: Tensor, path: Path) -> None:
    """Class numbers as a PNG with a palette: the numbers are the pixels, the palette shows them in colour."""
    picture = Image.fromarray(labels[0].numpy().astype(np.uint8), mode="P")
    picture.putpalette([value for colour in COLOURS for value in colour])
    picture.save(path, optimize=True)


def make(folder: Path, cc0: Path | None = None) -> list[Path]:
    """Writes every picture and the README into `folder`; returns the files.

    Args:
        folder: where they go; made if missing.
        cc0: where the originals of the CC0 photographs lie, `casa-mila.jpg` …; None takes those of `samples.FOLDER`.
    """
    rows, files = [], []

    def note(path: Path, what: str, scene: Scene) -> None:
        files.append(path)
        rows.append(f"| `{path.relative_to(folder).as_posix()}` | {what} | {scene.origin} | {scene.licence} |")

    for number, scene in enumerate(SCENES):
        home = folder / scene.name
        home.mkdir(parents=True, exist_ok=True)
        clean, labels = clean_picture(scene, cc0)
        images.write(clean, home / "clean.png")
        note(home / "clean.png", scene.shows, scene)
        for style, description in STYLES.items():
            pair = rain.add_rain(clean, style, [rain.generator(seed=2024, index=number)])
            images.write(pair.rainy, home / f"{style}.png")
            note(home / f"{style}.png", f"{scene.shows} in {description}", scene)
        if labels is not None:
            write_labels(labels, home / "labels.png")
            note(home / "labels.png", "class of each pixel", scene)
    readme = folder / "README.md"
    readme.write_text(README.format(rows="\n".join(rows), classes=", ".join(samples.CLASSES)), encoding="utf-8")
    return [*files, readme]


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=samples.FOLDER, help="where they go (this folder)")
    parser.add_argument("--cc0", type=Path, metavar="DIR", help="the originals of the CC0 photographs")
    chosen = parser.parse_args()
    written = make(chosen.folder, chosen.cc0)
    print(f"{len(written)} files, {sum(path.stat().st_size for path in written) / 1e6:.2f} MB")
