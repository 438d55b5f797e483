"""Streaks: R, drawn one by one, smeared from noise, or taken from files.

`"drawn"` draws every streak by itself: it has a nearness, and the nearer it is, the longer, wider and brighter (the
intensity and size prior of the PHPNet paper). `"noise"` is the recipe of that paper's data, the one of image editors:
specks of noise are thresholded, smeared along one of seven directions and blurred. `"layers"` lays rain from files on
any scene, rain that fell, or that others rendered. A layer is a grey picture of streaks alone. Cropped, scaled, turned,
mirrored, brightened and laid over each other, a few hundred of them give rain without end that has the shapes of
theirs:

    layers = data.synthetic.rain_layers("streaks/garg")
    pair = rain.add_rain(clean, "layers", [rain.generator(0)], layers)

Layers that were won as rainy minus clean are black where the scene was white already: such holes show the scene's
outlines. A crop is therefore moved to where its layer has none, as far as there is such a place.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import DataError, require
from derainlib.rain_styles import METHODS, RainStyle, pick, ranges_of

VISIBLE = 8 / 255
"""Rain fainter than this does not count as rain, neither in a location map nor in a layer's coverage."""
_ELEMENTS = 1 << 19  # streak pixels rendered at once: bounds the memory that a large image takes
_TINY = 1e-6  # stands for a zero sine or cosine where one divides
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


def draw_each(styles, size, generators, device, dtype, layers: Sequence[Layer]) -> Tensor:
    """R for one style per image: the images of each renderer go through it together, then the blur."""
    require(len(size) == 2 and min(size) >= 1, f"size is {tuple(size)}; give a positive (height, width)")
    layer = torch.zeros(len(styles), 1, *size, device=device, dtype=dtype)
    from_files = partial(_render_layers, layers=layers)
    for method, renderer in zip(METHODS, (_render_drawn, _render_noise, from_files), strict=True):
        chosen = [i for i, s in enumerate(styles) if s.method == method]
        if chosen:
            layer[chosen] = renderer([styles[i] for i in chosen], size, [generators[i] for i in chosen], layer)
    sigma = [pick(s.blur, g) for s, g in zip(styles, generators, strict=True)]
    return _blur(layer, sigma) if any(s > 0 for s in sigma) else layer


# --- drawn one by one ------------------------------------------------------------------------------------------


def _scatter(style: RainStyle, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """The streaks of one image, (9, K) float64: x, y, sin and cos of the angle, length, width, …, taper."""
    density, length, width, brightness = (
        pick(r, generator) for r in (style.density, style.length, style.width, style.brightness)
    )
    angles = [pick(style.angle, generator) for _ in range(style.directions)]
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


def _render_drawn(styles, size, generators, like: Tensor) -> Tensor:
    """Drawn streaks, (N, 1, H, W): each one is evaluated on the pixels that it covers, row by row, and added.

    The work grows with the pixels covered, not with the length of a kernel times all pixels.
    """
    tables = [_scatter(s, size, g) for s, g in zip(styles, generators, strict=True)]
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


# --- smeared from noise ----------------------------------------------------------------------------------------


def _render_noise(styles, size, generators, like: Tensor) -> Tensor:
    """Smeared noise, (N, 1, H, W): threshold noise, smear it down a canvas, turn the canvas to the angle."""
    side = math.ceil(math.hypot(*size)) + 2  # a square that covers the image at every angle
    layers = []
    for style, g in zip(styles, generators, strict=True):
        density, brightness = pick(style.density, g), pick(style.brightness, g)
        length = max(1, round(pick(style.length, g)))
        share = max(density / style.directions / 1e4, _TINY)  # of the pixels that stay above the threshold
        layer = like.new_zeros(1, *size)
        for _ in range(style.directions):
            angle = math.radians(pick(style.angle, g))
            layer += _turn(_smear(side, length, share, brightness, g, like), angle, size)
            if style.grain != (0.0, 0.0):
                dark = brightness * pick(style.grain, g)
                layer -= _turn(_smear(side, length, share, dark, g, like), angle, size)
        layers.append(layer)
    return torch.stack(layers)


def _smear(side: int, length: int, share: float, brightness: float, generator, like: Tensor) -> Tensor:
    """A square (side, side) of noise, of which `share` stays above the threshold, smeared down over `length` pixels."""
    noise = torch.rand(side + length, side, generator=generator).to(like.device, like.dtype)
    specks = (noise - (1 - share)).clamp_(min=0) * (brightness / share)
    sums = F.pad(specks.cumsum(0), (0, 0, 1, 0))
    return (sums[length:] - sums[:-length]).clamp_(min=0)[:side]  # a moving sum, whatever the length


def _turn(canvas: Tensor, angle: float, size: tuple[int, int]) -> Tensor:
    """The middle (1, H, W) of a square canvas (S, S), bilinear, with its columns laid along `angle`."""
    side = canvas.shape[0]
    y, x = (torch.arange(n, device=canvas.device, dtype=canvas.dtype) - (n - 1) / 2 for n in size)
    sin, cos = np.sin(angle), np.cos(angle)
    across, along = x * cos - y[:, None] * sin, x * sin + y[:, None] * cos
    grid = torch.stack([across, along], -1)[None] * (2 / side)
    return F.grid_sample(canvas[None, None], grid, align_corners=False)[0]


# --- from files ------------------------------------------------------------------------------------------------


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


def _render_layers(styles, size, generators, like: Tensor, layers: Sequence[Layer]) -> Tensor:
    """Layers from files, (N, 1, H, W): of each image's kind, as many as it says, one over the other."""
    require(len(layers) > 0, "this rain comes from files and there are none: give a folder of rain layers")
    images = []
    for style, g in zip(styles, generators, strict=True):
        fitting = [layer for layer in layers if _covers(style, layer)] or layers
        images.append(like.new_zeros(1, *size))
        for _ in range(round(pick(style.overlay, g))):
            how = {name: pick(getattr(style, name), g) for name in ("scale", "angle", "brightness")}
            images[-1] += render(fitting, size, g, **how, like=like)
    return torch.stack(images)


def _covers(style: RainStyle, layer: Layer) -> bool:
    """Whether the layer is as dense as the style asks for."""
    return any(low <= 100 * layer.coverage <= high for low, high in ranges_of(style.density))


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
    turn = math.radians(angle)
    reach = _reach(size, turn, scale)
    middle = _place(chosen, reach, draws[2:])
    grid = _grid(size, turn, scale, middle, chosen.streaks.shape, mirrored=draws[1] < 0.5).to(like.device, like.dtype)
    source = chosen.streaks.to(like.device, like.dtype)[None, None]
    found = F.grid_sample(source, grid, padding_mode="reflection", align_corners=False)[0]
    return found * (brightness / 255)


def _reach(size: tuple[int, int], turn: float, scale: float) -> tuple[float, float]:
    """Half of the upright box, (height, width) in the layer's pixels, that holds the turned crop."""
    across, along = abs(math.cos(turn)), abs(math.sin(turn))
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
    across, along = x * math.cos(turn) - y[:, None] * math.sin(turn), x * math.sin(turn) + y[:, None] * math.cos(turn)
    across = -across if mirrored else across
    at = torch.stack([middle[1] + across / scale, middle[0] + along / scale], -1)
    return (at * (2 / at.new_tensor([shape[1], shape[0]])) - 1)[None]


# --- out of focus ----------------------------------------------------------------------------------------------


def _blur(layer: Tensor, sigma: Sequence[float]) -> Tensor:
    """A Gaussian blur of its own standard deviation (pixels) for every image, separable, borders repeated."""
    radius = max(math.ceil(3 * s) for s in sigma)
    taps = torch.stack([F.pad(_gaussian(s), (radius - math.ceil(3 * s),) * 2) for s in sigma]).to(
        layer.device, layer.dtype
    )
    for axis, pad in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded, length = F.pad(layer, pad, mode="replicate"), layer.shape[axis]
        # A sum of shifted copies rather than a convolution: an image rounds alike whatever its batch is.
        layer = sum(tap.view(-1, 1, 1, 1) * padded.narrow(axis, k, length) for k, tap in enumerate(taps.T))
    return layer


def _gaussian(sigma: float) -> Tensor:
    """The taps of a Gaussian, cut at three standard deviations, with sum 1; a single tap for no blur."""
    at = torch.arange(-math.ceil(3 * sigma), math.ceil(3 * sigma) + 1, dtype=torch.float64)
    taps = torch.exp(-0.5 * (at / max(sigma, _TINY)) ** 2)
    return taps / taps.sum()
