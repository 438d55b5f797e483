"""Pictures that the project may hand out: sample pairs in `data/`, photographs, drawn streets.

    pair = samples.load("astronaut-light")       # a Pair from the repository's data/ folder
    clean = samples.photograph("chelsea")        # a photograph, scikit-image's at full size
    image, labels = samples.street(seed=3)       # a street that is drawn on the spot, with a class for each pixel

`data/make.py` makes the folder anew, file for file; `data/README.md` says where each file comes from and its licence.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from derainlib import images, rain
from derainlib.errors import DataError
from derainlib.layers import Pair

FOLDER = Path(__file__).resolve().parents[2] / "data"
CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip  # CamVid's eleven, in its order: the label of a pixel is the index here
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")  # scikit-image's, at full size
STORED = (
    "casa-mila", "lake-sherburne", "oakland-zoo-otters", "roman-colosseum", "the-spices-of-life",
)  # fmt: skip  # in data/ only, made smaller
WALLS = ((178, 120, 96), (196, 184, 160), (150, 140, 134), (172, 150, 120))
PAINTS = ((160, 40, 40), (44, 70, 120), (206, 206, 210), (58, 60, 64))
SIGNS = ((190, 44, 40), (40, 82, 168), (214, 176, 40))
_NOT_RAINY = ("clean", "labels")


def names() -> list[str]:
    """The pairs in `data/`, as scene-style: `astronaut-light`, `street-heavy` …"""
    rainy = (path for path in _folder().glob("*/*.png") if path.stem not in _NOT_RAINY)
    return sorted(f"{path.parent.name}-{path.stem}" for path in rainy)


def load(name: str) -> Pair:
    """One pair of `data/`.

    Args:
        name: one of `names()`.

    Returns:
        A `Pair` of shape (1, 3, H, W), with the location map of its rain, and with labels (1, H, W) if it is a street.

    Raises:
        DataError: no such pair, or the folder `data/` is not there.
    """
    if name not in (known := names()):
        raise DataError(f"no sample is named {name!r}; there are {', '.join(known)}")
    scene, style = name.rsplit("-", 1)
    folder = _folder() / scene
    rainy, clean = (images.read(folder / f"{stem}.png")[None] for stem in (style, "clean"))
    label_file = folder / "labels.png"
    labels = torch.from_numpy(np.array(Image.open(label_file), dtype=np.int64))[None] if label_file.exists() else None
    return Pair(rainy, clean, location=rain.location(rainy - clean), labels=labels)


def photograph(name: str) -> Tensor:
    """A photograph without rain, free to pass on.

    Args:
        name: one of `PHOTOGRAPHS`, which scikit-image carries in its wheel: `astronaut` (512 x 512, NASA, public
            domain), `chelsea` (300 x 451, CC0), `coffee` (400 x 600, CC0) or `rocket` (427 x 640, SpaceX, public
            domain); height x width. Or one of `STORED`, CC0, from `data/`: 288 pixels on the long side.

    Returns:
        (1, 3, H, W) float32 in [0, 1].

    Raises:
        DataError: no such photograph, or the folder `data/` is not there.
    """
    if name in STORED:
        return images.read(_folder() / name / "clean.png")[None]
    if name not in PHOTOGRAPHS:
        raise DataError(f"no photograph is named {name!r}; there are {', '.join((*PHOTOGRAPHS, *STORED))}")
    from skimage import data  # a heavy import, so only here

    return _as_image(getattr(data, name)())


def street(size: tuple[int, int] = (240, 320), seed: int = 0) -> tuple[Tensor, Tensor]:
    """A street scene that is drawn from a seed, and the class of each of its pixels.

    Everything varies with the seed: where the road vanishes, its width, the light, houses and their windows, trees,
    poles, signs, fences, cars, people and bicycles. In a landscape picture of 120 lines or more all eleven classes
    occur.

    Args:
        size: (H, W) in pixels, each at least 64.
        seed: any whole number from 0; the same seed and size give the same picture.

    Returns:
        The image (1, 3, H, W), float32 in [0, 1], and the labels (1, H, W), int64, indices of `CLASSES`.
    """
    if min(size) < 64:
        raise DataError(f"a street of {size[0]} x {size[1]} is too small to draw; give at least 64 x 64")
    image, labels = _Street(size, np.random.default_rng(seed)).draw()
    return _as_image(image), torch.from_numpy(labels.astype(np.int64))[None]


def _folder() -> Path:
    if not (FOLDER / "README.md").is_file():
        raise DataError(
            f"the sample pictures are not at {FOLDER}: they come with the repository, not with the installed package; "
            'clone it and install with `pip install -e .`, or use samples.photograph("chelsea") and samples.street()'
        )
    return FOLDER


def _as_image(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 as (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].contiguous().float() / 255


class _Street:
    """Draws the scene from back to front, colours and labels with the same strokes.

    All drawing is done at three times the size, with coordinates in units of the picture's height, and averaged down:
    smooth edges in the image, one class a pixel in the labels.
    """

    SCALE = 3

    def __init__(self, size: tuple[int, int], rng: np.random.Generator):
        self.size, self.rng = size, rng
        self.aspect = size[1] / size[0]
        self.unit = size[0] * self.SCALE  # canvas pixels in one picture height
        canvas = (size[1] * self.SCALE, self.unit)
        self.image, self.labels = Image.new("RGB", canvas), Image.new("L", canvas)
        self.brushes = ImageDraw.Draw(self.image), ImageDraw.Draw(self.labels)
        self.horizon = rng.uniform(0.42, 0.52)
        self.vanishing = self.aspect * rng.uniform(0.42, 0.58)
        self.road_half = rng.uniform(0.5, 0.62)  # half the road's width where it leaves the picture
        self.pavement = rng.uniform(0.28, 0.4)  # width of each pavement there
        self.light = rng.uniform(0.8, 1.05)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        """The picture (H, W, 3) and its labels (H, W), both uint8."""
        self._sky()
        self._ground()
        for side in (-1, 1):
            self._houses(side)
            self._fence(side)
            self._trees(side)
            self._posts(side)
            self._people(side)
        for side, depth in ((1, 0.22), (-1, 0.3), (1, 0.5)):
            self._car(side, depth)
        self._bicyclist()
        return self._developed()

    # Perspective: depth 0 is far away at the vanishing point, depth 1 the lower edge of the picture.

    def _ground_point(self, across: float, depth: float) -> tuple[float, float]:
        """Picture coordinates of a point on the ground; `across` is its distance from the road's middle at depth 1."""
        return self.vanishing + across * depth, self.horizon + (1 - self.horizon) * depth

    def _fill(self, points: list, colour: tuple, label: str, shape: str = "polygon"):
        """The same shape on the image and on the labels; an outline in units of the picture's height."""
        canvas = [(round(x * self.unit), round(y * self.unit)) for x, y in points]
        shade = tuple(int(min(255, max(0, value * self.light))) for value in colour)
        for brush, fill in zip(self.brushes, (shade, CLASSES.index(label)), strict=True):
            getattr(brush, shape)(canvas, fill=fill)

    def _box(self, left: float, top: float, right: float, bottom: float, colour: tuple, label: str, shape="rectangle"):
        self._fill([(left, top), (max(left, right), max(top, bottom))], colour, label, shape)

    def _varied(self, colour: tuple, amount: float = 18) -> tuple:
        return tuple(np.asarray(colour) + self.rng.uniform(-amount, amount) + self.rng.uniform(-6, 6, 3))

    def _sky(self):
        top, low = self._varied((120, 160, 205)), self._varied((215, 222, 228))
        rows = np.linspace(0, 1, 48)
        for start, mix in zip(rows, rows, strict=True):
            colour = tuple((1 - mix) * np.asarray(top) + mix * np.asarray(low))
            self._box(0, start * self.horizon, self.aspect, (start + 1 / 40) * self.horizon + 0.01, colour, "sky")
        for _ in range(self.rng.integers(2, 6)):
            x, y = self.rng.uniform(0, self.aspect), self.rng.uniform(0.02, 0.3)
            for _ in range(6):
                dx, dy, r = self.rng.uniform(-0.1, 0.1), self.rng.uniform(-0.02, 0.02), self.rng.uniform(0.02, 0.05)
                self._box(x + dx - 2 * r, y + dy - r, x + dx + 2 * r, y + dy + r, (232, 235, 238), "sky", "ellipse")

    def _ground(self):
        self._box(0, self.horizon, self.aspect, 1.01, self._varied((120, 118, 112)), "pavement")
        edge = self.road_half + self.pavement
        for half, colour, label in ((edge, (158, 152, 146), "pavement"), (self.road_half, (86, 86, 92), "road")):
            corners = [self._ground_point(across, depth) for across, depth in ((0, 0), (half, 1.05), (-half, 1.05))]
            self._fill(corners, self._varied(colour), label)
        for near in 1.0 / np.arange(1, 9, 0.9):
            corners = [(-0.012, near), (0.012, near), (0.012, near * 0.8), (-0.012, near * 0.8)]
            self._fill([self._ground_point(*corner) for corner in corners], (214, 212, 200), "road")

    def _houses(self, side: int):
        """Fronts along the pavement, each a trapezium towards the vanishing point, drawn from far to near."""
        foot = side * (self.road_half + self.pavement)
        depths = [0.06]
        while depths[-1] < 1.3:
            depths.append(depths[-1] * self.rng.uniform(1.35, 1.8))
        for far, near in pairwise(depths):
            height = self.rng.uniform(0.7, 1.25)
            wall = WALLS[self.rng.integers(len(WALLS))]
            self._fill(self._front(foot, far, near, 0, height), self._varied(wall), "building")
            self._windows(foot, far, near, height)

    def _front(self, foot: float, far: float, near: float, low: float, high: float) -> list[tuple[float, float]]:
        """Corners of an upright strip along the street, between two depths and two heights above the ground."""
        corners = []
        for depth, heights in ((far, (low, high)), (near, (high, low))):
            x, ground = self._ground_point(foot, depth)
            corners += [(x, ground - height * depth) for height in heights]
        return corners

    def _windows(self, foot: float, far: float, near: float, height: float):
        columns, rows = self.rng.integers(2, 5), self.rng.integers(2, 5)
        glass = self._varied((74, 84, 98))
        for column in range(columns):
            ratio = (near / far) ** (1 / columns)
            left, right = far * ratio ** (column + 0.25), far * ratio ** (column + 0.75)
            for row in range(rows):
                low = height * (row + 0.3) / rows
                self._fill(self._front(foot, left, right, low, low + 0.4 * height / rows), glass, "building")

    def _fence(self, side: int):
        foot = side * (self.road_half + self.pavement * 0.97)
        start = self.rng.uniform(0.2, 0.4)
        colour = self._varied((96, 88, 70))
        for far in np.geomspace(start, start * 2.2, 14):
            self._fill(self._front(foot, far, far * 1.03, 0, 0.2), colour, "fence")
        for low in (0.06, 0.15):
            self._fill(self._front(foot, start, start * 2.2, low, low + 0.025), colour, "fence")

    def _trees(self, side: int):
        for depth in np.sort(self.rng.uniform(0.15, 0.9, self.rng.integers(1, 4))):
            x, ground = self._ground_point(side * (self.road_half + 0.8 * self.pavement), depth)
            self._box(x - 0.02 * depth, ground - 0.4 * depth, x + 0.02 * depth, ground, (84, 66, 52), "tree")
            leaves = self._varied((70, 104, 58))
            for _ in range(26):
                dx, dy = self.rng.normal(0, 0.09, 2) * depth
                r = self.rng.uniform(0.04, 0.09) * depth
                y = ground - 0.55 * depth + dy
                self._box(x + dx - r, y - r, x + dx + r, y + r, self._varied(leaves, 14), "tree", "ellipse")

    def _posts(self, side: int):
        for depth in (0.25, 0.5, 0.95):
            x, ground = self._ground_point(side * (self.road_half + 0.12 * self.pavement), depth)
            half = max(0.008 * depth, 0.5 / self.size[0])
            self._box(x - half, ground - 0.8 * depth, x + half, ground, (72, 74, 78), "pole")
            if depth == 0.5:
                r = 0.055 * depth
                colour = SIGNS[self.rng.integers(len(SIGNS))]
                y = ground - 0.62 * depth
                self._box(x - r, y - r, x + r, y + r, colour, "sign", "ellipse")
                self._box(x - r / 2, y - r / 4, x + r / 2, y + r / 4, (236, 236, 232), "sign")

    def _people(self, side: int):
        for depth in np.sort(self.rng.uniform(0.3, 0.8, self.rng.integers(1, 3))):
            across = side * (self.road_half + self.rng.uniform(0.3, 0.6) * self.pavement)
            self._person(*self._ground_point(across, depth), 0.32 * depth, "pedestrian")

    def _person(self, x: float, ground: float, height: float, label: str):
        trousers, coat = self._varied((52, 56, 72)), self._varied((130, 84, 84), 50)
        for step in (-0.07, 0.07):
            feet = [(x + (step + width) * height, ground) for width in (0.05, -0.05)]
            self._fill([(x, ground - 0.5 * height), *feet], trousers, label)
        self._box(x - 0.11 * height, ground - 0.84 * height, x + 0.11 * height, ground - 0.42 * height, coat, label)
        head = 0.075 * height
        y = ground - 0.92 * height
        self._box(x - head, y - head, x + head, y + head, (206, 168, 142), label, "ellipse")

    def _car(self, side: int, depth: float):
        x, ground = self._ground_point(side * self.road_half * 0.62, depth * self.rng.uniform(0.85, 1.1))
        half, high = 0.2 * depth, 0.27 * depth
        paint = self._varied(PAINTS[self.rng.integers(len(PAINTS))])
        for wheel in (-0.75, 0.55):
            box = (x + wheel * half, ground - 0.1 * depth, x + (wheel + 0.2) * half, ground + 0.01 * depth)
            self._box(*box, (28, 28, 30), "car")
        self._box(x - half, ground - 0.6 * high, x + half, ground - 0.12 * high, paint, "car")
        cabin = [(-0.85, 0.58), (-0.6, 1.0), (0.6, 1.0), (0.85, 0.58)]
        self._fill([(x + dx * half, ground - dy * high) for dx, dy in cabin], paint, "car")
        pane = [(-0.7, 0.6), (-0.52, 0.94), (0.52, 0.94), (0.7, 0.6)]
        self._fill([(x + dx * half, ground - dy * high) for dx, dy in pane], (96, 112, 126), "car")
        lamp = (236, 228, 190) if side < 0 else (196, 52, 44)
        for dx in (-0.92, 0.72):
            self._box(x + dx * half, ground - 0.5 * high, x + (dx + 0.2) * half, ground - 0.36 * high, lamp, "car")

    def _bicyclist(self):
        depth = self.rng.uniform(0.4, 0.6)
        x, ground = self._ground_point(self.road_half * self.rng.uniform(-0.15, 0.15), depth)
        radius = 0.08 * depth
        for dx in (-0.1 * depth, 0.1 * depth):
            for r, colour in ((radius, (36, 36, 40)), (0.7 * radius, (120, 120, 124))):
                box = (x + dx - r, ground - radius - r, x + dx + r, ground - radius + r)
                self._box(*box, colour, "bicyclist", "ellipse")
        frame = [(x - 0.1 * depth, ground - radius), (x + 0.1 * depth, ground - radius), (x, ground - 0.2 * depth)]
        self._fill(frame, self._varied((60, 96, 72)), "bicyclist")
        self._person(x, ground - 0.1 * depth, 0.3 * depth, "bicyclist")

    def _developed(self) -> tuple[np.ndarray, np.ndarray]:
        """Texture and grain on the large drawing, then both pictures averaged down to their size."""
        height, width = self.size
        rows, columns = height * self.SCALE, width * self.SCALE
        fine = self.rng.normal(0, 9, (rows, columns))
        coarse = np.kron(self.rng.normal(0, 2, (rows // 12 + 1, columns // 12 + 1)), np.ones((12, 12)))
        large = np.asarray(self.image, dtype=np.float64) + (fine + coarse[:rows, :columns])[..., None]
        averaged = large.reshape(height, self.SCALE, width, self.SCALE, 3).mean((1, 3))
        middle = np.asarray(self.labels)[self.SCALE // 2 :: self.SCALE, self.SCALE // 2 :: self.SCALE]
        return np.clip(np.rint(averaged), 0, 255).astype(np.uint8), middle
