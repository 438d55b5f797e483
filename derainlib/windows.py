"""The windows in which a network sees an image of any size; `derainlib.inference` tells what they are for."""

import itertools
import math
from typing import NamedTuple

from torch import nn

from derainlib import images
from derainlib.errors import DerainError


def name_of(model: nn.Module) -> str:
    """What messages call a network."""
    return getattr(model, "name", type(model).__name__)


class Span(NamedTuple):
    """One window along one axis: what the network sees of the image, what of that is kept, where it goes."""

    seen: slice
    kept: slice
    filled: slice

    def blocks(self, stride: int) -> slice:
        """Of the blocks of `stride` pixels seen, those whose first pixel this window fills, so that it counts them."""
        first, last = (math.ceil(end / stride) for end in (self.filled.start, self.filled.stop))
        return slice(first - self.seen.start // stride, last - self.seen.start // stride)


class Window(NamedTuple):
    """A rectangle that the network sees at once."""

    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        return math.prod(span.seen.stop - span.seen.start for span in self)


def plan(model: nn.Module, height: int, width: int, tile: int | None, pixels: int) -> list[Window]:
    """The windows that cover an image, row by row; one if it is small enough.

    Args:
        model: a network; it declares `halo`, `stride` and `global_statistics`.
        height, width: the image's size.
        tile: largest side of a window, or None for the windows of at most `pixels` that repeat least.
        pixels: largest area of a window where `tile` is None; raised to (4 halo)² for networks that look far.

    Raises:
        DerainError: a tile no larger than two halos, or a network that must see the whole image at once.
    """
    halo, stride = model.halo, model.stride
    smallest = _side(1, halo, stride)
    if tile is None:
        sides = _least_work(height, width, halo, stride, max(pixels, (4 * halo) ** 2))
    elif tile < min(smallest, max(height, width)):
        raise DerainError(f"tile={tile} leaves nothing between two halos of {halo} px; take at least {smallest}")
    else:
        sides = [_even_side(side, tile, halo, stride) for side in (height, width)]
    rows, columns = (_spans(*axis, halo, stride) for axis in zip((height, width), sides, strict=True))
    if model.global_statistics and not hasattr(model, "statistics") and len(rows) * len(columns) > 1:
        raise DerainError(
            f"{name_of(model)} averages over the whole image, so {width} x {height} pixels cannot be cut into tiles; "
            f"tile={max(height, width)} runs it whole if memory allows"
        )
    return [Window(*pair) for pair in itertools.product(rows, columns)]


def _side(step: int, halo: int, stride: int) -> int:
    """Side of a window that advances by at least `step`, in whole strides, and that a network accepts."""
    step = max(step, images.MIN_SIDE - 2 * halo)
    return math.ceil(step / stride) * stride + 2 * halo


def _even_side(length: int, limit: int, halo: int, stride: int) -> int:
    """Side of the equal windows, none above `limit`, that cover `length` with the fewest of them."""
    if length <= limit:
        return length
    count = math.ceil((length - 2 * halo) / ((limit - 2 * halo) // stride * stride))
    return _side(math.ceil((length - 2 * halo) / count), halo, stride)


def _least_work(height: int, width: int, halo: int, stride: int, pixels: int) -> tuple[int, int]:
    """Height and width of the windows of at most `pixels` that repeat the least work in their halos."""
    smallest = _side(1, halo, stride)
    pixels = max(pixels, (4 * halo) ** 2, smallest**2)
    limits = range(min(smallest, height), height + 1)
    heights = {_even_side(height, limit, halo, stride) for limit in limits}
    sides = [
        (side, _even_side(width, pixels // side, halo, stride))
        for side in heights
        if pixels // side >= min(smallest, width)
    ]
    return min(sides, key=lambda s: _work(height, s[0], halo) * _work(width, s[1], halo))


def _work(length: int, side: int, halo: int) -> int:
    """Pixels that windows of `side` see along an axis, those seen twice counted twice."""
    return length if side >= length else side * math.ceil((length - 2 * halo) / (side - 2 * halo))


def _spans(length: int, side: int, halo: int, stride: int) -> list[Span]:
    """Windows of `side` along one axis; the last ends with the image and is up to a stride longer."""
    last = (length - side) // stride * stride
    earlier = range(0, last, side - 2 * halo) if last else ()
    spans, filled = [], 0
    for start in (*earlier, last):
        end = length if start == last else start + side
        stop = length if start == last else end - halo
        spans.append(Span(slice(start, end), slice(filled - start, stop - start), slice(filled, stop)))
        filled = stop
    return spans
