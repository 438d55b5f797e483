"""Files in, tensors out, files out: every format and every bad file is handled here.

What an image becomes: float32 RGB, (3, H, W), in [0, 1]. On the way in

- grey, palette, 1-bit, CMYK and YCbCr images become RGB; ICC profiles are ignored;
- 16-bit images keep their 16 bits, float images (TIFF, PFM) their floats, which must lie in [0, 1]; only grey
  with alpha, CMYK and colour PPM are read with 8 bits a colour;
- transparent parts are laid over white, as most viewers show them;
- the EXIF orientation is applied, so that up is up;
- of an animation or a file with several pages, the first picture is taken;
- the content decides on the format, not the file's ending.

On the way out, values are clipped to [0, 1] and rounded to the nearest of 255 (or 65535) steps, and a file is
either complete or absent. What cannot be read or written raises `ImageError`: one line, with path and reason.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from derainlib import files
from derainlib.errors import ImageError
from derainlib.image_formats import (
    check_range,
    check_size,
    damaged,
    decode,
    encode,
    parts,
    planes,
    quiet,
    steps,
    upright,
)

MAX_PIXELS = 160_000_000
"""Larger images are refused before they are decoded; the largest single-shot cameras give 151 megapixels."""

MIN_SIDE = 16
"""The networks want at least this many pixels each way."""

READABLE = (
    ".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
"""Endings by which a folder's images are found; `read` itself looks at the content only."""

WRITABLE = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
    ".bmp": ("BMP", {}),
}
"""What `write` makes of a file's ending: Pillow's format and options."""


# --- reading ------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike) -> Tensor:
    """Reads an image file as float32 RGB, (3, H, W), in [0, 1].

    Raises:
        ImageError: the file is missing, no image, damaged, above `MAX_PIXELS`, or its values make no image.
    """
    try:
        with open(_regular(path), "rb") as file, quiet():
            return planes(*decode(file, MAX_PIXELS))
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
    return path


def _name(path) -> str:
    """`path` in one line, whatever characters it is made of."""
    text = os.fspath(path)
    return text if isinstance(text, str) and text.isprintable() else ascii(text)


# --- writing ------------------------------------------------------------------------------------------------


def write(image: Tensor, path: str | os.PathLike, bits: int = 8) -> None:
    """Writes an image file, complete or not at all; an existing file is replaced.

    Values are clipped to [0, 1] and rounded to the nearest step. JPEG and WebP are written at quality 95, the
    other formats without loss.

    Args:
        image: float RGB, (3, H, W) or (1, 3, H, W).
        path: the file; its ending decides on the format (`WRITABLE`). Its folder must exist.
        bits: 8, or 16 for PNG and TIFF.

    Raises:
        ImageError: an ending, shape or size that cannot be written, a missing or closed folder, a full disk.
    """
    path = check_target(path, bits)
    try:
        values = steps(_single(image), np.dtype(f"uint{bits}"))
        files.write_atomically(path, encode(values, *WRITABLE[path.suffix.lower()]))
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be written: {error.strerror or error}"
    except (ValueError, struct.error) as error:  # an encoder, for example on more pixels than a JPEG holds
        reason = f"cannot be written: {error}"
    else:
        return
    raise ImageError(f"{_name(path)}: {reason}")


def check_target(path: str | os.PathLike, bits: int = 8) -> Path:
    """`path`, if an image with so many bits can be written there as far as one can tell beforehand.

    Raises:
        ImageError: an unknown ending, a missing folder, something there that is no file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise ImageError(f"{_name(path)}: the ending must be one of {', '.join(WRITABLE)}, not {suffix!r}")
    if bits not in (8, 16):
        raise ImageError(f"{_name(path)}: images are written with 8 or 16 bits, not {bits}")
    if bits == 16 and WRITABLE[suffix][0] not in ("PNG", "TIFF"):
        raise ImageError(f"{_name(path)}: only PNG and TIFF are written with 16 bits")
    if not path.parent.is_dir():
        raise ImageError(f"{_name(path)}: there is no folder {_name(path.parent)}")
    try:
        taken = path.exists() and not path.is_file()
    except OSError as error:  # for example a name that is too long
        raise ImageError(f"{_name(path)}: {error.strerror}") from None
    if taken:
        raise ImageError(f"{_name(path)}: there is something that is not a file")
    return path


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
        image: a path; a PIL image; an array (H, W), (H, W, 3) or (H, W, 4), uint8, uint16 or float in [0, 1];
            a tensor (3, H, W) or (N, 3, H, W), uint8 or float in [0, 1]. At least 16 x 16 pixels.

    Returns:
        (tensor, back). `tensor` is float32 RGB, (N, 3, H, W), in [0, 1]. `back` turns such a tensor into the
        kind of thing that came in: an 8-bit RGB PIL image for a path or PIL image (upright, transparency over
        white); an array of the same shape and dtype (grey is the mean of the colours, alpha is returned as it
        was); a tensor of the same rank, dtype and device. Whole numbers are clipped and rounded, floats stay
        as they are.

    Raises:
        ImageError: an unreadable file, a wrong type, shape or dtype, values that make no image, or too small.
    """
    match image:
        case str() | os.PathLike():
            tensor, back = read(image)[None], _to_pil
        case Image.Image():
            tensor, back = _from_pil(image)[None], _to_pil
        case np.ndarray():
            tensor, back = _from_array(image)
        case Tensor():
            tensor, back = _from_tensor(image)
        case _:
            raise ImageError(f"a path, PIL image, array or tensor holds an image; got {type(image).__name__}")
    height, width = tensor.shape[-2:]
    if min(height, width) < MIN_SIDE:
        where = f"{_name(image)}: " if isinstance(image, str | os.PathLike) else ""
        raise ImageError(f"{where}{width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed")
    return tensor, back


def _to_pil(tensor: Tensor) -> Image.Image:
    return Image.fromarray(steps(_single(tensor), np.dtype(np.uint8)))


def _from_pil(image: Image.Image) -> Tensor:
    try:
        with quiet():
            check_size(*image.size, MAX_PIXELS)
            return planes(*upright(image, *parts(image)))
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

    return planes(colour, None)[None], back


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
