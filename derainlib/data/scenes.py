"""Labelled streets: photographs with a class for every pixel, in the layouts of CamVid and Cityscapes, and their rain.

    folder = scenes.read("camvid", split="test")                # labelled scenes, opened when they are asked for
    pair = scenes.RainyScenes(folder, rain="streets")[0]        # a Pair with labels, its rain always the same
    style = rain.street(size="large", direction=-15)            # rain of one size and direction
    pair = scenes.RainyScenes(folder, rain=style)[0]
    folder = scenes.drawn()                                     # drawn streets, where no such set is at hand

The layouts:

    CamVid       images/x.jpg (or .png) and labels/x.png, values 0 to 10, 11 for unlabelled
    Cityscapes   leftImg8bit/…/x_leftImg8bit.png and gtFine/…/x_gtFine_labelIds.png (or …_labelTrainIds.png), each
                 perhaps with a folder for the split and one for the city

Labels are class indices, int64, `IGNORED` where a pixel has no class. Cityscapes has 19 classes; read with
`classes=CAMVID`, its labels become CamVid's eleven, so that a segmenter of these can judge it.
"""

from collections.abc import Iterable, Sequence
from math import cos, log, radians, sin
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from derainlib import files, images
from derainlib.data import layouts, pairs, samples
from derainlib.data.seeds import HOLDOUT_SEEDS
from derainlib.errors import DataError
from derainlib.layers import IGNORED, Pair
from derainlib.rain import RainStyle, add_rain, generator

SEED = HOLDOUT_SEEDS[500]
"""Seed of the rain on test scenes; no training draws with it."""
SCALES = (0.75, 1.5)
"""How much smaller or larger training shows a scene."""
TURN = 10.0
"""How far training turns a scene to either side, in degrees."""
_FORBIDDEN = -1


class Classes(NamedTuple):
    """The classes of a set."""

    title: str
    names: tuple[str, ...]
    """One name a class: a label is the index here."""
    palette: tuple[tuple[int, int, int], ...]
    """The colour that the set's authors give to each class, 8-bit RGB."""

    def paint(self, labels: Tensor) -> Tensor:
        """Labels (N, H, W) as pictures (N, 3, H, W) in [0, 1], black where a pixel has no class."""
        colours = torch.zeros(IGNORED + 1, 3)
        colours[: len(self.palette)] = torch.tensor(self.palette) / 255
        return colours[labels.cpu()].movedim(-1, 1)


CAMVID = Classes(
    "CamVid",
    samples.CLASSES,
    (
        (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
        (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
    ),
)  # fmt: skip

CITYSCAPES = Classes(
    "Cityscapes",
    (
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ),
    (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
        (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60), (255, 0, 0),
        (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
)  # fmt: skip

_TRAIN_IDS = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14,
    28: 15, 31: 16, 32: 17, 33: 18,
}  # fmt: skip  # Cityscapes: label id → train id; the other ids are not judged
_AS_CAMVID = {
    "road": "road", "sidewalk": "pavement", "building": "building", "wall": "building", "fence": "fence",
    "pole": "pole", "traffic light": "sign", "traffic sign": "sign", "vegetation": "tree", "sky": "sky",
    "person": "pedestrian", "rider": "bicyclist", "car": "car", "truck": "car", "bus": "car", "train": "car",
    "motorcycle": "bicyclist", "bicycle": "bicyclist",
}  # fmt: skip  # as CamVid's own 32 classes were gathered into eleven; terrain has no counterpart


def _values(known: dict[int, int]) -> tuple[int, ...]:
    """The class of every value that a label file may hold."""
    return tuple(known.get(value, IGNORED if value == IGNORED else _FORBIDDEN) for value in range(256))


_CODES = {
    "camvid": _values({**{k: k for k in range(11)}, 11: IGNORED}),
    "labelTrainIds": _values({k: k for k in range(19)}),
    "labelIds": _values({k: _TRAIN_IDS.get(k, IGNORED) for k in range(34)}),
}


class Scene(NamedTuple):
    """A street and its labels: two files, or two tensors."""

    name: str
    image: Path | Tensor
    """A file, or (3, H, W) in [0, 1]."""
    labels: Path | Tensor
    """A file, or (H, W) int64."""
    values: tuple[int, ...] = ()
    """The class of each of the 256 values of a label file; -1 for a value that must not occur."""
    varied: bool = True
    """Whether training scales and turns the scene, besides cropping and mirroring it."""

    def read(self) -> tuple[Tensor, Tensor]:
        """The image (3, H, W), float32 in [0, 1], and its labels (H, W), int64, `IGNORED` where there is no class.

        Raises:
            ImageError: the photograph cannot be read.
            DataError: labels that cannot be read, of another size, or of unknown values.
        """
        if isinstance(self.image, Tensor):
            return self.image, self.labels
        image, labels = images.read(self.image), read_labels(self.labels, self.values)
        if image.shape[-2:] != labels.shape:
            raise DataError(f"{self.labels}: {_sizes(image.shape[-2:], labels.shape)}; replace one of the two")
        return image, labels


class SceneFolder(Sequence[Scene]):
    """Labelled scenes and their classes."""

    def __init__(self, scenes: Sequence[Scene], classes: Classes, layout: str):
        self.scenes, self.classes, self.layout = tuple(scenes), classes, layout

    def __repr__(self) -> str:
        return f"SceneFolder({len(self)} scenes, {len(self.classes.names)} classes, layout={self.layout!r})"

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int | slice) -> "Scene | SceneFolder":
        if isinstance(index, slice):
            return SceneFolder(self.scenes[index], self.classes, self.layout)
        return self.scenes[index]

    @property
    def names(self) -> list[str]:
        """One name a scene."""
        return [scene.name for scene in self.scenes]


def read(folder: str | Path, split: str | None = None, classes: Classes | None = None) -> SceneFolder:
    """The labelled scenes of a folder in the layout of CamVid or Cityscapes.

    Args:
        folder: CamVid: holds images/ and labels/, or splits that do; Cityscapes: holds leftImg8bit/ and gtFine/.
        split: "train", "val" or "test", where the folder has them.
        classes: the labels' classes; by default those of the set. `CAMVID` turns Cityscapes' 19 into CamVid's eleven.

    Returns:
        The scenes, sorted by name. Sizes were compared from the files' headers; values are checked on reading.

    Raises:
        DataError: neither layout, no such split or none chosen, missing labels, sizes that differ, other classes.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give one with images/ and labels/, or leftImg8bit/ and gtFine/")
    if split is None and (known := splits(folder)):
        raise DataError(f"{folder} holds the splits {', '.join(known)}; choose one")
    if split is not None and split not in splits(folder):
        raise DataError(f"{folder} has no split {split!r}; it has {', '.join(splits(folder)) or 'none'}")
    layout, own, found, lonely = find(folder, split)
    for problem, names in lonely.items():
        layouts.refuse(names, folder, problem, "add the missing files or remove the others")
    if not found:
        raise DataError(
            f"{folder}: no labelled scenes; they lie in images/ and labels/ (CamVid) or in leftImg8bit/ and gtFine/ "
            "(Cityscapes)"
        )
    for scene in found:
        if problem := misfit(scene):
            raise DataError(f"{folder}: {scene.name}: {problem}; replace one of the two")
    return SceneFolder(_as_classes(found, own, classes or own), classes or own, layout)


def splits(folder: str | Path) -> list[str]:
    """Which of train, val and test a folder has, in either layout."""
    root = Path(folder) / "leftImg8bit"
    root = root if root.is_dir() else Path(folder)
    inside = () if root.name == "leftImg8bit" else ("images",)
    return [name for name in ("train", "val", "test") if root.joinpath(name, *inside).is_dir()]


def drawn(seeds: Iterable[int] = range(16), size: tuple[int, int] = (240, 320)) -> SceneFolder:
    """Streets drawn by `samples.street`, with CamVid's classes: for people without CamVid.

    Args:
        seeds: one a street.
        size: (H, W) in pixels.
    """
    streets = ((seed, *samples.street(size, seed)) for seed in seeds)
    return SceneFolder([Scene(f"drawn-{seed}", i[0], k[0]) for seed, i, k in streets], CAMVID, "drawn")


class RainyScenes(Sequence[Pair]):
    """Rain on labelled scenes: pairs of one scene each, with labels, the drawn rain and its location.

    The rain of a scene depends on its place and the seed alone.

    Args:
        scenes: what to rain on.
        rain: preset, mix or style, see `derainlib.rain`.
        seed: of the rain.
    """

    def __init__(self, scenes: Sequence[Scene], rain: RainStyle | str = "streets", seed: int = SEED):
        self.scenes, self.rain, self.seed = scenes, rain, seed

    @property
    def names(self) -> list[str]:
        """One name a scene."""
        return [scene.name for scene in self.scenes]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> Pair:
        place = range(len(self))[index]
        image, labels = self.scenes[place].read()
        pair = add_rain(image[None], self.rain, [generator(self.seed, 0, place)])
        return pair._replace(labels=labels[None])


# --- what training looks at -------------------------------------------------------------------------------------


class View(NamedTuple):
    """Where training looks at a scene."""

    y: float
    x: float
    """Middle of the window, in pixels of the scene."""
    scale: float = 1.0
    """Pixels of the window for each pixel of the scene."""
    angle: float = 0.0
    """Degrees that the scene turns, clockwise as seen."""
    mirrored: bool = False


def draw_view(size: tuple[int, int], patch: int, generator: torch.Generator) -> View:
    """A random view: place and mirroring; in every other draw also scale (`SCALES`) and angle (±`TURN`).

    The other half keeps the photograph's own pixels, since scaling and turning soften them. A window reaches over the
    scene's borders only where it is turned.

    Args:
        size: (H, W) of the scene, both at least `patch`.
        patch: side of the window in pixels.
        generator: where the draws come from.
    """
    vary, scale, turn, y, x, mirror = torch.rand(6, generator=generator, dtype=torch.float64).tolist()
    mirrored = mirror < 0.5
    if vary < 0.5:
        top, left = (int(u * (side - patch + 1)) for u, side in zip((y, x), size, strict=True))
        return View(top + (patch - 1) / 2, left + (patch - 1) / 2, mirrored=mirrored)
    low, high = (log(s) for s in (max(SCALES[0], patch / min(size)), SCALES[1]))
    factor = float(np.exp(low + (high - low) * scale)) if high > low else 1.0
    half = (patch / factor - 1) / 2
    y, x = (half + u * (side - 1 - 2 * half) for u, side in zip((y, x), size, strict=True))
    return View(y, x, factor, TURN * (2 * turn - 1), mirrored)


def look(image: Tensor, view: View, patch: int) -> Tensor:
    """What a view shows of images, bilinear, mirrored at the borders: float (N, C, H, W) → (N, C, P, P)."""
    places = zip(_places(view, patch), image.shape[-2:], strict=True)
    y, x = ((2 * at + 1) / side - 1 for at, side in places)
    grid = torch.stack([x, y], -1).to(image).expand(len(image), -1, -1, -1)
    return F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)


def look_at_labels(labels: Tensor, view: View, patch: int) -> Tensor:
    """What a view shows of labels, nearest, `IGNORED` outside: (N, H, W) → (N, P, P), same type."""
    y, x = (at.round().long() for at in _places(view, patch))
    height, width = labels.shape[-2:]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    found = labels[:, y.clamp(0, height - 1), x.clamp(0, width - 1)]
    return found.masked_fill_(~inside, IGNORED)


def _places(view: View, patch: int) -> tuple[Tensor, Tensor]:
    """Row and column in the scene of each pixel of the window, (P, P) each."""
    at = (torch.arange(patch, dtype=torch.float64) - (patch - 1) / 2) / view.scale
    down, right = at[:, None], -at if view.mirrored else at
    c, s = cos(radians(view.angle)), sin(radians(view.angle))
    return view.y + down * c - right * s, view.x + down * s + right * c


# --- finding and reading ----------------------------------------------------------------------------------------


Lonely = dict[str, list[str]]
"""Names of files without a partner, by what they lack."""


def find(folder: Path, split: str | None = None) -> tuple[str, Classes, list[Scene], Lonely]:
    """The layout of a folder or of a split of it, its own classes, its scenes, and the files without a partner."""
    if (folder / "leftImg8bit").is_dir():
        return "cityscapes", CITYSCAPES, *_find_cityscapes(folder, split)
    return "camvid", CAMVID, *_find_camvid(folder / (split or ""))


def misfit(scene: Scene) -> str | None:
    """How a scene's photograph and labels differ in size, judged from their headers.

    Raises:
        DataError: one of the two is not an image.
    """
    sizes = layouts.header_size(scene.image), layouts.header_size(scene.labels)
    return _sizes(*sizes) if sizes[0] != sizes[1] else None


def _find_camvid(folder: Path) -> tuple[list[Scene], Lonely]:
    if not ((folder / "images").is_dir() and (folder / "labels").is_dir()):
        return [], {}
    photographs, labels = (
        {layouts.spelt(path.stem): path for path in pairs.photographs(folder / side)} for side in ("images", "labels")
    )
    lonely = {
        "no file in labels/ for": sorted(photographs.keys() - labels.keys()),
        "no file in images/ for": sorted(labels.keys() - photographs.keys()),
    }
    both = [stem for stem in photographs if stem in labels]
    return [Scene(stem, photographs[stem], labels[stem], _CODES["camvid"]) for stem in both], lonely


def _find_cityscapes(folder: Path, split: str | None) -> tuple[list[Scene], Lonely]:
    root = folder / "leftImg8bit"
    ending = "_leftImg8bit.png"
    photographs = sorted((root / (split or "")).rglob(f"*{ending}"))
    found, missing = [], []
    for path in photographs:
        stem = path.name.removesuffix(ending)
        beside = folder / "gtFine" / path.relative_to(root).parent
        kinds = ((code, beside / f"{stem}_gtFine_{code}.png") for code in ("labelTrainIds", "labelIds"))
        code, labels = next(((code, file) for code, file in kinds if file.is_file()), (None, None))
        if labels is None:
            missing.append(stem)
        else:
            found.append(Scene(stem, path, labels, _CODES[code]))
    return found, {"neither _gtFine_labelTrainIds.png nor _gtFine_labelIds.png in gtFine/ for": missing}


def _sizes(image: tuple[int, int], labels: tuple[int, int]) -> str:
    return f"the image is {image[1]}x{image[0]} and its labels are {labels[1]}x{labels[0]}"


def _as_classes(found: list[Scene], own: Classes, wanted: Classes) -> list[Scene]:
    if wanted == own:
        return found
    if (own, wanted) != (CITYSCAPES, CAMVID):
        raise DataError(f"{own.title}'s labels cannot become {wanted.title}'s; only Cityscapes' can become CamVid's")
    table = [CAMVID.names.index(_AS_CAMVID[name]) if name in _AS_CAMVID else IGNORED for name in CITYSCAPES.names]
    known = dict(enumerate(table))
    return [scene._replace(values=tuple(known.get(value, value) for value in scene.values)) for scene in found]


def read_labels(path: Path, values: tuple[int, ...]) -> Tensor:
    """The labels (H, W) of a file, int64; see `Scene`.

    Raises:
        DataError: labels that cannot be read, or of unknown values.
    """
    try:
        with files.opened(path) as file, Image.open(file) as picture:
            numbers = np.asarray(picture)
    except Exception as error:  # Pillow raises many kinds
        raise DataError(f"{path}: labels cannot be read ({type(error).__name__}); replace the file") from error
    if numbers.ndim != 2 or numbers.dtype != np.uint8:
        raise DataError(f"{path}: labels are one class number a pixel, 8 bits; this is a picture of colours")
    labels = np.array(values)[numbers]
    if (strange := numbers[labels == _FORBIDDEN]).size:
        known = [value for value, label in enumerate(values) if label not in (_FORBIDDEN, IGNORED)]
        raise DataError(
            f"{path}: {strange.size} pixels have the value {strange[0]}, which is no class; classes are "
            f"{known[0]} to {known[-1]}"
        )
    return torch.from_numpy(labels.astype(np.int64))
