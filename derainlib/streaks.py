"""Rain layers from files: rain that fell, or that others rendered, laid on any scene.

A layer is a grey picture of streaks alone, R. Cropped, scaled, turned, mirrored, brightened and laid over each other,
a few hundred of them give rain without end that has the shapes of theirs:

    layers = data.synthetic.rain_layers("streaks/garg")
    pair = rain.add_rain(clean, "layers", [rain.generator(0)], layers)

Layers that were won as rainy minus clean are black where the scene was white already: such holes show the scene's
outlines. A crop is therefore moved to where its layer has none, as far as there is such a place.
"""

from collections.abc import Sequence
from math import cos, radians, sin
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import DataError

VISIBLE = 8 / 255
"""Rain fainter than this does not count as rain, neither in a location map nor in a layer's coverage."""
_TRIES = 8  # places that a crop may be moved to
_WHOLE = 0.01  # share of holes that does not show
_DENSE = 0.3  # only a layer of so much rain has holes: a sparser one is black between its streaks
_GAP = 41  # pixels: wider than what lies between two streaks of dense rain


class Layer(NamedTuple):
    """Streaks alone, and where a scene has left holes in them."""

    streaks: Tensor
    """R, (H, W) uint8."""
    coverage: float
    """Share of its pixels that are brighter than `VISIBLE`, the holes left out."""
    holes: Tensor | None = None
    """(H, W) bool; None where there are none."""


def layer(image: Tensor, name: object = "the layer") -> Layer:
    """A layer from a picture of streaks on black.

    Args:
        image: (3, H, W) in [0, 1]; of the three channels the mean counts.
        name: what an error calls it.

    Raises:
        DataError: there is no rain in it, or nothing but rain.
    """
    grey = image.mean(0)
    rain = grey > VISIBLE
    if not rain.any():
        raise DataError(f"{name}: no pixel is brighter than {VISIBLE * 255:.0f} of 255, so there is no rain in it")
    if rain.all():
        raise DataError(f"{name}: every pixel is bright; a rain layer shows streaks on black")
    holes = _holes(grey.numpy()) if rain.float().mean() > _DENSE else torch.zeros_like(rain)
    coverage = rain[~holes].float().mean().item()
    return Layer((grey * 255).round().to(torch.uint8), coverage, holes if holes.any() else None)


def _holes(grey: np.ndarray) -> Tensor:
    """Where dense rain is missing over more than a gap between streaks, (H, W) bool."""
    from scipy import ndimage

    near = ndimage.uniform_filter(grey, _GAP)
    return torch.from_numpy(near < 0.25 * np.median(near[grey > VISIBLE]))


def render(
    layers: Sequence[Layer],
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    scale: float,
    angle: float,
    brightness: float,
    like: Tensor,
) -> Tensor:
    """One of the layers, cropped and mirrored by chance, scaled, turned and brightened as told.

    A crop that reaches beyond its layer sees it mirrored there.

    Args:
        layers: those to pick from.
        size: (H, W) of the crop in pixels.
        generator: gives the layer, the place, and whether it is mirrored: 2 + 2·tries draws, always as many.
        scale: how much larger the streaks become.
        angle: how far they are turned, in degrees; positive to the right.
        brightness: what their values are multiplied by.
        like: gives the result's device and dtype.

    Returns:
        R, (1, H, W), ≥ 0.
    """
    draws = torch.rand(2 + 2 * _TRIES, generator=generator, dtype=torch.float64).tolist()
    chosen = layers[min(int(draws[0] * len(layers)), len(layers) - 1)]
    turn = radians(angle)
    reach = _reach(size, turn, scale)
    middle = _place(chosen, reach, draws[2:])
    grid = _grid(size, turn, scale, middle, chosen.streaks.shape, mirrored=draws[1] < 0.5).to(like.device, like.dtype)
    source = chosen.streaks.to(like.device, like.dtype)[None, None]
    found = F.grid_sample(source, grid, padding_mode="reflection", align_corners=False)[0]
    return found * (brightness / 255)


def _reach(size: tuple[int, int], turn: float, scale: float) -> tuple[float, float]:
    """Half of the upright box, (height, width) in the layer's pixels, that holds the turned crop."""
    across, along = abs(cos(turn)), abs(sin(turn))
    height, width = size
    return (height * across + width * along) / (2 * scale), (height * along + width * across) / (2 * scale)


def _place(chosen: Layer, reach: tuple[float, float], draws: Sequence[float]) -> tuple[float, float]:
    """The crop's middle, (y, x): the first of the places drawn without holes, or the one with the fewest."""
    best, fewest = (0.0, 0.0), 2.0
    for u, v in zip(draws[::2], draws[1::2], strict=True):
        at = [_middle(n, half, w) for n, half, w in zip(chosen.streaks.shape, reach, (u, v), strict=True)]
        missing = 0.0
        if chosen.holes is not None:
            rows, columns = (slice(max(0, int(m - half)), int(m + half) + 1) for m, half in zip(at, reach, strict=True))
            missing = chosen.holes[rows, columns].float().mean().item()
        if missing < fewest:
            best, fewest = tuple(at), missing
        if fewest <= _WHOLE:
            break
    return best


def _middle(length: int, half: float, chance: float) -> float:
    """A place on an axis from which `half` reaches beyond neither end; its middle where there is none."""
    room = length - 2 * half
    return length / 2 if room <= 0 else half + chance * room


def _grid(size, turn: float, scale: float, middle, shape, mirrored: bool) -> Tensor:
    """Where each pixel of the crop looks in the layer, (1, H, W, 2), for grid_sample."""
    y, x = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size)
    across, along = x * cos(turn) - y[:, None] * sin(turn), x * sin(turn) + y[:, None] * cos(turn)
    across = -across if mirrored else across
    at = torch.stack([middle[1] + across / scale, middle[0] + along / scale], -1)
    return (at * (2 / at.new_tensor([shape[1], shape[0]])) - 1)[None]
