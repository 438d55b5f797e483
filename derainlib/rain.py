"""Rain: streaks, and the three ways to lay them on a scene.

A rainy photograph O is a scene B with a layer of streaks R. The papers of this series lay the one on the
other in three ways, all of them in `compose`:

    additive   O = B + R                    QSNet, DCDNet, SRN/BRN, MENET; Rain100L, Rain100H, Rain1400
    screen     O = 1 − (1 − B)(1 − R)       Luo, Xu and Ji 2015, "Removing rain from a single image via
               = B + R − B·R                discriminative sparse coding"; SRN/BRN calls it more realistic
    veil       O = (B + R)·M + A·(1 − M)    Yang et al. 2017, "Deep joint rain detection and removal from a
               M = exp(−β·d)                single image": far rain gathers into mist; depth d, airlight A,
                                            transmission M

The streaks come from one of three renderers. `"drawn"` draws every streak by itself: it has a nearness, and the
nearer it is, the longer, wider and brighter (the intensity and size prior of the PHPNet paper). `"noise"` is
the recipe of that paper's data, the one of image editors: specks of noise are thresholded, smeared along one
of seven directions and blurred. `"layers"` takes rain from files, layers of real or rendered streaks
(`derainlib.streaks`), which are handed over.

Random numbers are drawn on the CPU, one generator per image, in a fixed order and precision, so that an
image's rain depends on its generator alone: not on its neighbours in the batch, the device, or the precision
of rendering. (On a GPU overlapping streaks are added in no fixed order: there the last bits may vary.)

    clean = derainlib.images.read("street.png")[None]
    pair = add_rain(clean, "heavy", [generator(seed=0)])
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, hypot, isfinite, log, radians

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import DerainError
from derainlib.layers import Pair
from derainlib.streaks import VISIBLE, Layer, render

Range = tuple[float, float]
Ranges = Range | tuple[Range, ...]

METHODS = ("drawn", "noise", "layers")
COMPOSITIONS = ("additive", "screen", "veil")
LUMINANCE = (0.299, 0.587, 0.114)
_ELEMENTS = 1 << 19  # streak pixels rendered at once: bounds the memory that a large image takes
_TINY = 1e-6  # stands for a zero sine or cosine where one divides
_LIMITS = {
    "angle": (-90, 90),
    "density": (0, 10_000),
    "length": (1, 10_000),
    "width": (0.1, 1_000),
    "brightness": (0, 4),
    "edge": (0, 1),
    "taper": (0, 1),
    "blur": (0, 20),
    "haze": (0, 10),
    "airlight": (0, 1),
    "overlay": (1, 16),
    "scale": (0.1, 10),
    "grain": (0, 1),
    "tone": (-0.45, 0.45),
}


def _require(condition: bool, message: str):
    if not condition:
        raise DerainError(message)


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _is_range(value) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_number(v) for v in value)


def _ranges(value: Ranges) -> tuple[Range, ...]:
    """One range or several, always as a tuple; what is neither is handed on for the check to refuse."""
    return (value,) if not isinstance(value, tuple) or _is_range(value) or not value else value


@dataclass(frozen=True)
class RainStyle:
    """A kind of rain, as ranges from which each image draws its own.

    A range is `(low, high)`; where a field takes several, `((low, high), (low, high), …)`, one of them is
    picked first. Lengths are pixels, brightness is on the scale of the image, [0, 1]. The noise renderer,
    whose streaks are alike in an image, uses angle, directions, density, length, brightness, grain and blur only.
    Of layers from files, angle says how far they are turned from how they lie, brightness what their values are
    multiplied by, and density which are taken: those whose streaks cover this share of their pixels, in percent; all
    of them where there is none such. They use overlay, scale and blur besides.

    Raises:
        DerainError: a field is of the wrong form or out of its limits; the message names both.
    """

    method: str = "drawn"
    """`"drawn"` draws each streak by itself; `"noise"` smears thresholded noise; `"layers"` takes layers from files."""
    angle: Ranges = (-20.0, 20.0)
    """Direction of fall in degrees from the vertical, in [-90, 90]; positive falls to the right."""
    directions: int = 1
    """How many directions, each drawn from `angle`, an image shows at once."""
    spread: float = 0.0
    """How far a drawn streak may turn from its image's direction, in degrees."""
    density: Ranges = (60.0, 120.0)
    """Streaks that start in every 100 x 100 pixels, all directions together."""
    length: Ranges = (20.0, 50.0)
    """Length of the nearest and fastest streaks, between the middles of their tapered ends."""
    width: Ranges = (1.0, 2.5)
    """Width of the nearest streaks at half their brightness."""
    brightness: Ranges = (0.2, 0.5)
    """What the nearest streaks add where they are brightest, on average; overlapping streaks add up."""
    depth: float = 0.3
    """Length, width and brightness of the farthest streaks relative to the nearest, in (0, 1]."""
    bundle: int = 1
    """How many drawn streaks keep together, side by side and one behind the other; 1 scatters them evenly."""
    edge: Range = (0.5, 1.0)
    """Softness across a streak, drawn for each: 0 is flat with hard sides, 1 a ridge in the middle."""
    taper: Range = (0.5, 1.0)
    """Softness along a streak, drawn for each: 0 ends abruptly, 1 swells and fades over its whole length."""
    blur: Ranges = (0.0, 0.0)
    """Standard deviation of a Gaussian blur over the whole layer: rain out of focus."""
    composition: str = "additive"
    """How the streaks lie on the scene: `"additive"`, `"screen"` or `"veil"`."""
    haze: Ranges = (0.4, 1.2)
    """β of the veil: the optical depth where the scene is farthest (d = 1). Only the veil uses it."""
    airlight: Ranges = (0.6, 0.9)
    """A, the grey that the veil fades to. Only the veil uses it."""
    overlay: Ranges = (1.0, 1.0)
    """How many layers from files lie over each other, rounded."""
    scale: Ranges = (1.0, 1.0)
    """How much larger than in their files the streaks of layers are."""
    grain: Ranges = (0.0, 0.0)
    """Of noise: the strength of further streaks, as dense and long, that darken; 1 is as strong as those that lighten.
    R is then negative in places."""
    tone: Ranges = (0.0, 0.0)
    """How much lighter (darker, where negative) mid-grey becomes by a curve over the whole picture, rain included:
    O ← O^γ, so that black and white stay."""

    def __post_init__(self):
        _require(self.method in METHODS, f"method is {self.method!r}; choose one of {', '.join(METHODS)}")
        _require(
            self.composition in COMPOSITIONS,
            f"composition is {self.composition!r}; choose one of {', '.join(COMPOSITIONS)}",
        )
        for name in ("directions", "bundle"):
            value = getattr(self, name)
            whole = type(value) is int and 1 <= value <= 16
            _require(whole, f"{name} is {value!r}; give a whole number from 1 to 16")
        turn, depth = self.spread, self.depth
        _require(_is_number(turn) and 0 <= turn <= 90, f"spread is {turn!r}; give 0 to 90 degrees")
        _require(_is_number(depth) and 0 < depth <= 1, f"depth is {depth!r}; give a ratio in (0, 1]")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            per_streak = name in ("edge", "taper")
            ranges = (value,) if per_streak else _ranges(value)
            _require(
                all(_is_range(r) and low <= r[0] <= r[1] <= high for r in ranges),
                f"{name} is {value!r}; give (low, high) with {low} <= low <= high <= {high}"
                + ("" if per_streak else ", or several of them"),
            )


_FALLING = ((-30.0, 30.0), (-30.0, 30.0), (-30.0, 30.0), (-90.0, 90.0))
"""Rain from any side, most of it near the vertical: what layers are turned by."""

PRESETS: dict[str, RainStyle] = {
    # Rain100L-like: one direction an image, thin soft streaks of many sizes that keep together in places.
    # Target, averages over Rain100L's 100 pairs: rainy input 25.5 dB (RGB); R has a mean of 5.9 of 255, 18 % of its
    # pixels above 8, its 99th percentile at 69, and is half correlated 1.4 px across the streaks, 11 px along them.
    "light": RainStyle(
        angle=(-35.0, 35.0),
        spread=3.0,
        density=(29.0, 78.0),
        bundle=3,
        length=(25.0, 75.0),
        width=(1.7, 3.2),
        brightness=(0.14, 0.38),
        depth=0.25,
        edge=(0.4, 1.0),
        taper=(0.2, 1.0),
    ),
    # Rain100H- and RainTrainH-like: long dense flat streaks, hard-edged beside softer ones, one direction.
    # Target, after clipping: rainy input 13 ± 1.5 dB; R covers 50 to 97 % of the pixels, its mean is 15 to
    # 90 of 255, its 99th percentile 80 to 190.
    "heavy": RainStyle(
        angle=(-45.0, 45.0),
        spread=2.0,
        density=(50.0, 110.0),
        length=(60.0, 160.0),
        width=(2.5, 5.5),
        brightness=(0.24, 0.44),
        depth=0.3,
        edge=(0.0, 0.7),
        taper=(0.0, 0.5),
    ),
    # As RainTrainH's twelve layers are: denser, thinner, more upright than `heavy`, with a floor of faint streaks that
    # overlap nearly everywhere. Target, averages over the layers outside their holes: R has a mean of 49 of 255, 75 %
    # of its pixels above 8, its median at 44 and its 99th percentile at 149, and is half correlated 15 px along the
    # streaks (benchmarks/results/rain_statistics.json).
    "dense": RainStyle(
        angle=(-15.0, 15.0),
        spread=3.0,
        density=(80.0, 300.0),
        length=(50.0, 190.0),
        width=(2.0, 3.6),
        brightness=(0.1, 0.38),
        depth=0.22,
        edge=(0.0, 0.8),
        taper=(0.0, 0.5),
    ),
    # Broad soft streaks near the lens and out of focus, as in QSNet's Test-III. Target: rainy input 21.5 dB.
    "wide": RainStyle(
        angle=(-30.0, 30.0),
        spread=4.0,
        density=(6.0, 30.0),
        length=(40.0, 140.0),
        width=(5.0, 14.0),
        brightness=(0.12, 0.4),
        edge=(0.8, 1.0),
        taper=(0.6, 1.0),
        blur=(1.0, 3.0),
    ),
    # The same amount of rain, falling in several directions at once.
    "crossed": RainStyle(
        angle=(-45.0, 45.0),
        directions=3,
        spread=2.0,
        density=(50.0, 110.0),
        length=(55.0, 150.0),
        width=(2.5, 5.5),
        brightness=(0.24, 0.44),
        depth=0.3,
        edge=(0.0, 0.7),
        taper=(0.0, 0.5),
    ),
    # Heavy rain seen through its own mist, as in photographs of downpours. Target: rainy input 15 dB.
    "veil": RainStyle(
        angle=(-30.0, 30.0),
        spread=3.0,
        density=(60.0, 150.0),
        bundle=2,
        length=(40.0, 110.0),
        width=(1.5, 4.0),
        brightness=(0.2, 0.4),
        depth=0.25,
        edge=(0.4, 1.0),
        taper=(0.3, 1.0),
        blur=(0.0, 0.8),
        composition="veil",
        haze=(0.3, 1.2),
        airlight=(0.55, 0.9),
    ),
    # The PHPNet recipe: seven directions, blur radii 0.2 to 1.0 in steps of 0.2. Target: rainy input 23 dB.
    "noise": RainStyle(
        method="noise",
        angle=((0, 0), (-15, -15), (15, 15), (-30, -30), (30, 30), (-40, -40), (40, 40)),
        density=(20.0, 120.0),
        length=(10.0, 40.0),
        brightness=(0.2, 0.7),
        blur=((0.2, 0.2), (0.4, 0.4), (0.6, 0.6), (0.8, 0.8), (1.0, 1.0)),
    ),
    # Rain800-like: short wide streaks, from sparse ones to a dense grain that darkens too, in a picture whose tone was
    # changed. Target, averages over its training pairs: rainy input 21.9 dB; luma 14 of 255 above the truth's; 14 % of
    # the pixels darker than the truth by more than 4. In some pairs of the whole set the rainy picture is the darker
    # one, so the curve goes both ways.
    "rain800": RainStyle(
        method="noise",
        angle=(-25.0, 25.0),
        density=((40.0, 150.0), (200.0, 600.0)),
        length=(8.0, 30.0),
        brightness=(0.15, 0.5),
        blur=(0.5, 1.6),
        grain=((0.0, 0.0), (0.2, 0.7)),
        tone=((0.0, 0.0), (-0.1, 0.12)),
    ),
}

FROM_FILES: dict[str, RainStyle] = {
    # Rain layers from files, in any direction: sparse ones as Garg's, which are Rain100L's kind, and dense ones as
    # RainTrainH's.
    "layers": RainStyle(
        method="layers",
        angle=_FALLING,
        density=(0.0, 45.0),
        overlay=((1.0, 1.4), (1.0, 1.4), (1.6, 4.0)),
        scale=(0.7, 1.6),
        brightness=(0.4, 1.2),
    ),
    "layers-dense": RainStyle(
        method="layers",
        angle=_FALLING,
        density=(45.0, 100.0),
        overlay=(1.0, 2.4),
        scale=(0.8, 1.4),
        brightness=(0.5, 1.1),
    ),
}
"""Names that `draw` and `add_rain` take where they are given layers."""

DIRECTIONS = (-40, -30, -15, 0, 15, 30, 40)
"""PHPNet, Section III.D: the directions of rain in its streets, in degrees from the vertical."""

_ANGLES = tuple((float(d), float(d)) for d in DIRECTIONS)

STREETS: dict[str, RainStyle] = {
    # PHPNet's streets, by the radius of the blur: 0.2 small, 0.4 and 0.6 medium, 0.8 and 1.0 large (Section IV.C). A
    # larger streak is a nearer one: it is longer too, and brighter than the blur alone would leave it.
    # Target on CamVid: rainy input 19.5, 18.5 and 17.5 dB.
    "streets-small": RainStyle(
        method="noise",
        angle=_ANGLES,
        density=(50.0, 250.0),
        length=(8.0, 24.0),
        brightness=(0.3, 0.8),
        blur=(0.2, 0.2),
    ),
    "streets-medium": RainStyle(
        method="noise",
        angle=_ANGLES,
        density=(20.0, 100.0),
        length=(15.0, 40.0),
        brightness=(0.55, 1.2),
        blur=((0.4, 0.4), (0.6, 0.6)),
    ),
    "streets-large": RainStyle(
        method="noise",
        angle=_ANGLES,
        density=(8.0, 40.0),
        length=(25.0, 70.0),
        brightness=(1.0, 2.2),
        blur=((0.8, 0.8), (1.0, 1.0)),
    ),
    # The other kinds of rain of PHPNet's Table II, each from its idea. Density: streaks alike, on three levels of
    # density, as in DID-MDN (Zhang and Patel 2018). Target: 23, 18 and 14 dB.
    **{
        f"density-{level}": RainStyle(
            method="noise",
            angle=(-45.0, 45.0),
            density=density,
            length=(12.0, 30.0),
            brightness=(0.5, 1.0),
            blur=(0.5, 0.5),
        )
        for level, density in (("light", (20.0, 60.0)), ("medium", (60.0, 160.0)), ("heavy", (160.0, 300.0)))
    },
    # Depth: streaks near and far, and mist that grows with the depth of the scene, as in RainCityscapes (Hu et al.
    # 2019). Target: 17.5 dB.
    "depth-mist": RainStyle(
        angle=(-15.0, 15.0),
        spread=2.0,
        density=(60.0, 160.0),
        length=(20.0, 70.0),
        width=(1.2, 3.0),
        brightness=(0.2, 0.45),
        depth=0.1,
        composition="veil",
        haze=(0.2, 1.0),
        airlight=(0.6, 0.9),
    ),
    # Space: rain in some places of the picture and none in others, as in SPA-Data (Wang et al. 2019). Target: 22.5 dB.
    "spatial-bundles": RainStyle(
        angle=(-30.0, 30.0),
        spread=6.0,
        density=(20.0, 80.0),
        bundle=16,
        length=(30.0, 90.0),
        width=(1.2, 3.0),
        brightness=(0.2, 0.5),
        depth=0.25,
        edge=(0.3, 1.0),
        taper=(0.3, 1.0),
    ),
    "dry": RainStyle(density=(0.0, 0.0)),
}
"""Rain for streets, which the mixes put together; names that `draw` and `add_rain` take, as those of `PRESETS`."""

MIXES: dict[str, tuple[tuple[str, float], ...]] = {
    # For training: every kind, most of it light, since light rain is the harder to tell from a scene.
    "mixed": (
        ("light", 0.35),
        ("heavy", 0.2),
        ("crossed", 0.1),
        ("noise", 0.15),
        ("rain800", 0.1),
        ("veil", 0.1),
    ),
    # Streaks alone: a network that also learns to lift mist darkens scenes that are pale without any rain.
    "streaks": (("light", 0.5), ("heavy", 0.2), ("crossed", 0.1), ("noise", 0.1), ("rain800", 0.1)),
    # Any rain, layers from files among it. About half is light, as above.
    "allround": (
        ("light", 0.22),
        ("layers", 0.28),
        ("heavy", 0.16),
        ("layers-dense", 0.06),
        ("dense", 0.08),
        ("crossed", 0.06),
        ("wide", 0.05),
        ("noise", 0.05),
        ("rain800", 0.04),
    ),
    # The same for who has no layers.
    "allround-drawn": (
        ("light", 0.45),
        ("heavy", 0.18),
        ("dense", 0.13),
        ("crossed", 0.06),
        ("wide", 0.06),
        ("noise", 0.07),
        ("rain800", 0.05),
    ),
    # PHPNet's streets: its five radii equally often (intensity-aware rain); and its Table IV, without one of the sizes.
    "streets": (("streets-small", 0.2), ("streets-medium", 0.4), ("streets-large", 0.4)),
    "streets-no-small": (("streets-medium", 0.5), ("streets-large", 0.5)),
    "streets-no-medium": (("streets-small", 1 / 3), ("streets-large", 2 / 3)),
    "streets-no-large": (("streets-small", 1 / 3), ("streets-medium", 2 / 3)),
    # The other kinds of its Table II.
    "density": (("density-light", 1 / 3), ("density-medium", 1 / 3), ("density-heavy", 1 / 3)),
    "depth": (("depth-mist", 1.0),),
    "spatial": (("spatial-bundles", 1.0),),
    # No rain at all: for networks that learn from clean streets.
    "none": (("dry", 1.0),),
}


def street(size: str = "medium", direction: int | None = None) -> RainStyle:
    """The rain of PHPNet's streets, of one size and, where given, one direction (its Section III.D).

    Args:
        size: "small", "medium" or "large": blurred with a radius of 0.2, 0.4 to 0.6 or 0.8 to 1.0 pixels.
        direction: one of `DIRECTIONS`, degrees from the vertical; by default any of them.

    Raises:
        DerainError: another size or direction.
    """
    sizes = [name.removeprefix("streets-") for name in STREETS if name.startswith("streets-")]
    _require(size in sizes, f"size is {size!r}; choose one of {', '.join(sizes)}")
    known = direction is None or direction in DIRECTIONS
    _require(known, f"direction is {direction!r}; choose one of {', '.join(map(str, DIRECTIONS))} degrees")
    style = STREETS[f"streets-{size}"]
    return style if direction is None else replace(style, angle=(float(direction), float(direction)))


def generator(seed: int, epoch: int = 0, index: int = 0) -> torch.Generator:
    """A local source of random numbers for one sample, well mixed from where the sample stands in a training.

    Args:
        seed: of the training, ≥ 0.
        epoch: pass over the data, ≥ 0.
        index: of the sample, ≥ 0.

    Returns:
        A CPU generator; the same three numbers always give the same draws, neighbouring ones unrelated draws.

    Raises:
        DerainError: one of the three is not a whole number ≥ 0.
    """
    _require(
        all(isinstance(n, (int, np.integer)) and n >= 0 for n in (seed, epoch, index)),
        f"seed, epoch and index are {seed!r}, {epoch!r}, {index!r}; give whole numbers, none negative",
    )
    # 32 bits are all that torch's CPU generator takes from its seed.
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0]))


def wants_layers(style: RainStyle | str) -> bool:
    """Whether rain of this style, preset or mix is laid on from files, in part at least.

    Raises:
        DerainError: the style is unknown.
    """
    return any(style.method == "layers" for style, _ in _kinds(style))


def draw(
    style: RainStyle | str,
    size: tuple[int, int],
    generators: Sequence[torch.Generator],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    layers: Sequence[Layer] = (),
) -> Tensor:
    """A layer of streaks R for each generator.

    Args:
        style: a style, or the name of a preset or a mix.
        size: (H, W) in pixels.
        generators: one CPU generator per image; see `generator`.
        device: where to render.
        dtype: float32, or float64 where the last bit must not depend on the processor.
        layers: rain layers from files, for styles of the method "layers".

    Returns:
        R, (N, 1, H, W), not clipped: overlapping streaks exceed 1. It is ≥ 0, except where a style has grain.

    Raises:
        DerainError: the style is unknown or wants layers and there are none, or the size is not positive.
    """
    return _draw([_resolve(style, g) for g in generators], size, generators, device, dtype, layers)


def veil(
    style: RainStyle | str,
    size: tuple[int, int],
    generators: Sequence[torch.Generator],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """A veil for each generator, over a smooth depth that is drawn too: far at the top, as in most streets.

    Args:
        style, size, generators, device, dtype: as in `draw`.

    Returns:
        Transmission M = exp(−β·d), (N, 1, H, W), and airlight A, (N, 1, 1, 1), both in [0, 1].

    Raises:
        DerainError: the style is unknown.
    """
    styles = [_resolve(style, g) for g in generators]
    depth = torch.cat([_depth(size, g).to(device, dtype) for g in generators])
    haze, airlight = (
        torch.tensor([_pick(getattr(s, name), g) for s, g in zip(styles, generators, strict=True)], dtype=dtype)
        .to(device)
        .view(-1, 1, 1, 1)
        for name in ("haze", "airlight")
    )
    return torch.exp(-haze * depth), airlight


def location(streaks: Tensor, threshold: float = VISIBLE) -> Tensor:
    """The rain map L: where the luminance of the streaks exceeds a threshold.

    Args:
        streaks: R, (N, 1 or 3, H, W).
        threshold: τ, on the scale of the image.

    Returns:
        L, (N, 1, H, W), 1 where it rains and 0 elsewhere, in the streaks' dtype.
    """
    if streaks.shape[1] == 3:
        streaks = torch.einsum("nchw,c->nhw", streaks, streaks.new_tensor(LUMINANCE))[:, None]
    return (streaks > threshold).to(streaks.dtype)


def compose(
    clean: Tensor,
    streaks: Tensor,
    how: str = "additive",
    transmission: Tensor | None = None,
    airlight: Tensor | float | None = None,
) -> Tensor:
    """Lay streaks R on a scene B; the module's head states the three equations and their papers.

    Args:
        clean: B, (N, 3, H, W) in [0, 1].
        streaks: R, (N, 1 or 3, H, W). The screen blend takes what exceeds 1 as 1.
        how: `"additive"`, `"screen"` or `"veil"`.
        transmission: M in [0, 1], broadcastable to B; the veil only.
        airlight: A in [0, 1], broadcastable to B; the veil only.

    Returns:
        O, (N, 3, H, W), not clipped.

    Raises:
        DerainError: the composition is unknown, or the veil lacks its transmission or airlight.
    """
    if how == "additive":
        return clean + streaks
    if how == "screen":
        return 1 - (1 - clean) * (1 - streaks.clamp(max=1))
    _require(how == "veil", f"composition is {how!r}; choose one of {', '.join(COMPOSITIONS)}")
    _require(transmission is not None and airlight is not None, "the veil needs a transmission and an airlight")
    return (clean + streaks) * transmission + airlight * (1 - transmission)


def add_rain(
    clean: Tensor,
    style: RainStyle | str,
    generators: Sequence[torch.Generator],
    layers: Sequence[Layer] = (),
) -> Pair:
    """Let it rain on clean photographs.

    Args:
        clean: B, (N, 3, H, W) in [0, 1], float32 or float64, on any device; the rain is rendered there.
        style: a style, or the name of a preset; the name of a mix (`MIXES`) picks a preset for each image.
        generators: one CPU generator per image; see `generator`.
        layers: rain layers from files, for styles of the method "layers".

    Returns:
        The pair: rainy clipped to [0, 1], clean, the streaks as drawn, and their location map.

    Raises:
        DerainError: the style is unknown or wants layers and there are none, or the shapes do not fit.
    """
    _require(
        clean.ndim == 4 and clean.shape[1] == 3 and clean.is_floating_point(),
        f"clean is {tuple(clean.shape)} {clean.dtype}; give float images (N, 3, H, W)",
    )
    _require(len(generators) == len(clean), f"{len(generators)} generators, {len(clean)} images; give one for each")
    size = clean.shape[-2:]
    styles = [_resolve(style, g) for g in generators]
    streaks = _draw(styles, size, generators, clean.device, clean.dtype, layers)
    rainy = []
    for one, layer, kind, g in zip(clean, streaks, styles, generators, strict=True):
        mist = veil(kind, size, [g], clean.device, clean.dtype) if kind.composition == "veil" else ()
        wet = compose(one[None], layer[None], kind.composition, *mist)
        rainy.append(wet if kind.tone == (0.0, 0.0) else _toned(wet, _pick(kind.tone, g)))
    return Pair(torch.cat(rainy).clamp_(0, 1), clean, streaks, location(streaks))


def _toned(image: Tensor, shift: float) -> Tensor:
    """The image under the curve that moves mid-grey by `shift` and leaves black and white, clipped to [0, 1]."""
    return image.clamp(0, 1) ** (log(0.5 + shift) / log(0.5))


# ---- draws: a few numbers per image and per streak, on the CPU, in float64 ----------------------------


def _kinds(style: RainStyle | str) -> list[tuple[RainStyle, float]]:
    """The styles of a name, each with its share."""
    if isinstance(style, RainStyle):
        return [(style, 1.0)]
    styles = PRESETS | STREETS | FROM_FILES
    known = [*styles, *MIXES]
    _require(style in known, f"no rain is called {style!r}; choose one of {', '.join(known)}, or give a RainStyle")
    return [(styles[name], share) for name, share in MIXES.get(style, ((style, 1.0),))]


def _resolve(style: RainStyle | str, generator: torch.Generator) -> RainStyle:
    """The style itself, the preset of that name, or one preset of the mix of that name."""
    styles, shares = zip(*_kinds(style), strict=True)
    if style not in MIXES:
        return styles[0]
    return styles[torch.multinomial(torch.tensor(shares), 1, generator=generator).item()]


def _pick(ranges: Ranges, generator: torch.Generator) -> float:
    """One number from a range, or from one of several ranges."""
    ranges = _ranges(ranges)
    which, where = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    low, high = ranges[min(int(which * len(ranges)), len(ranges) - 1)]
    return low + (high - low) * where


def _streaks(style: RainStyle, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The streaks of one image, (9, K) float64: x, y, sin and cos of the angle, length, width, …, taper."""
    density, length, width, brightness = (
        _pick(r, generator) for r in (style.density, style.length, style.width, style.brightness)
    )
    angles = [_pick(style.angle, generator) for _ in range(style.directions)]
    # Streaks whose middle lies outside still reach in: it rains on a margin too, or borders would stay dry.
    margin = length * (1 + (style.bundle > 1)) + width
    height, breadth = size[0] + 2 * margin, size[1] + 2 * margin
    count = round(density * height * breadth / 1e4)
    u = torch.rand(11, count, generator=generator, dtype=torch.float64)
    # The first streak of a bundle leads: the others have its direction, and places before, behind and beside it.
    leader = torch.arange(count) // style.bundle * style.bundle
    heading = torch.tensor(angles, dtype=torch.float64)[(u[2, leader] * style.directions).long()]
    angle = torch.deg2rad(heading + style.spread * (2 * u[3] - 1))
    upright = torch.where(angle.cos() < 0, -1, 1)  # a streak past the horizontal leans the other way
    sin, cos = angle.sin() * upright, angle.cos() * upright
    along, across = (u[4] - u[4, leader]) * length, (u[5] - u[5, leader]) * 4 * width
    nearness = style.depth ** u[6]  # log-uniform between depth and 1: many far streaks, few near ones
    edge, taper = (low + (high - low) * v for (low, high), v in ((style.edge, u[9]), (style.taper, u[10])))
    return torch.stack(
        [
            u[0, leader] * breadth - margin + along * sin + across * cos,
            u[1, leader] * height - margin + along * cos - across * sin,
            sin,
            cos,
            length * nearness * (0.2 + 0.8 * u[7]),  # nearness aside, drops differ in speed …
            width * nearness,
            brightness * nearness * (0.5 + u[8]),  # … and in the light they catch
            edge,
            taper,
        ]
    )


def _depth(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A smooth depth map d in [0, 1], (1, 1, H, W): far at the top, with gentle hills and valleys."""
    hills = torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    slope = torch.linspace(1, 0, 4, dtype=torch.float64)[:, None]
    coarse = 0.6 * slope + 0.4 * hills
    return F.interpolate(coarse, size=tuple(size), mode="bicubic", align_corners=True).clamp_(0, 1)


# ---- rendering -----------------------------------------------------------------------------------------


def _draw(styles, size, generators, device, dtype, layers: Sequence[Layer]) -> Tensor:
    """R for one style per image: the images of each renderer go through it together, then the blur."""
    _require(len(size) == 2 and min(size) >= 1, f"size is {tuple(size)}; give a positive (height, width)")
    layer = torch.zeros(len(styles), 1, *size, device=device, dtype=dtype)
    from_files = partial(_render_layers, layers=layers)
    for method, renderer in zip(METHODS, (_render_drawn, _render_noise, from_files), strict=True):
        chosen = [i for i, s in enumerate(styles) if s.method == method]
        if chosen:
            layer[chosen] = renderer([styles[i] for i in chosen], size, [generators[i] for i in chosen], layer)
    sigma = [_pick(s.blur, g) for s, g in zip(styles, generators, strict=True)]
    return _blur(layer, sigma) if any(s > 0 for s in sigma) else layer


def _render_drawn(styles, size, generators, like: Tensor) -> Tensor:
    """Drawn streaks, (N, 1, H, W): each one is evaluated on the pixels that it covers, row by row, and added.

    The work grows with the pixels covered, not with the length of a kernel times all pixels.
    """
    tables = [_streaks(s, size, g) for s, g in zip(styles, generators, strict=True)]
    image = torch.repeat_interleave(torch.tensor([t.shape[1] for t in tables]))
    x, y, sin, cos, length, width, bright, edge, taper = torch.cat(tables, 1)
    # A profile is a box blurred by another box, the ramp; a ramp of at least a pixel is the anti-aliasing.
    ramp_along, ramp_across = (taper * length).clamp(min=1), (edge * width).clamp(min=1)
    along, across = (length + ramp_along) / 2, (width + ramp_across) / 2  # half extents, ramps included
    tall = along * cos + across * sin.abs()
    top = (y - tall).ceil().clamp(min=0)
    rows = ((y + tall).floor().clamp(max=size[0] - 1) - top + 1).clamp(min=0).long()
    # In each row a streak covers at most `run` pixels: it is cut by its own sides or by its own ends.
    half_run = torch.minimum(across / cos.clamp(min=_TINY), along / sin.abs().clamp(min=_TINY))
    run = (2 * half_run).ceil().long() + 1
    table = torch.stack([x, y, top, sin, cos, along, ramp_along, across, ramp_across, bright, image.double()])
    # Beside the image lies a verge as wide as the longest run, so that no run needs cutting to size.
    verge = int(run.max()) if len(run) else 0
    canvas = like.new_zeros(len(styles), size[0], size[1] + 2 * verge)
    for breadth in run[rows > 0].unique().tolist():
        same = ((run == breadth) & (rows > 0)).nonzero()[:, 0]
        block = (rows[same].cumsum(0) * breadth) // _ELEMENTS
        for part in same.split(block.unique_consecutive(return_counts=True)[1].tolist()):
            _splat(canvas, verge, table[:, part].to(like.device, like.dtype), rows[part], breadth)
    return canvas[:, None, :, verge : verge + size[1]].contiguous()


def _splat(canvas: Tensor, verge: int, table: Tensor, rows: Tensor, breadth: int):
    """Add streaks to the canvas, in place: each over `rows` rows, at most `breadth` pixels of each row."""
    owner = torch.repeat_interleave(rows)
    step = torch.arange(len(owner)) - (rows.cumsum(0) - rows)[owner]
    owner, step = owner.to(table.device), step.to(table.device, table.dtype)
    columns = table.index_select(1, owner)[..., None]
    x, y, top, sin, cos, along, ramp_along, across, ramp_across, bright, image = columns
    row = top + step[:, None]
    dy = row - y
    # The run starts where the row enters the streak, through a side or an end, whichever is farther right.
    side = (dy * sin - across) / cos.clamp(min=_TINY)
    end = -(along + dy * cos * sin.sign()) / sin.abs().clamp(min=_TINY)
    left = (x + torch.maximum(side, end)).ceil().clamp(-verge, canvas.shape[2] - verge - breadth)
    dx = left - x
    run = torch.arange(breadth, device=table.device)
    value = _profile((dx * sin + dy * cos) / ramp_along, sin / ramp_along, run, along / ramp_along)
    value *= _profile((dx * cos - dy * sin) / ramp_across, cos / ramp_across, run, across / ramp_across)
    value *= bright
    start = (image.long() * canvas.shape[1] + row.long()) * canvas.shape[2] + verge + left.long()
    canvas.view(-1).index_add_(0, (start + run).view(-1), value.view(-1))


def _profile(start: Tensor, step: Tensor, run: Tensor, extent: Tensor) -> Tensor:
    """A trapezoid of half width `extent` (at its foot) and sides of width 1, at `start + step * run`.

    It is a box blurred by a box of width 1; a box narrower than that (extent < 1) does not reach full height.
    """
    height = torch.addcmul(start, step, run.to(step.dtype)).abs_().neg_().add_(extent).clamp_(min=0)
    return torch.minimum(height, (2 * extent - 1).clamp(max=1))


def _render_noise(styles, size, generators, like: Tensor) -> Tensor:
    """Smeared noise, (N, 1, H, W): threshold noise, smear it down a canvas, turn the canvas to the angle."""
    side = ceil(hypot(*size)) + 2  # a square that covers the image at every angle
    layers = []
    for style, g in zip(styles, generators, strict=True):
        density, brightness = _pick(style.density, g), _pick(style.brightness, g)
        length = max(1, round(_pick(style.length, g)))
        share = max(density / style.directions / 1e4, _TINY)  # of the pixels that stay above the threshold
        layer = like.new_zeros(1, *size)
        for _ in range(style.directions):
            angle = radians(_pick(style.angle, g))
            layer += _turn(_smear(side, length, share, brightness, g, like), angle, size)
            if style.grain != (0.0, 0.0):
                dark = brightness * _pick(style.grain, g)
                layer -= _turn(_smear(side, length, share, dark, g, like), angle, size)
        layers.append(layer)
    return torch.stack(layers)


def _smear(side: int, length: int, share: float, brightness: float, generator, like: Tensor) -> Tensor:
    """A square (side, side) of noise, of which `share` stays above the threshold, smeared down over `length` pixels."""
    noise = torch.rand(side + length, side, generator=generator).to(like.device, like.dtype)
    specks = (noise - (1 - share)).clamp_(min=0) * (brightness / share)
    sums = F.pad(specks.cumsum(0), (0, 0, 1, 0))
    return (sums[length:] - sums[:-length]).clamp_(min=0)[:side]  # a moving sum, whatever the length


def _render_layers(styles, size, generators, like: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Layers from files, (N, 1, H, W): of each image's kind, as many as it says, one over the other."""
    _require(len(layers) > 0, "this rain comes from files and there are none: give a folder of rain layers")
    images = []
    for style, g in zip(styles, generators, strict=True):
        fitting = [layer for layer in layers if _covers(style, layer)] or layers
        images.append(like.new_zeros(1, *size))
        for _ in range(round(_pick(style.overlay, g))):
            how = {name: _pick(getattr(style, name), g) for name in ("scale", "angle", "brightness")}
            images[-1] += render(fitting, size, g, **how, like=like)
    return torch.stack(images)


def _covers(style: RainStyle, layer: Layer) -> bool:
    """Whether the layer is as dense as the style asks for."""
    return any(low <= 100 * layer.coverage <= high for low, high in _ranges(style.density))


def _turn(canvas: Tensor, angle: float, size: tuple[int, int]) -> Tensor:
    """The middle (1, H, W) of a square canvas (S, S), bilinear, with its columns laid along `angle`."""
    side = canvas.shape[0]
    y, x = (torch.arange(n, device=canvas.device, dtype=canvas.dtype) - (n - 1) / 2 for n in size)
    sin, cos = np.sin(angle), np.cos(angle)
    across, along = x * cos - y[:, None] * sin, x * sin + y[:, None] * cos
    grid = torch.stack([across, along], -1)[None] * (2 / side)
    return F.grid_sample(canvas[None, None], grid, align_corners=False)[0]


def _blur(layer: Tensor, sigma: Sequence[float]) -> Tensor:
    """A Gaussian blur of its own standard deviation (pixels) for every image, separable, borders repeated."""
    radius = max(ceil(3 * s) for s in sigma)
    taps = torch.stack([F.pad(_gaussian(s), (radius - ceil(3 * s),) * 2) for s in sigma]).to(layer.device, layer.dtype)
    for axis, pad in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded, length = F.pad(layer, pad, mode="replicate"), layer.shape[axis]
        # A sum of shifted copies rather than a convolution: an image rounds alike whatever its batch is.
        layer = sum(tap.view(-1, 1, 1, 1) * padded.narrow(axis, k, length) for k, tap in enumerate(taps.T))
    return layer


def _gaussian(sigma: float) -> Tensor:
    """The taps of a Gaussian, cut at three standard deviations, with sum 1; a single tap for no blur."""
    at = torch.arange(-ceil(3 * sigma), ceil(3 * sigma) + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (at / max(sigma, _TINY)) ** 2)
    return taps / taps.sum()
