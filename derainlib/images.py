"""Files in, tensors out, files out: every format and every bad file is handled here.

What an image becomes: float32 RGB, (3, H, W), in [0, 1]. On the way in

- grey, palette, 1-bit, CMYK and YCbCr images become RGB;
- what is not sRGB by its colour profile is converted (`derainlib.image_profiles`), so that the tensor is sRGB always;
  colours outside sRGB are clipped. A profile that is damaged, or of other colours than the picture, is ignored;
- 16-bit images keep their 16 bits, float images (TIFF, PFM) their floats, which must lie in [0, 1]; only grey
  with alpha, CMYK and colour PPM are read with 8 bits a colour;
- transparent parts are laid over white, as most viewers show them (`read`), or alpha is kept apart (`photograph`);
- the EXIF orientation is applied, so that up is up;
- of an animation or a file with several pages, the first picture is taken (`read`, `photograph`), or all (`pictures`);
- the content decides on the format, not the file's ending; only cameras' raw files are refused by theirs. HEIC is read
  where pillow-heif is installed (`pip install 'derainlib[heif]'`).

On the way out, values are clipped to [0, 1] and rounded to the nearest of 255 (or 65535) steps, and a file is
either complete or absent. A photograph's `Extras` go along where the format holds them, and what is lost is said:
alpha, EXIF (date, place, camera …), and for a source with a colour profile that of sRGB, or by `keep_profile` its
own. What cannot be read or written raises `ImageError`: one line, with path and reason.
"""

import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from derainlib import files, image_formats, image_profiles
from derainlib.errors import ImageError
from derainlib.image_encoding import encode, encode_all, steps
from derainlib.image_formats import (
    RAW,
    RAW_FILE,
    Animation,
    Extras,
    Header,
    check_range,
    check_size,
    damaged,
    decode,
    finished,
    over_white,
    parts,
    planes,
    quiet,
)

Found = TypeVar("Found")

MAX_PIXELS = 160_000_000
"""Larger images are refused before they are decoded; the largest single-shot cameras give 151 megapixels."""

MIN_SIDE = 16
"""The networks want at least this many pixels each way."""

READABLE = (
    ".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm",
    ".pfm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Endings by which a folder's images are found; `read` itself looks at the content only."""

UNREAD = (
    *RAW, ".avi", ".eps", ".exr", ".hdr", ".ico", ".jxl", ".m4v", ".mkv", ".mov", ".mp4", ".pdf", ".psd", ".svg",
    ".tga", ".webm",
)  # fmt: skip
"""Endings of pictures and videos that are not read: where a folder holds some, that is said."""

WRITABLE = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jfif": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpe": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".bmp": ("BMP", {}),
}
"""What `write` makes of a file's ending: the format and Pillow's options for it."""


# --- reading ------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike) -> Tensor:
    """Reads an image file as float32 sRGB, (3, H, W), in [0, 1], laid over white.

    Raises:
        ImageError: the file is missing, no image, damaged, above `MAX_PIXELS`, or its values make no image.
    """
    image, extras = _read(path)
    return over_white(image, extras.alpha)


def photograph(path: str | os.PathLike) -> tuple[Tensor, Extras]:
    """Reads an image file to be written again: float32 sRGB, (1, 3, H, W), in [0, 1], and what else it has.

    The colours are those of the file, whatever its alpha; see `write`.

    Raises:
        ImageError: as `read`, or below `MIN_SIDE`.
    """
    image, extras = _read(path)
    return _large_enough(image[None], path), extras


def pictures(path: str | os.PathLike) -> Animation:
    """Reads all pictures of an animated GIF, WebP or PNG, or of a TIFF file of several pages.

    Raises:
        ImageError: as `photograph`; or more than `MAX_PIXELS` together.
    """
    found = _opened(path, image_formats.decode_all)
    for colour, _ in found.pictures:
        _large_enough(colour[None], path)
    return found


def header(path: str | os.PathLike) -> Header:
    """What an image file says of itself, its pixels not decoded.

    Raises:
        ImageError: as `read`, as far as the header tells.
    """
    return _opened(path, image_formats.header)


def _read(path: str | os.PathLike) -> tuple[Tensor, Extras]:
    return _opened(path, decode)


def _opened(path: str | os.PathLike, look: Callable[[BinaryIO, int], Found]) -> Found:
    """What `look` makes of a file."""
    try:
        with files.opened(_regular(path)) as file, quiet():
            return look(file, MAX_PIXELS)
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or damaged(error)
    except Exception as error:  # on a damaged file Pillow's decoders raise nearly anything
        reason = damaged(error)
    raise ImageError(f"{_name(path)}: {reason}")


def _regular(path) -> Path:
    """`path`, if it is a file; a folder, pipe or device is refused before it is opened."""
    path = Path(path)
    try:
        path.stat()
    except OSError as error:
        raise ImageError(error.strerror) from None
    except ValueError as error:  # a null byte in the name
        raise ImageError(str(error)) from None
    if path.is_dir():
        raise ImageError("a folder, not an image; `derain folder` cleans whole folders")
    if not path.is_file():
        raise ImageError("not a regular file")
    if path.suffix.lower() in RAW:
        raise ImageError(RAW_FILE)
    return path


def _name(path) -> str:
    """`path` in one line, whatever characters it is made of."""
    text = os.fspath(path)
    return text if isinstance(text, str) and text.isprintable() else ascii(text)


# --- writing ------------------------------------------------------------------------------------------------


def write(
    image: Tensor,
    path: str | os.PathLike,
    bits: int = 8,
    extras: Extras | None = None,
    keep_profile: bool = False,
) -> str:
    """Writes an image file, complete or not at all; an existing file is replaced.

    Values are clipped to [0, 1] and rounded to the nearest step. JPEG and WebP are written at quality 95, the
    other formats without loss.

    Args:
        image: float sRGB, (3, H, W) or (1, 3, H, W).
        path: the file; its ending decides on the format (`WRITABLE`). Its folder must exist.
        bits: 8, or 16 for PNG and TIFF.
        extras: what the image's source had besides, from `photograph`.
        keep_profile: whether to convert back into the source's colour profile and embed it, in place of sRGB's.

    Returns:
        In one line what of the extras the file lacks; "" if nothing.

    Raises:
        ImageError: an ending, shape or size that cannot be written, a missing or closed folder, a full disk.
    """
    path = check_target(path, bits)
    form, options = WRITABLE[path.suffix.lower()]

    def data() -> tuple[bytes, list[str]]:
        values, held, lost = _packed(_single(image), form, bits, extras or Extras(), keep_profile)
        return encode(values, form, **held, **options), lost

    return _written(path, data)


def write_pictures(animation: Animation, path: str | os.PathLike, keep_profile: bool = False) -> str:
    """Writes a file of several pictures, 8 bits a colour: an animation in PNG or WebP, pages in TIFF.

    Args:
        animation: the pictures; EXIF and profile are those of the first.
        path, keep_profile: as in `write`, as what it returns and raises is.
    """
    path = check_target(path)
    form, options = WRITABLE[path.suffix.lower()]

    def data() -> tuple[bytes, list[str]]:
        packed = [
            _packed(_single(colour.float() / 255), form, 8, extras, keep_profile)
            for colour, extras in animation.pictures
        ]
        values, (held, lost) = [one for one, _, _ in packed], packed[0][1:]
        if len({one.shape[-1] for one in values}) > 1:  # some with alpha
            opaque = [np.full_like(one[..., :1], 255) for one in values]
            values = [np.concatenate([one, alpha], -1)[..., :4] for one, alpha in zip(values, opaque, strict=True)]
        return encode_all(values, form, animation[1:], **held, **options), lost

    return _written(path, data)


def _written(path: Path, data: Callable[[], tuple[bytes, list[str]]]) -> str:
    """Writes what `data` gives; in one line what of the source it lacks."""
    try:
        content, lost = data()
        files.write_atomically(path, content)
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
    except (ValueError, struct.error) as error:  # an encoder, for example on more pixels than a JPEG holds
        reason = f"cannot be written: {error}"
    else:
        return f"{_name(path)}: {'; '.join(lost)}" if lost else ""
    raise ImageError(f"{_name(path)}: {reason}")


def _packed(
    image: Tensor, form: str, bits: int, extras: Extras, keep_profile: bool
) -> tuple[np.ndarray, dict[str, bytes], list[str]]:
    """The steps of an image (H, W, 3 or 4), what is written beside them, and what of `extras` the format lacks."""
    what, lost, alpha = f"{bits}-bit {form}", list(extras.notes), extras.alpha
    if alpha is not None and form not in _ALPHA:
        image = over_white(image.cpu(), alpha)
        lost += [f"{what} has no transparency: laid over white"] if alpha.min() < 1 else []
        alpha = None
    exif, profile = extras.exif, extras.profile
    if exif and (form == "BMP" or (form == "JPEG" and len(exif) > _JPEG_EXIF)):
        exif, lost = b"", [*lost, f"{what} cannot hold this EXIF (date, place, camera): left out"]
    if bits < extras.bits:
        how = "bits=16 (--bits 16) keeps them" if form in _DEEP else f"{' and '.join(_DEEP)} hold them"
        lost.append(f"the source has 16 bits a colour: {how}")
    values = steps(image, np.dtype(f"uint{bits}"))
    if profile:
        profile, unkept = _embedded(profile, form, keep_profile)
        lost += [f"{what}: {unkept}"] if unkept else []
        values = image_profiles.from_srgb(values, profile) if profile else values
    if alpha is not None:
        values = np.concatenate([values, steps(alpha, values.dtype)], -1)
    return values, {"exif": exif, "profile": profile}, lost


_DEEP = ("PNG", "TIFF")
"""Formats that hold 16 bits a colour."""

_ALPHA = ("PNG", "WEBP", "TIFF")
"""Formats that hold alpha."""

_JPEG_EXIF = 65_533
"""Bytes of EXIF that a JPEG holds at most."""


def _embedded(profile: bytes, form: str, keep: bool) -> tuple[bytes, str]:
    """The profile to embed for a source with that one, and why it is not the source's where that was wanted."""
    if form == "BMP":
        return b"", "the source's colour profile cannot be embedded: sRGB" if keep else ""
    kind = image_profiles.kind(profile)
    if kind == "RGB" and (keep or image_profiles.is_srgb(profile)):
        return profile, ""
    why = f"the source's {kind} colour profile cannot be embedded in an RGB image: sRGB" if keep else ""
    return image_profiles.srgb(), why


def check_target(path: str | os.PathLike, bits: int = 8) -> Path:
    """`path`, if an image with so many bits can be written there as far as one can tell beforehand.

    Raises:
        ImageError: an unknown ending, a missing folder, something there that is no file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if os.path.isdir(path):
        raise ImageError(f"{_name(path)}: a folder; name the file in it that is to be written")
    if suffix not in WRITABLE:
        raise ImageError(f"{_name(path)}: the ending must be one of {', '.join(WRITABLE)}, not {suffix!r}")
    if bits not in (8, 16):
        raise ImageError(f"{_name(path)}: images are written with 8 or 16 bits, not {bits}")
    if bits == 16 and not holds_16(path):
        raise ImageError(f"{_name(path)}: only {' and '.join(_DEEP)} are written with 16 bits")
    if not path.parent.is_dir():
        raise ImageError(f"{_name(path)}: there is no folder {_name(path.parent)}")
    try:
        taken = path.exists() and not path.is_file()
    except OSError as error:  # for example a name that is too long
        raise ImageError(f"{_name(path)}: {error.strerror}") from None
    if taken:
        raise ImageError(f"{_name(path)}: there is something that is not a file")
    return path


def check_pictures(path: str | os.PathLike, count: int, bits: int = 8) -> None:
    """Refuses to write several pictures where only one fits.

    Raises:
        ImageError: a format of one picture, or more than 8 bits a colour.
    """
    several = [suffix for suffix, (form, _) in WRITABLE.items() if form in ("PNG", "WEBP", "TIFF")]
    if Path(path).suffix.lower() not in several:
        raise ImageError(f"{_name(path)}: the source has {count} pictures, which only {', '.join(several)} files hold")
    if bits != 8:
        raise ImageError(f"{_name(path)}: files of several pictures ({count} here) are written with 8 bits a colour")


def holds_16(path: Path) -> bool:
    """Whether a file of this ending is written with 16 bits a colour where that is asked for."""
    return WRITABLE[path.suffix.lower()][0] in _DEEP


def _single(image: Tensor) -> Tensor:
    if not isinstance(image, Tensor) or not image.is_floating_point():
        raise ImageError("an image to write is a float tensor in [0, 1]")
    image = image.squeeze(0) if image.ndim == 4 else image
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        raise ImageError(f"an image to write has shape (3, H, W), not {tuple(image.shape)}")
    if not image.isfinite().all():
        raise ImageError("the image holds NaN or infinite values")
    return image


def to_bytes(image: Tensor) -> Tensor:
    """Values in [0, 1], of any shape, as uint8: rounded to the nearest of 255 steps."""
    return image.mul(255).round_().to(torch.uint8)


# --- whatever holds an image --------------------------------------------------------------------------------


def to_tensor(image) -> tuple[Tensor, Callable[[Tensor], object]]:
    """Makes a batch of whatever holds an image, and tells the way back.

    Args:
        image: a path; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4), uint8, uint16 or float in [0, 1], its
            colours in the order RGB (OpenCV's are BGR: give `image[..., ::-1]`, and turn what comes back likewise);
            a tensor (3, H, W) or (N, 3, H, W), uint8 or float in [0, 1]. At least 16 x 16 pixels.

    Returns:
        (tensor, back). `tensor` is float32 RGB, (N, 3, H, W), in [0, 1]. `back` turns such a tensor into the
        kind of thing that came in: an 8-bit sRGB PIL image for a path or PIL image (upright, alpha as it was, EXIF
        in its `info`); an array of the same shape and dtype (grey is the mean of the colours, alpha is returned as
        it was); a tensor of the same rank, dtype and device. Whole numbers are clipped and rounded, floats stay
        as they are.

    Raises:
        ImageError: an unreadable file, a wrong type, shape or dtype, values that make no image, or too small.
    """
    match image:
        case str() | os.PathLike():
            tensor, extras = _read(image)
            tensor, back = tensor[None], partial(_to_pil, extras)
        case Image.Image():
            tensor, extras = _from_pil(image)
            tensor, back = tensor[None], partial(_to_pil, extras)
        case np.ndarray():
            tensor, back = _from_array(image)
        case Tensor():
            tensor, back = _from_tensor(image)
        case _:
            raise ImageError(f"a path, PIL image, array or tensor holds an image; got {type(image).__name__}")
    return _large_enough(tensor, image), back


def _large_enough(tensor: Tensor, image) -> Tensor:
    height, width = tensor.shape[-2:]
    if min(height, width) < MIN_SIDE:
        where = f"{_name(image)}: " if isinstance(image, str | os.PathLike) else ""
        raise ImageError(f"{where}{width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed")
    return tensor


def _to_pil(extras: Extras, tensor: Tensor) -> Image.Image:
    image = _single(tensor).cpu()
    image = image if extras.alpha is None else torch.cat([image, extras.alpha])
    image = Image.fromarray(steps(image, np.dtype(np.uint8)))
    image.info |= {"exif": extras.exif} if extras.exif else {}
    return image


def _from_pil(image: Image.Image) -> tuple[Tensor, Extras]:
    try:
        with quiet():
            check_size(*image.size, MAX_PIXELS)
            return finished(image, *parts(image))
    except ImageError as error:
        reason = str(error)
    except Exception as error:  # a lazily opened image is decoded only now
        reason = damaged(error)
    raise ImageError(f"PIL image of mode {image.mode}: {reason}")


def _from_array(image: np.ndarray) -> tuple[Tensor, Callable[[Tensor], np.ndarray]]:
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,), (4,)) or not image.size:
        advice = "; put the colours last" if image.ndim == 3 and image.shape[0] == 3 else ""
        raise ImageError(f"an image is an array (H, W), (H, W, 3) or (H, W, 4), not {image.shape}{advice}")
    colour, alpha = (image, None) if image.ndim == 2 else (image[..., :3], image[..., 3:])

    def back(tensor: Tensor) -> np.ndarray:
        tensor = _single(tensor)
        tensor = tensor.mean(0, keepdim=True) if image.ndim == 2 else tensor
        if image.dtype.kind == "f":
            values = tensor.detach().cpu().numpy().transpose(1, 2, 0)
        else:
            values = steps(tensor, image.dtype.newbyteorder("="))
        values = values[..., 0] if alpha is None else np.concatenate([values, alpha], -1)
        return values.astype(image.dtype, order="C", copy=False)

    return planes(colour)[None], back


def _from_tensor(image: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or not image.numel():
        advice = "; put the colours first" if image.ndim == 3 and image.shape[-1] == 3 else ""
        raise ImageError(f"images are a tensor (3, H, W) or (N, 3, H, W), not {tuple(image.shape)}{advice}")
    if image.dtype == torch.uint8:
        tensor = image.float() / 255
    elif image.is_floating_point():
        check_range(image.amin().item(), image.amax().item())
        tensor = image.detach().float()
    else:
        raise ImageError(f"a tensor of dtype {image.dtype}; wanted are uint8, or floats in [0, 1]")

    def back(tensor: Tensor) -> Tensor:
        if image.dtype == torch.uint8:
            tensor = tensor.detach().clamp(0, 1).mul(255).round()
        return tensor.detach().reshape(*image.shape[:-3], *tensor.shape[-3:]).to(image.device, image.dtype)

    return tensor.reshape(-1, *image.shape[-3:]), back
