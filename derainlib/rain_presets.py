"""Kinds of rain by name: presets with what they were tuned to, PHPNet's streets, rain from files, and mixes of them."""

from dataclasses import replace

import torch

from derainlib.errors import require
from derainlib.rain_styles import RainStyle

_FALLING = ((-30.0, 30.0), (-30.0, 30.0), (-30.0, 30.0), (-90.0, 90.0))
"""Rain from any side, most of it near the vertical: what layers are turned by."""

PRESETS: dict[str, RainStyle] = {
    # Rain100L-like: one direction an image, thin soft streaks of many sizes that keep together in places.
    # Target, averages over Rain100L's 100 pairs: rainy input 25.5 dB (RGB); R has a mean of 5.9 of 255, 18 % of its
    # pixels above 8, its 99th percentile at 69, and is half correlated 1.4 px across the streaks, 11 px along them.
    "light": RainStyle(
        angle=(-35.0, 35.0), spread=3.0, density=(29.0, 78.0), bundle=3, length=(25.0, 75.0), width=(1.7, 3.2),
        brightness=(0.14, 0.38), depth=0.25, edge=(0.4, 1.0), taper=(0.2, 1.0),
    ),
    # Rain100H- and RainTrainH-like: long dense flat streaks, hard-edged beside softer ones, one direction.
    # Target, after clipping: rainy input 13 ± 1.5 dB; R covers 50 to 97 % of the pixels, its mean is 15 to
    # 90 of 255, its 99th percentile 80 to 190.
    "heavy": RainStyle(
        angle=(-45.0, 45.0), spread=2.0, density=(50.0, 110.0), length=(60.0, 160.0), width=(2.5, 5.5),
        brightness=(0.24, 0.44), depth=0.3, edge=(0.0, 0.7), taper=(0.0, 0.5),
    ),
    # As RainTrainH's twelve layers are: denser, thinner, more upright than `heavy`, with a floor of faint streaks that
    # overlap nearly everywhere. Target, averages over the layers outside their holes: R has a mean of 49 of 255, 75 %
    # of its pixels above 8, its median at 44 and its 99th percentile at 149, and is half correlated 15 px along the
    # streaks (benchmarks/results/rain_statistics.json).
    "dense": RainStyle(
        angle=(-15.0, 15.0), spread=3.0, density=(80.0, 300.0), length=(50.0, 190.0), width=(2.0, 3.6),
        brightness=(0.1, 0.38), depth=0.22, edge=(0.0, 0.8), taper=(0.0, 0.5),
    ),
    # Broad soft streaks near the lens and out of focus, as in QSNet's Test-III. Target: rainy input 21.5 dB.
    "wide": RainStyle(
        angle=(-30.0, 30.0), spread=4.0, density=(6.0, 30.0), length=(40.0, 140.0), width=(5.0, 14.0),
        brightness=(0.12, 0.4), edge=(0.8, 1.0), taper=(0.6, 1.0), blur=(1.0, 3.0),
    ),
    # The same amount of rain, falling in several directions at once.
    "crossed": RainStyle(
        angle=(-45.0, 45.0), directions=3, spread=2.0, density=(50.0, 110.0), length=(55.0, 150.0), width=(2.5, 5.5),
        brightness=(0.24, 0.44), depth=0.3, edge=(0.0, 0.7), taper=(0.0, 0.5),
    ),
    # Heavy rain seen through its own mist, as in photographs of downpours. Target: rainy input 15 dB.
    "veil": RainStyle(
        angle=(-30.0, 30.0), spread=3.0, density=(60.0, 150.0), bundle=2, length=(40.0, 110.0), width=(1.5, 4.0),
        brightness=(0.2, 0.4), depth=0.25, edge=(0.4, 1.0), taper=(0.3, 1.0), blur=(0.0, 0.8), composition="veil",
        haze=(0.3, 1.2), airlight=(0.55, 0.9),
    ),
    # The PHPNet recipe: seven directions, blur radii 0.2 to 1.0 in steps of 0.2. Target: rainy input 23 dB.
    "noise": RainStyle(
        method="noise", angle=((0, 0), (-15, -15), (15, 15), (-30, -30), (30, 30), (-40, -40), (40, 40)),
        density=(20.0, 120.0), length=(10.0, 40.0), brightness=(0.2, 0.7),
        blur=((0.2, 0.2), (0.4, 0.4), (0.6, 0.6), (0.8, 0.8), (1.0, 1.0)),
    ),
    # Rain800-like: short wide streaks, from sparse ones to a dense grain that darkens too, in a picture whose tone was
    # changed. Target, averages over its training pairs: rainy input 21.9 dB; luma 14 of 255 above the truth's; 14 % of
    # the pixels darker than the truth by more than 4. In some pairs of the whole set the rainy picture is the darker
    # one, so the curve goes both ways.
    "rain800": RainStyle(
        method="noise", angle=(-25.0, 25.0), density=((40.0, 150.0), (200.0, 600.0)), length=(8.0, 30.0),
        brightness=(0.15, 0.5), blur=(0.5, 1.6), grain=((0.0, 0.0), (0.2, 0.7)), tone=((0.0, 0.0), (-0.1, 0.12)),
    ),
}  # fmt: skip

FROM_FILES: dict[str, RainStyle] = {
    # Rain layers from files, in any direction: sparse ones as Garg's, which are Rain100L's kind, and dense ones as
    # RainTrainH's.
    "layers": RainStyle(
        method="layers", angle=_FALLING, density=(0.0, 45.0), overlay=((1.0, 1.4), (1.0, 1.4), (1.6, 4.0)),
        scale=(0.7, 1.6), brightness=(0.4, 1.2),
    ),
    "layers-dense": RainStyle(
        method="layers", angle=_FALLING, density=(45.0, 100.0), overlay=(1.0, 2.4), scale=(0.8, 1.4),
        brightness=(0.5, 1.1),
    ),
}  # fmt: skip
"""Names that `draw` and `add_rain` take where they are given layers."""

DIRECTIONS = (-40, -30, -15, 0, 15, 30, 40)
"""PHPNet, Section III.D: the directions of rain in its streets, in degrees from the vertical."""

_ANGLES = tuple((float(d), float(d)) for d in DIRECTIONS)

STREETS: dict[str, RainStyle] = {
    # PHPNet's streets, by the radius of the blur: 0.2 small, 0.4 and 0.6 medium, 0.8 and 1.0 large (Section IV.C). A
    # larger streak is a nearer one: it is longer too, and brighter than the blur alone would leave it.
    # Target on CamVid: rainy input 19.5, 18.5 and 17.5 dB.
    "streets-small": RainStyle(
        method="noise", angle=_ANGLES, density=(50.0, 250.0), length=(8.0, 24.0), brightness=(0.3, 0.8),
        blur=(0.2, 0.2),
    ),
    "streets-medium": RainStyle(
        method="noise", angle=_ANGLES, density=(20.0, 100.0), length=(15.0, 40.0), brightness=(0.55, 1.2),
        blur=((0.4, 0.4), (0.6, 0.6)),
    ),
    "streets-large": RainStyle(
        method="noise", angle=_ANGLES, density=(8.0, 40.0), length=(25.0, 70.0), brightness=(1.0, 2.2),
        blur=((0.8, 0.8), (1.0, 1.0)),
    ),
    # The other kinds of rain of PHPNet's Table II, each from its idea. Density: streaks alike, on three levels of
    # density, as in DID-MDN (Zhang and Patel 2018). Target: 23, 18 and 14 dB.
    **{
        f"density-{level}": RainStyle(
            method="noise", angle=(-45.0, 45.0), density=density, length=(12.0, 30.0), brightness=(0.5, 1.0),
            blur=(0.5, 0.5),
        )
        for level, density in (("light", (20.0, 60.0)), ("medium", (60.0, 160.0)), ("heavy", (160.0, 300.0)))
    },
    # Depth: streaks near and far, and mist that grows with the depth of the scene, as in RainCityscapes (Hu et al.
    # 2019). Target: 17.5 dB.
    "depth-mist": RainStyle(
        angle=(-15.0, 15.0), spread=2.0, density=(60.0, 160.0), length=(20.0, 70.0), width=(1.2, 3.0),
        brightness=(0.2, 0.45), depth=0.1, composition="veil", haze=(0.2, 1.0), airlight=(0.6, 0.9),
    ),
    # Space: rain in some places of the picture and none in others, as in SPA-Data (Wang et al. 2019). Target: 22.5 dB.
    "spatial-bundles": RainStyle(
        angle=(-30.0, 30.0), spread=6.0, density=(20.0, 80.0), bundle=16, length=(30.0, 90.0), width=(1.2, 3.0),
        brightness=(0.2, 0.5), depth=0.25, edge=(0.3, 1.0), taper=(0.3, 1.0),
    ),
    "dry": RainStyle(density=(0.0, 0.0)),
}  # fmt: skip
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
    require(size in sizes, f"size is {size!r}; choose one of {', '.join(sizes)}")
    known = direction is None or direction in DIRECTIONS
    require(known, f"direction is {direction!r}; choose one of {', '.join(map(str, DIRECTIONS))} degrees")
    style = STREETS[f"streets-{size}"]
    return style if direction is None else replace(style, angle=(float(direction), float(direction)))


def wants_layers(style: RainStyle | str) -> bool:
    """Whether rain of this style, preset or mix is laid on from files, in part at least.

    Raises:
        DerainError: the style is unknown.
    """
    return any(style.method == "layers" for style, _ in kinds_of(style))


def kinds_of(style: RainStyle | str) -> list[tuple[RainStyle, float]]:
    """The styles of a name, each with its share."""
    if isinstance(style, RainStyle):
        return [(style, 1.0)]
    styles = PRESETS | STREETS | FROM_FILES
    known = [*styles, *MIXES]
    require(style in known, f"no rain is called {style!r}; choose one of {', '.join(known)}, or give a RainStyle")
    return [(styles[name], share) for name, share in MIXES.get(style, ((style, 1.0),))]


def resolve(style: RainStyle | str, generator: torch.Generator) -> RainStyle:
    """The style itself, the preset of that name, or one preset of the mix of that name."""
    styles, shares = zip(*kinds_of(style), strict=True)
    if style not in MIXES:
        return styles[0]
    return styles[torch.multinomial(torch.tensor(shares), 1, generator=generator).item()]
