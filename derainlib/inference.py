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
import math
import numbers
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from derainlib import files, images, models
from derainlib.errors import DerainError, ImageError, one_line, printable
from derainlib.models import weights
from derainlib.models.blocks import FUSED_TYPES
from derainlib.windows import Window, name_of, plan

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

COARSEST_CLOCK = 2.0
"""Seconds by which times of files on two drives may differ: FAT counts in twos."""

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
        image: a path, PIL image, array or tensor, RGB, at least 16 x 16 pixels; see `derainlib.images.to_tensor`.
        model: shipped weights by name, a .safetensors path, or a network.
        tile, device, dtype, ensemble, strength, progress: see `clean`.

    Returns:
        The same kind of thing as `image` (a PIL image in sRGB for a path), with values in [0, 1] or whole numbers.

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
        dtype: precision of the network's layers, one of `DTYPES`; fp16 is for GPUs, on most processors it takes ten
            times as long as fp32, which is said in a warning.
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
    model = _network(model)
    rainy, device = rainy.detach(), _device(model, device)
    if device.type == "cpu" and _dtype(dtype) == torch.float16 and torch.float16 not in FUSED_TYPES:
        warnings.warn("fp16 on this processor takes about ten times as long as fp32; bf16 may be quicker", stacklevel=2)
    budget = _window_pixels(device)
    windows = plan(model, *rainy.shape[-2:], tile, budget)
    batch = max(1, budget // windows[0].pixels)
    averaged = model.global_statistics and len(windows) > 1
    network = copy.deepcopy(model).to(device, _dtype(dtype)).eval()
    mirrored = MIRRORED if ensemble else ()
    count = (1 + len(mirrored)) * math.ceil(len(rainy) / batch) * len(windows) * (1 + averaged)
    with _memory_errors(model), tqdm(total=count, disable=not progress, unit="tile") as steps:
        estimate = partial(_estimate, network, windows, batch, averaged, device, steps)
        background = estimate(rainy)
        for axes in mirrored:
            background += estimate(rainy.flip(axes)).flip(axes)
    background /= 1 + len(mirrored)
    if not background.isfinite().all():
        raise DerainError(
            f"{name_of(model)} makes NaN or infinite values of this image: its weights are damaged, or too large for "
            f"{dtype}; try fp32"
        )
    return torch.lerp(rainy.to(torch.float32), background, strength, out=background).clamp_(0, 1)


@contextlib.contextmanager
def _memory_errors(model: nn.Module) -> Iterator[None]:
    """Tells in one line where memory is lacking."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise DerainError(f"not enough memory for {name_of(model)} and this image; try tile=256") from None
        raise


def _estimate(
    network: nn.Module, windows: list[Window], batch: int, averaged: bool, device: torch.device, steps, rainy: Tensor
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


def _average(network: nn.Module, source: Tensor, windows: list[Window], device: torch.device, steps) -> Tensor:
    """The mean over the whole image of the network's `statistics`, (N, C), from windows of the image."""
    total, count = 0, 0
    for rows, columns in windows:
        found = network.statistics(source[..., rows.seen, columns.seen].to(device, torch.float32))
        own = found[..., rows.blocks(network.stride), columns.blocks(network.stride)]
        total, count = total + own.sum((2, 3), dtype=torch.float32), count + own[0, 0].numel()
        steps.update()
    return total / count


# --- settings -----------------------------------------------------------------------------------------------


def _network(model: str | os.PathLike | nn.Module) -> nn.Module:
    """A network that takes rain off, without what `torch.compile` or DataParallel put around it.

    Raises:
        DerainError: one that takes none off, or that does not say what it sees of an image.
    """
    network = model if isinstance(model, nn.Module) else weights.load(model)
    while isinstance(inner := getattr(network, "_orig_mod", getattr(network, "module", None)), nn.Module):
        network = inner
    if name_of(network) in models.SEGMENTERS:
        takers = [name for name in weights.shipped() if name in models.VARIANTS]
        raise DerainError(f"{name_of(network)} names what a street shows and takes no rain off; {', '.join(takers)} do")
    missing = [name for name in ("halo", "stride", "global_statistics") if not hasattr(network, name)]
    if missing:
        raise DerainError(
            f"{name_of(network)} does not say what it sees of an image: give it {', '.join(missing)}, as the networks "
            "of derainlib.create have them"
        )
    return network


def _check(ensemble: bool, strength: float) -> None:
    if not isinstance(ensemble, bool):
        raise DerainError(f"ensemble must be True or False; got {ensemble!r}")
    if not isinstance(strength, numbers.Real) or not 0 <= strength <= STRONGEST:
        raise DerainError(f"strength must be a number from 0 to {STRONGEST:g}; got {strength!r}")


def _device(model: nn.Module, device: str | torch.device | None) -> torch.device:
    """Where to compute; where nothing is said, on whatever accelerator there is, as training does."""
    if device is None:
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        return torch.accelerator.current_accelerator() if device.type == "cpu" and _accelerated() else device
    try:
        device = torch.device(device)
    except RuntimeError:
        raise DerainError(f"there is no kind of device called {device!r}; take 'cpu' or 'cuda'") from None
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # each device has its own way to be absent
        kinds = f"'cpu' or '{torch.accelerator.current_accelerator().type}'" if _accelerated() else "'cpu'"
        raise DerainError(f"device='{device}' cannot be used here ({_first_words(error)}); take {kinds}") from None
    return device


def _accelerated() -> bool:
    return torch.accelerator.is_available()


def _first_words(error: Exception) -> str:
    """The first sentence of what torch says; whole build configurations follow."""
    return one_line(error).split(". ")[0].split(" (")[0]


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
        older: those of them that are older than their photographs.
        failed: images that could not be cleaned, and why.
        lost: what results lack that their sources had, such as a BMP's EXIF; a line each.
        left_out: how many files were no images by their endings, by ending; and folders that could not be opened.
    """

    written: list[Path] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    older: list[Path] = field(default_factory=list)
    failed: dict[Path, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = f"{len(self.written)} written, {len(self.skipped)} already there, {len(self.failed)} failed"
        return "\n".join([counts, *filter(None, [self.others, self.outdated]), *self.failed.values(), *self.lost])

    @property
    def others(self) -> str:
        """What was left out, in one line; "" if nothing."""
        kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(self.left_out.items()))
        count = sum(self.left_out.values())
        return f"{count} file{'s' if count > 1 else ''} left out: {kinds}" if kinds else ""

    @property
    def outdated(self) -> str:
        """Which results may be those of other photographs, in one line; "" if none."""
        names = printable(", ".join(str(path) for path in self.older[:5])) + (" …" if self.older[5:] else "")
        return (
            f"{len(self.older)} of those already there are older than their photographs: {names}; overwrite=True "
            "(--overwrite) makes them anew, pattern (--pattern) only some"
        ) * bool(self.older)


def derain_file(
    source: str | os.PathLike,
    target: str | os.PathLike,
    model: str | os.PathLike | nn.Module = "brn",
    *,
    bits: int = 8,
    keep_profile: bool = False,
    **settings,
) -> str:
    """Takes the rain off an image file, into another, which is replaced if it is there already.

    EXIF (date, place, camera) and alpha go along where the target's format holds them; the colours are sRGB. Of an
    animation or a file of several pages each picture is cleaned by itself, whatever its neighbours show, and written to
    an animation (.png, .webp) or pages (.tif).

    Args:
        source: the image.
        target: the result; its ending decides on the format. Its folder is made if missing.
        model: shipped weights by name, a .safetensors path, or a network.
        bits, keep_profile: see `derainlib.images.write`.
        settings: tile, device, dtype, ensemble, strength, progress; see `clean`.

    Returns:
        In one line what the result lacks that the source had; "" if nothing.

    Raises:
        ImageError: no usable image, or a target that cannot be written. WeightsError: no such weights.
        DerainError: settings that do not fit.
    """
    network = _network(model)
    if (count := images.header(source).frames) > 1:
        images.check_pictures(target, count, bits)
        animation = _clean_all(network, images.pictures(source), **settings)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        return images.write_pictures(animation, target, keep_profile)
    rainy, extras = images.photograph(source)
    background = clean(network, rainy, **settings)
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    return images.write(background, target, bits, extras, keep_profile)


def _clean_all(network: nn.Module, animation: images.Animation, progress: bool = False, **settings) -> images.Animation:
    """The pictures without rain, each by itself."""
    from tqdm.auto import tqdm

    cleaned = []
    for colour, extras in tqdm(animation.pictures, disable=not progress, unit="picture"):
        background = clean(network, colour[None].float() / 255, **settings)[0]
        cleaned.append((images.to_bytes(background), extras))
    return animation._replace(pictures=cleaned)


def derain_folder(
    source: str | os.PathLike,
    target: str | os.PathLike,
    model: str | os.PathLike | nn.Module = "brn",
    *,
    pattern: str | None = None,
    overwrite: bool = False,
    bits: int = 8,
    keep_profile: bool = False,
    progress: bool = False,
    **settings,
) -> Report:
    """Takes the rain off every image below a folder, into a folder of the same structure.

    What is there already stays, since somebody may have worked on it: the report names results that are older than
    their photographs. A bad image does not stop the others; it is named, and so is a folder that cannot be opened.
    Hidden files and folders are passed over; other files that are no images by their endings are counted. A format that
    is only read, such as GIF, comes out as PNG with its ending added: `rain.gif` becomes `rain.gif.png`. EXIF and alpha
    go along where the format holds them, and the report says what did not.

    Args:
        source: the folder with the images.
        target: where the results go; made if missing. It may lie inside `source`.
        model: shipped weights by name, a .safetensors path, or a network.
        pattern: which files to take, for example "*.jpg" or "day1/*"; by default those with an image's ending.
        overwrite: whether to make results anew that are there already.
        bits: 16 for PNG and TIFF files of 16 bits; results of other formats have 8.
        keep_profile: whether results have their sources' colour profiles, in place of sRGB: `images.write`.
        progress: whether to show a bar over the files.
        settings: tile, device, dtype, ensemble, strength; see `clean`.

    Raises:
        DerainError: no such folder, no images in it, `target` is the same folder, two images whose results would have
            one name, or settings that do not fit.
    """
    from tqdm.auto import tqdm

    source, target, report = Path(source), Path(target), Report()
    found = _find(source, target, pattern, report)
    results = _results(found, source, target)
    network, made = _network(model), {}
    for path, result in tqdm(results.items(), disable=not progress, unit="image"):
        # Where capitals count for nothing, or accents are spelt otherwise, two names may be those of one file.
        twin = made.setdefault(unicodedata.normalize("NFC", str(result)).casefold(), result)
        try:
            if twin != result and result.exists() and result.samefile(twin):
                raise ImageError(f"{path}: on this drive its result has the name of another's, {twin}; rename one")
            if result.exists() and not overwrite:
                report.skipped.append(result)
                report.older.extend([result] if _is_older(result, path) else [])
                continue
            depth = bits if images.holds_16(result) else 8
            lost = derain_file(path, result, network, bits=depth, keep_profile=keep_profile, **settings)
        except ImageError as error:
            report.failed[path] = str(error)
        except OSError as error:  # a folder for the result that cannot be made, a name that is too long
            report.failed[path] = f"{printable(str(result))}: {error.strerror}"
        else:
            report.written.append(result)
            report.lost.extend(filter(None, [lost]))
    return report


def _is_older(result: Path, photograph: Path) -> bool:
    """Whether the photograph changed after its result was made, as far as two drives' clocks can tell."""
    try:
        return photograph.stat().st_mtime - result.stat().st_mtime > COARSEST_CLOCK
    except OSError:
        return False


def _results(found: list[Path], source: Path, target: Path) -> dict[Path, Path]:
    """The result of each image.

    Raises:
        DerainError: two would be one file.
    """
    results = {path: target / path.relative_to(source) for path in found}
    for path, result in results.items():
        if result.suffix.lower() not in images.WRITABLE:
            results[path] = result.with_name(f"{result.name}.png")
    takers: dict[Path, Path] = {}
    for path, result in results.items():
        if result in takers:
            raise DerainError(f"{takers[result]} and {path} would both become {result}; rename one of them")
        takers[result] = path
    return results


def _find(source: Path, target: Path, pattern: str | None, report: Report) -> list[Path]:
    """The images below `source` that are not results of an earlier run; the report takes what is left out."""
    if not source.is_dir():
        raise DerainError(f"there is no folder {source}")
    if target.exists() and not target.is_dir():
        raise DerainError(f"{target} is a file; the results need a folder")
    inside = target.resolve()
    if inside == source.resolve():
        raise DerainError(f"the results would mix with the images in {source}; name another folder for them")
    below, closed = files.below(source)
    below = [path for path in below if inside not in Path(os.path.realpath(path)).parents]
    if pattern:
        found = sorted(_matching(source, pattern).intersection(below))
    else:
        found = [path for path in below if path.suffix.lower() in images.READABLE]
        report.left_out.update(Counter(path.suffix.lower() or "without ending" for path in set(below) - set(found)))
    report.failed.update({path: f"{path}: {reason}: nothing in it was looked at" for path, reason in closed.items()})
    if not found:
        kinds = f"files that match {pattern!r}" if pattern else f"images ({', '.join(images.READABLE)})"
        reasons = [*filter(None, [report.others]), *report.failed.values()]
        raise DerainError("; ".join([f"there are no {kinds} in {source}", *reasons]))
    return found


def _matching(source: Path, pattern: str) -> set[Path]:
    try:
        return set(source.rglob(pattern))
    except (NotImplementedError, ValueError):  # an absolute one, or an empty part
        raise DerainError(f"pattern {pattern!r} is no name in a folder; give one such as '*.jpg' or 'day1/*'") from None
