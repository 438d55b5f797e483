"""A kind of rain in numbers: ranges, from which each image draws its own."""

from dataclasses import dataclass
from math import isfinite

import torch

from derainlib.errors import require

Range = tuple[float, float]
Ranges = Range | tuple[Range, ...]

METHODS = ("drawn", "noise", "layers")
COMPOSITIONS = ("additive", "screen", "veil")
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


@dataclass(frozen=True, kw_only=True)
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
        require(self.method in METHODS, f"method is {self.method!r}; choose one of {', '.join(METHODS)}")
        require(
            self.composition in COMPOSITIONS,
            f"composition is {self.composition!r}; choose one of {', '.join(COMPOSITIONS)}",
        )
        for name in ("directions", "bundle"):
            value = getattr(self, name)
            whole = type(value) is int and 1 <= value <= 16
            require(whole, f"{name} is {value!r}; give a whole number from 1 to 16")
        turn, depth = self.spread, self.depth
        require(_is_number(turn) and 0 <= turn <= 90, f"spread is {turn!r}; give 0 to 90 degrees")
        require(_is_number(depth) and 0 < depth <= 1, f"depth is {depth!r}; give a ratio in (0, 1]")
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            per_streak = name in ("edge", "taper")
            ranges = (value,) if per_streak else ranges_of(value)
            require(
                all(_is_range(r) and low <= r[0] <= r[1] <= high for r in ranges),
                f"{name} is {value!r}; give (low, high) with {low} <= low <= high <= {high}"
                + ("" if per_streak else ", or several of them"),
            )


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _is_range(value) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_number(v) for v in value)


def ranges_of(value: Ranges) -> tuple[Range, ...]:
    """One range or several, always as a tuple; what is neither is handed on for the check to refuse."""
    return (value,) if not isinstance(value, tuple) or _is_range(value) or not value else value


def pick(ranges: Ranges, generator: torch.Generator) -> float:
    """One number from a range, or from one of several ranges."""
    ranges = ranges_of(ranges)
    which, where = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    low, high = ranges[min(int(which * len(ranges)), len(ranges) - 1)]
    return low + (high - low) * where
