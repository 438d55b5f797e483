"""The hold-out: rainy photographs fixed once for all networks, so that scores of different days compare.

Six kinds of rain on two sets of photographs, and none on three. Nothing in it may move: the photographs are listed by
name, the rain's style is written out in numbers (tuning `derainlib.rain.PRESETS` does not reach it), the seeds are
kept from training, the rendering is done in float64 and rounded to 8 bits. A checksum over all bytes stands
in the code; pixels that differ are refused, because scores on them would not compare.

| kind       | the rainy input, PSNR on RGB | rain                                                            |
|------------|------------------------------|-----------------------------------------------------------------|
| light      | 26.5 ± 1 dB                  | thin soft streaks of one direction, as in Rain100L              |
| heavy      | 13 ± 1.5 dB                  | dense long flat streaks, as in RainTrainH and Rain100H          |
| veil       | 15 ± 1.5 dB                  | streaks in a mist that thickens with distance                   |
| side-light | as light                     | the pairs of light, turned by 90°: a portrait that lies         |
| side-heavy | as heavy                     | the pairs of heavy, turned likewise                             |
| wide       | 21.5 ± 1.5 dB                | broad soft streaks out of focus, as in QSNet's Test-III         |
| dry        | infinite                     | none: what is scored is the damage that the network does itself |

Beside them, `raintrainh` lays real layers on photographs: RainTrainH's own, those that train nothing.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from derainlib import images
from derainlib.data import pairs
from derainlib.data.seeds import HOLDOUT_SEEDS
from derainlib.errors import DataError
from derainlib.layers import Pair
from derainlib.rain import RainStyle, add_rain, generator


@dataclass(frozen=True)
class Kind:
    """A kind of rain in the hold-out: its style in numbers, and a seed that nothing else draws with."""

    style: RainStyle
    seed: int
    turned: bool = False
    """Whether the pairs are turned by 90°, to the left."""


KINDS: dict[str, Kind] = {
    "light": Kind(
        RainStyle(
            method="drawn", angle=(-35.0, 35.0), directions=1, spread=3.0, density=(28.0, 76.0), bundle=3,
            length=(25.0, 75.0), width=(1.7, 3.2), brightness=(0.12, 0.33), depth=0.25, edge=(0.4, 1.0),
            taper=(0.2, 1.0), blur=(0.0, 0.0), composition="additive",
        ),
        seed=HOLDOUT_SEEDS[0],
    ),
    "heavy": Kind(
        RainStyle(
            method="drawn", angle=(-45.0, 45.0), directions=1, spread=2.0, density=(50.0, 110.0), bundle=1,
            length=(60.0, 160.0), width=(2.5, 5.5), brightness=(0.24, 0.44), depth=0.3, edge=(0.0, 0.7),
            taper=(0.0, 0.5), blur=(0.0, 0.0), composition="additive",
        ),
        seed=HOLDOUT_SEEDS[1],
    ),
    "veil": Kind(
        RainStyle(
            method="drawn", angle=(-30.0, 30.0), directions=1, spread=3.0, density=(60.0, 150.0), bundle=2,
            length=(40.0, 110.0), width=(1.5, 4.0), brightness=(0.2, 0.4), depth=0.25, edge=(0.4, 1.0),
            taper=(0.3, 1.0), blur=(0.0, 0.8), composition="veil", haze=(0.3, 1.2), airlight=(0.55, 0.9),
        ),
        seed=HOLDOUT_SEEDS[2],
    ),
    "wide": Kind(
        RainStyle(
            method="drawn", angle=(-30.0, 30.0), directions=1, spread=4.0, density=(6.0, 30.0), bundle=1,
            length=(40.0, 140.0), width=(5.0, 14.0), brightness=(0.12, 0.4), depth=0.3, edge=(0.8, 1.0),
            taper=(0.6, 1.0), blur=(1.0, 3.0), composition="additive",
        ),
        seed=HOLDOUT_SEEDS[3],
    ),
    "dry": Kind(RainStyle(density=(0.0, 0.0)), seed=HOLDOUT_SEEDS[4]),
}  # fmt: skip
KINDS |= {f"side-{name}": replace(KINDS[name], turned=True) for name in ("light", "heavy")}

# Of BSDS500's test part, and in none of: the training photographs, Rain800's training pairs, Rain100L.
BSDS500 = (
    "100099", "103006", "118031", "130066", "140006", "146074", "16004", "17067", "208078", "217090",
    "223060", "228076", "250047", "253016", "28083", "309040", "344010", "376086", "69007", "8068",
)  # fmt: skip

# Colour photographs that come with scikit-image, and the window taken of each: top, left, height, width.
SKIMAGE = {
    "astronaut": (0, 60, 360, 360),
    "chelsea": (0, 0, 300, 451),
    "coffee": (20, 60, 360, 480),
    "rocket": (0, 80, 360, 480),
    "stereo_motorcycle": (100, 130, 360, 480),
}

# Urban100's buildings that do not train: repeated thin lines, which a network easily takes for rain.
URBAN100 = (
    "img_003", "img_008", "img_013", "img_018", "img_023", "img_028", "img_033", "img_038", "img_043", "img_048",
    "img_053", "img_058", "img_063", "img_068", "img_073", "img_078", "img_083", "img_088", "img_093", "img_098",
)  # fmt: skip

SOURCES = {"bsds500": BSDS500, "skimage": tuple(SKIMAGE), "urban100": URBAN100}
FULL = ("bsds500", "skimage")
"""Sources that every kind of rain falls on; on the others only the network's own damage is measured, "dry"."""

SETS = [(kind, source) for kind in KINDS for source in SOURCES if source in FULL or kind == "dry"]
"""The kind and source of every hold-out."""

# What `render(kind, source, folder).checksum()` was on the day the hold-out was fixed.
CHECKSUMS = {
    ("light", "bsds500"): "e676488f3e03b67ea2d9b17f967f3aa7bc4e220300aaadeb10b22ddc656765a6",
    ("light", "skimage"): "763f5c02fcf866edd49677399031e702b81896133021c99b4197f312d4e66b54",
    ("heavy", "bsds500"): "7b2c77bebee3000624879a4364592323b296dfa433b95215f43e31b4f0fc4aa3",
    ("heavy", "skimage"): "d3d608fe3692ccd99ae0200d7c261d8a1f72e5644dc018b6e06ef57a5b44e617",
    ("veil", "bsds500"): "2abc748849e65821153fac67bfcb08d1c8c25f70f6bb5a8ab1eebf3bf14bb258",
    ("veil", "skimage"): "b28320927be8013cb3e4921d767e4fe3b0d15bc9af9f71844de5493d7c0f2000",
    ("wide", "bsds500"): "dd9d7961d1de3a77ed2a6d652ecfe2e3808e2ba5d220fbb1e8a9d50fc726df49",
    ("wide", "skimage"): "a5bc07c6b2cd6522435dc0f9a11175fa070718eefe008de8b1318c0871e924de",
    ("dry", "bsds500"): "a62cd60c7a12dd3b23477c39a373a8bed25642db38a900795a14d138674c6a4b",
    ("dry", "skimage"): "1ea4daaba727f33dfcf18ef32cd8852b9e139e190bcb9bb84029a236af2535ea",
    ("dry", "urban100"): "0191ca296654bf5ebf18bdb14b1a304832b5cf646006e4630fd495a710be6386",
    ("side-light", "bsds500"): "e97e7b025bc64d7746a43ff803005f8544164a3cd7c83a6fbf76e7bdcc0256d9",
    ("side-light", "skimage"): "1f24f8a417363388fbbbb84f64f7d8dd07b0d948a014b97c27b34bb7f7e769ef",
    ("side-heavy", "bsds500"): "1d0b93f070e60525b69b2257d3ecc1d28919dc10743b4ff769caa88b75497d29",
    ("side-heavy", "skimage"): "b43379ca62e37b39431a462129787ec8813acd969ddc60aaffc1f266fa1e6af4",
    ("layers", "raintrainh"): "7275b9a5128bfd0eda93dd8fc5c534f2ca7f8d228084af03a5b1c45fa4c29194",
}


class Holdout(Sequence[Pair]):
    """Pairs of the hold-out, 8-bit in memory.

    `holdout[i]` is a `Pair` of shape (1, 3, H, W), `holdout[a:b]` a smaller `Holdout`.

    Attributes:
        names: one name a pair.
    """

    def __init__(self, names: Sequence[str], pixels: Sequence[tuple[Tensor, Tensor]]):
        self.names = list(names)
        self._pixels = list(pixels)

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int | slice) -> "Pair | Holdout":
        if isinstance(index, slice):
            return Holdout(self.names[index], self._pixels[index])
        rainy, clean = self._pixels[index]
        return Pair(rainy[None].float() / 255, clean[None].float() / 255)

    def checksum(self) -> str:
        """SHA-256 over the names, sizes and pixels of all pairs."""
        digest = hashlib.sha256()
        for name, (rainy, clean) in zip(self.names, self._pixels, strict=True):
            digest.update(f"{name} {tuple(clean.shape)}\n".encode())
            digest.update(rainy.contiguous().numpy())
            digest.update(clean.contiguous().numpy())
        return digest.hexdigest()


def holdout(kind: str, source: str = "bsds500", folder: str | Path | None = None) -> Holdout:
    """The fixed test pairs of a kind of rain.

    Args:
        kind: one of `KINDS`.
        source: whose photographs: "bsds500" (20 of them) or "skimage" (5, for people without data); for "dry" also
            "urban100" (20).
        folder: the folder that holds bsds500/ and urban100/; "skimage" needs none.

    Returns:
        The pairs; they are what they were when the checksums were written.

    Raises:
        DataError: unknown kind or source, missing photographs, or pixels other than the checksum's.
    """
    return checked(render(kind, source, folder), kind, source)


def checked(found: Holdout, kind: str, source: str) -> Holdout:
    """The pairs, if they are those that the checksum of this kind and source was written for.

    Raises:
        DataError: they are not.
    """
    checksum, expected = found.checksum(), CHECKSUMS[kind, source]
    if checksum != expected:
        raise DataError(
            f"the hold-out {kind} on {source} has the checksum {checksum[:12]}…, not {expected[:12]}…: "
            "other photographs, another decoder, or rain that is drawn differently; scores would not compare"
        )
    return found


def render(kind: str, source: str, folder: str | Path | None = None) -> Holdout:
    """The pairs as this installation draws them, unchecked; arguments and errors are those of `holdout`."""
    if kind not in KINDS:
        raise DataError(f"no hold-out is called {kind!r}; there are {', '.join(KINDS)}")
    if source not in SOURCES:
        raise DataError(f"no source of photographs is called {source!r}; there are {', '.join(SOURCES)}")
    if (kind, source) not in SETS:
        raise DataError(f"it never rains on {source} in the hold-out; its only kind is 'dry'")
    names = SOURCES[source]
    photographs = [_window(name) if source == "skimage" else _stored(source, folder, name) for name in names]
    epoch = list(SOURCES).index(source)
    return Holdout(names, [_rain(KINDS[kind], photo, epoch, i) for i, photo in enumerate(photographs)])


LISTS = {name: f"splits/{name}_train.txt" for name in ("bsds500", "urban100", "cc0")}
"""What may train of a folder of photographs, beside it; all others are kept for tests."""


def kept(folder: str | Path | None = None) -> list[tuple[str, Callable[[], Tensor]]]:
    """The photographs that nothing may train on, each with a name and what reads it: (3, H, W), float32 in [0, 1].

    Args:
        folder: holds bsds500/, urban100/, cc0/, rain800/training/, rain100l/ and splits/, or some of them: whatever
            their splits do not give to training is kept, without splits the hold-out's photographs. Without a folder,
            those of scikit-image alone, whole and as the hold-out cuts them.

    Raises:
        DataError: nothing of it is in the folder, or a part that does not fit.
    """
    own = [(name, partial(_whole, name)) for name in SKIMAGE] + [(name, partial(_window, name)) for name in SKIMAGE]
    found = [(f"{name} of skimage", lambda cut=cut: cut() / 255) for name, cut in own]
    if folder is None:
        return found
    folder, count = Path(folder).expanduser(), len(found)
    for name, listed in LISTS.items():
        if (folder / name).is_dir():
            files = _not_listed(folder / name, folder / listed, SOURCES.get(name, ()))
            found += [(f"{path.stem} of {name}", partial(images.read, path)) for path in files]
    for name, part in (("rain100l", "rain100l"), ("rain800", "rain800/training")):
        if (folder / part).is_dir():
            test, listed = pairs.read(folder / part, check=False), folder / f"splits/{name}_train.txt"
            trains = set(pairs.read(folder / part, split=listed, check=False).names) if listed.is_file() else set()
            found += [
                (f"{pair} of {name}", lambda test=test, pair=pair: test[pair].clean[0])
                for pair in test.names if pair not in trains
            ]  # fmt: skip
    if len(found) == count:
        raise DataError(f"{folder}: nothing that is kept for tests; it should hold {', '.join(LISTS)} or rain100l")
    return found


def _not_listed(folder: Path, listed: Path, names: Sequence[str]) -> list[Path]:
    """A folder's photographs that a list does not name; without the list, those of the given names."""
    files = pairs.photographs(folder)
    if not listed.is_file():
        return [path for path in files if path.stem in names]
    trains = set(pairs.photographs(folder, listed))
    return [path for path in files if path not in trains]


def raintrainh(folder: str | Path | None = None) -> Holdout:
    """RainTrainH's rain, Rain100H's kind, on other photographs: its layers that may not train, as they lie.

    Each of the hold-out's photographs that are as large as a layer gets one of the four, every second round of them
    mirrored: rainy = min(photograph + layer, 255), in whole numbers, so that it is the same on any machine. A layer
    shows no streaks where the scene it was taken from was white.

    Args:
        folder: holds bsds500/, streaks/raintrainh/ and splits/raintrainh_test.txt.

    Raises:
        DataError: no folder, something of it is missing, or pixels other than the checksum's.
    """
    if folder is None:
        raise DataError("this hold-out needs the folder that holds bsds500/, streaks/raintrainh/ and splits/")
    folder = Path(folder).expanduser()
    listed = pairs.photographs(folder / "streaks" / "raintrainh", folder / "splits" / "raintrainh_test.txt")
    layers = [images.to_bytes(images.read(path)) for path in listed]
    stored = [(name, _stored("bsds500", folder, name)) for name in BSDS500]
    photographs = [(name, photo) for name, photo in stored if photo.shape == layers[0].shape]
    pixels = []
    for i, (_, photo) in enumerate(photographs):
        layer = layers[i % len(layers)]
        layer = layer.flip(2) if i // len(layers) % 2 else layer
        pixels.append(((photo.int() + layer.int()).clamp(max=255).byte(), photo))
    return checked(Holdout([name for name, _ in photographs], pixels), "layers", "raintrainh")


def _rain(kind: Kind, clean: Tensor, epoch: int, index: int) -> tuple[Tensor, Tensor]:
    """Rainy and clean pixels, (3, H, W) uint8 each."""
    pair = add_rain(clean[None].double() / 255, kind.style, [generator(kind.seed, epoch, index)])
    sides = images.to_bytes(pair.rainy[0]), clean
    return tuple(side.rot90(1, (1, 2)) for side in sides) if kind.turned else sides


def _stored(source: str, folder: str | Path | None, name: str) -> Tensor:
    """A photograph as (3, H, W) uint8."""
    inside = {"bsds500": "bsds500/test", "urban100": "urban100"}[source]
    if folder is None:
        raise DataError(f"this hold-out needs the folder that holds {source}/; without data, use the source 'skimage'")
    path = Path(folder) / inside / f"{name}.jpg"
    if not path.is_file():
        raise DataError(f"{path} is missing; the hold-out needs test photographs of {source} in {inside}")
    return images.to_bytes(images.read(path))


def _whole(name: str) -> Tensor:
    """A photograph of scikit-image as (3, H, W) uint8."""
    from skimage import data

    photo = getattr(data, name)()
    photo = photo[0] if isinstance(photo, tuple) else photo  # the left one of a stereo pair
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)


def _window(name: str) -> Tensor:
    """The window of it that the hold-out takes."""
    top, left, height, width = SKIMAGE[name]
    return _whole(name)[:, top : top + height, left : left + width].contiguous()
