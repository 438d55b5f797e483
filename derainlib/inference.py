"""Whole photographs, tiles and folders: how a trained network meets an image of any size.

A large photograph is cut into overlapping windows. A network's output pixel depends on the input up to `halo`
pixels away, so of each window only what lies at least a halo from its cut edges is kept; where a window ends with
the photograph itself, nothing is cut, and the network's own padding acts as it would on the whole. All windows have
one size and start at multiples of the network's `stride`. The result equals the untiled one, in bounded memory.

A network that averages over the whole photograph (`global_statistics`) can be tiled if it gives what it averages: its
`statistics(image)` is a map with a position for each block of stride x stride pixels, (N, C, ⌈H/stride⌉, ⌈W/stride⌉),
none of whose values depends on pixels beyond the halo of those of its block, and `network(image, statistics=mean)`
takes the map's mean over the photograph, (N, C), instead of averaging over what it sees. A first pass over the windows
then finds the mean, each block counted once.

What comes out is O less its rain: B̂ = O − s R̂, clipped to [0, 1], where R̂ = O − S(O), S(O) is the network's estimate of
the background and s is `strength`. With `ensemble`, the mean of what the network makes of the photograph as it is,
mirrored, upside down, and both, each turned back, takes the place of S(O): ¼ Σ Tₖ S(Tₖ O), where Tₖ Tₖ = 1.
"""

import contextlib
import copy
import itertools
import math
import numbers
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from derainlib import images
from derainlib.errors import DerainError, ImageError
from derainlib.models import weights

Image = TypeVar("Image")

WINDOW_PIXELS = 1_000_000
"""Pixels that a network sees at once unless told otherwise: BRN needs 1.8 kB for each, SRN 1.0."""

BYTES_PER_PIXEL = 4096
"""Rough need of a network for each pixel it sees at once; on a GPU, windows fill half of the free memory."""

MIRRORED = ((-1,), (-2,), (-2, -1))
"""T₂ … T₄ by the axes that they reverse. Turned by 90°, rain falls sideways, as most shipped networks have never met
it: they leave it where it is, so that a mean over eight copies would be worse than one pass."""

STRONGEST = 2.0
"""Largest strength: twice the rain that the network sees."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Precisions by name; bf16 is quicker where the processor has it, and off by about 0.002."""


def derain(
    image: Image,
    model: str | os.PathLike | nn.Module = "brn",
    *,
    tile: int | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "fp32",
    ensemble: bool = False,
    strength: float = 1.0,
    progress: bool = False,
) -> Image:
    """Takes the rain off an image.

    Args:
        image: a path, PIL image, array or tensor, at least 16 x 16 pixels; see `derainlib.images.to_tensor`.
        model: shipped weights by name, a .safetensors path, or a network.
        tile, device, dtype, ensemble, strength, progress: see `clean`.

    Returns:
        The same kind of thing as `image` (a PIL image for a path), with values in [0, 1] or whole numbers.

    Raises:
        ImageError: no usable image. WeightsError: no such weights. DerainError: settings that do not fit.
    """
    tensor, back = images.to_tensor(image)
    settings = {"tile": tile, "device": device, "dtype": dtype, "ensemble": ensemble, "strength": strength}
    return back(clean(_network(model), tensor, **settings, progress=progress))


def clean(
    model: nn.Module,
    rainy: Tensor,
    *,
    tile: int | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "fp32",
    ensemble: bool = False,
    strength: float = 1.0,
    progress: bool = False,
) -> Tensor:
    """Takes the rain off a batch of any size, in windows.

    The network is copied for the call: the caller's keeps its mode, device and precision.

    Args:
        model: a network.
        rainy: O, float (N, 3, H, W) in [0, 1].
        tile: side of the windows in pixels, halo included; by default windows of at most `WINDOW_PIXELS`.
        device: where to compute; by default where the network lies, but on a GPU if it lies on the CPU and there
            is one.
        dtype: precision of the network's layers, one of `DTYPES`.
        ensemble: whether to take the mean over the photograph and its three `MIRRORED` copies: four times the work,
            and mostly a little better. S(O) becomes ¼ Σ Tₖ S(Tₖ O), before clipping.
        strength: s, how much of the estimated rain R̂ = O − S(O) is taken off, from 0 to `STRONGEST`: 0 gives O back, 1
            is what the network says, more also takes what it left, and with it some of the scene.
        progress: whether to show a bar.

    Returns:
        B̂ = O − s R̂, float32 (N, 3, H, W), clipped to [0, 1], on `rainy`'s device.

    Raises:
        DerainError: a tile no larger than two halos, a network that cannot be tiled, an unknown device or dtype, a
            strength out of range, too little memory, or weights that make NaN of the image.
    """
    from tqdm.auto import tqdm

    _check(ensemble, strength)
    rainy, device = rainy.detach(), _device(model, device)
    budget = _window_pixels(device)
    windows = plan(model, *rainy.shape[-2:], tile, budget)
    batch = max(1, budget // windows[0].pixels)
    averaged = model.global_statistics and len(windows) > 1
    network = copy.deepcopy(model).to(device, _dtype(dtype)).eval()
    mirrored = MIRRORED if ensemble else ()
    count = (1 + len(mirrored)) * math.ceil(len(rainy) / batch) * len(windows) * (1 + averaged)
    with _kernels(model, _dtype(dtype), device), tqdm(total=count, disable=not progress, unit="tile") as steps:
        estimate = partial(_estimate, network, windows, batch, averaged, device, steps)
        background = estimate(rainy)
        for axes in mirrored:
            background += estimate(rainy.flip(axes)).flip(axes)
    background /= 1 + len(mirrored)
    if not background.isfinite().all():
        raise DerainError(
            f"{_name(model)} makes NaN or infinite values of this image: its weights are damaged, or too large for "
            f"{dtype}; try fp32"
        )
    return torch.lerp(rainy.to(torch.float32), background, strength, out=background).clamp_(0, 1)


@contextlib.contextmanager
def _kernels(model: nn.Module, dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Tells in one line what kernels lack: memory, or a precision."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise DerainError(f"not enough memory for {_name(model)} and this image; try tile=256") from None
        if device.type == "cpu" and dtype == torch.float16:
            raise DerainError(f"this processor does not compute {_name(model)} in fp16; take bf16") from None
        raise


def _estimate(
    network: nn.Module, windows: list["Window"], batch: int, averaged: bool, device: torch.device, steps, rainy: Tensor
) -> Tensor:
    """S(O) of all photographs, float32 (N, 3, H, W), not clipped; `batch` of them are seen at once."""
    background = torch.empty(rainy.shape, dtype=torch.float32, device=rainy.device)
    with torch.inference_mode():
        for source, target in zip(rainy.split(batch), background.split(batch), strict=True):
            known = {"statistics": _average(network, source, windows, device, steps)} if averaged else {}
            for rows, columns in windows:
                seen = source[..., rows.seen, columns.seen].to(device, torch.float32)
                found = network(seen, **known).background[..., rows.kept, columns.kept]
                target[..., rows.filled, columns.filled] = found
                steps.update()
    return background


def _average(network: nn.Module, source: Tensor, windows: list["Window"], device: torch.device, steps) -> Tensor:
    """The mean over the whole image of the network's `statistics`, (N, C), from windows of the image."""
    total, count = 0, 0
    for rows, columns in windows:
        found = network.statistics(source[..., rows.seen, columns.seen].to(device, torch.float32))
        own = found[..., rows.blocks(network.stride), columns.blocks(network.stride)]
        total, count = total + own.sum((2, 3), dtype=torch.float32), count + own[0, 0].numel()
        steps.update()
    return total / count


# --- windows ------------------------------------------------------------------------------------------------


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
            f"{_name(model)} averages over the whole image, so {width} x {height} pixels cannot be cut into tiles; "
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


# --- settings -----------------------------------------------------------------------------------------------


def _network(model: str | os.PathLike | nn.Module) -> nn.Module:
    return model if isinstance(model, nn.Module) else weights.load(model)


def _name(model: nn.Module) -> str:
    return getattr(model, "name", type(model).__name__)


def _check(ensemble: bool, strength: float) -> None:
    if not isinstance(ensemble, bool):
        raise DerainError(f"ensemble must be True or False; got {ensemble!r}")
    if not isinstance(strength, numbers.Real) or not 0 <= strength <= STRONGEST:
        raise DerainError(f"strength must be a number from 0 to {STRONGEST:g}; got {strength!r}")


def _device(model: nn.Module, device: str | torch.device | None) -> torch.device:
    if device is None:
        device = next(model.parameters()).device
        return torch.device("cuda") if device.type == "cpu" and torch.cuda.is_available() else device
    try:
        device = torch.device(device)
    except RuntimeError:
        raise DerainError(f"there is no kind of device called {device!r}; take 'cpu' or 'cuda'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise DerainError("device='cuda', but this machine or this build of torch has no CUDA; take 'cpu'")
    return device


def _window_pixels(device: torch.device) -> int:
    """Pixels that the network may see at once on `device`."""
    if device.type != "cuda":
        return WINDOW_PIXELS
    free, _ = torch.cuda.mem_get_info(device)
    return free // 2 // BYTES_PER_PIXEL


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if dtype not in DTYPES and dtype not in DTYPES.values():
        raise DerainError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")
    return DTYPES.get(dtype, dtype)


# --- folders ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What became of a folder's images.

    Attributes:
        written: files that were made.
        skipped: files that were there already.
        failed: images that could not be cleaned, and why.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = f"{len(self.written)} written, {len(self.skipped)} already there, {len(self.failed)} failed"
        return "\n".join([counts, *self.failed.values()])


def derain_folder(
    source: str | os.PathLike,
    target: str | os.PathLike,
    model: str | os.PathLike | nn.Module = "brn",
    *,
    pattern: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
    **settings,
) -> Report:
    """Takes the rain off every image below a folder, into a folder of the same structure.

    A bad image does not stop the others; it is named in the report. Hidden files are left out. A format that
    is only read, such as GIF, comes out as PNG with its ending added: `rain.gif` becomes `rain.gif.png`.

    Args:
        source: the folder with the images.
        target: where the results go; made if missing. It may lie inside `source`.
        model: shipped weights by name, a .safetensors path, or a network.
        pattern: which files to take, for example "*.jpg" or "day1/*"; by default those with an image's ending.
        overwrite: whether to make results anew that are there already.
        progress: whether to show a bar over the files.
        settings: tile, device, dtype, ensemble, strength; see `clean`.

    Raises:
        DerainError: no such folder, no images in it, `target` is the same folder, or settings that do not fit.
    """
    from tqdm.auto import tqdm

    source, target = Path(source), Path(target)
    found = _find(source, target, pattern)
    network, report = _network(model), Report()
    for path in tqdm(found, disable=not progress, unit="image"):
        result = target / path.relative_to(source)
        if result.suffix.lower() not in images.WRITABLE:
            result = result.with_name(f"{result.name}.png")
        if result.exists() and not overwrite:
            report.skipped.append(result)
            continue
        try:
            rainy, _ = images.to_tensor(path)
            background = clean(network, rainy, **settings)
            result.parent.mkdir(parents=True, exist_ok=True)
            images.write(background, result)
        except ImageError as error:
            report.failed[path] = str(error)
        else:
            report.written.append(result)
    return report


def _find(source: Path, target: Path, pattern: str | None) -> list[Path]:
    """The images below `source` that are not results of an earlier run."""
    if not source.is_dir():
        raise DerainError(f"there is no folder {source}")
    if target.exists() and not target.is_dir():
        raise DerainError(f"{target} is a file; the results need a folder")
    inside = target.resolve()
    if inside == source.resolve():
        raise DerainError(f"the results would mix with the images in {source}; name another folder for them")
    found = [
        path
        for path in sorted(source.rglob(pattern or "*"))
        if path.is_file()
        and (pattern or path.suffix.lower() in images.READABLE)
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
        and inside not in path.resolve().parents
    ]
    if not found:
        kinds = f"files that match {pattern!r}" if pattern else f"images ({', '.join(images.READABLE)})"
        raise DerainError(f"there are no {kinds} in {source}")
    return found
