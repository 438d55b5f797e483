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

import codecs
import io
import logging
import math
import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from derainlib import files
from derainlib.errors import ImageError

MAX_PIXELS = 160_000_000
"""Larger images are refused before they are decoded; the largest single-shot cameras give 151 megapixels."""

MIN_SIDE = 16
"""The networks want at least this many pixels each way."""

READABLE = (
    ".avif",
    ".bmp",
    ".gif",
    ".jp2",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pfm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
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

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")

_SIGNATURES = (
    (b"\x89PNG", "a damaged PNG file"),
    (b"\xff\xd8", "a damaged JPEG file"),
    (b"GIF8", "a damaged GIF file"),
    (b"II*\0", "a damaged TIFF file, or of a kind that is not supported"),
    (b"MM\0*", "a damaged TIFF file, or of a kind that is not supported"),
    (b"BM", "a damaged BMP file, or none at all"),
    (b"\0\0\0\x0cjP", "a damaged JPEG 2000 file"),
    (b"RIFF", "a damaged WebP file, or a sound or video"),
    (b"%PDF", "a PDF document; save its picture as PNG or JPEG"),
    (b"%!PS", "a PostScript document; save its picture as PNG or JPEG"),
    (b"PK\x03\x04", "a zip archive (or an office document); unpack it first"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"8BPS", "a Photoshop document; save it as PNG or TIFF"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` to get the image"),
)

_DEPTHS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


# --- reading ------------------------------------------------------------------------------------------------


def read(path: str | os.PathLike) -> Tensor:
    """Reads an image file as float32 RGB, (3, H, W), in [0, 1].

    Raises:
        ImageError: the file is missing, no image, damaged, above `MAX_PIXELS`, or its values make no image.
    """
    try:
        with open(_regular(path), "rb") as file, _quiet():
            return _planes(*_decode(file))
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or _damaged(error)
    except Exception as error:  # on a damaged file Pillow's decoders raise nearly anything
        reason = _damaged(error)
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


def _decode(file: BinaryIO) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha (see `_parts`) of an open file, the right way up."""
    try:
        image = _open(file)
    except UnidentifiedImageError:
        return _decode_tiff(file)
    if image.format == "TIFF" and image.tag_v2.get(284) == 2 and max(image.tag_v2.get(258, (1,))) > 8:
        return _decode_tiff(file)  # 16-bit colour stored plane by plane, which Pillow takes for 8-bit
    if image.format == "PNG":  # Pillow decodes past a wrong checksum of the pixels
        image.verify()
        image = _open(file)
    tile = image.tile[0] if image.tile else None
    colour, alpha = _parts(image)
    if tile and (other := _other_byte(tile.args)):
        low = _open(file)
        low.tile = [part._replace(args=other) for part in low.tile]
        colour, alpha = _sixteen(image, low)
    turn = _TURNS.get(_orientation(image), lambda x: x)
    return turn(colour), None if alpha is None else turn(alpha)


def _open(file: BinaryIO) -> Image.Image:
    file.seek(0)
    try:
        image = Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(_too_large("a header that promises hundreds of megapixels")) from None
    _check_size(*image.size)
    return image


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"an image of {width} x {height} pixels is empty")
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(f"{width} x {height} pixels"))


def _too_large(what: str) -> str:
    return f"{what}, above the limit of {MAX_PIXELS / 1e6:g} megapixels (derainlib.images.MAX_PIXELS)"


def _parts(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour, (H, W) or (H, W, 3), and alpha, (H, W) or None; both uint8, uint16 or float."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.uint16)
        return grey, _keyed(grey[..., None], image)
    if image.mode == "F":
        return np.asarray(image), None
    if image.mode == "I":
        if image.format != "PPM":
            raise ImageError("32-bit integers have no agreed white; save the image with 8 or 16 bits")
        return np.asarray(image).astype(np.uint16), None
    if image.has_transparency_data:
        values = np.asarray(image.convert("RGBA"))
        return values[..., :3], values[..., 3]
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB")), None


def _other_byte(args) -> str | tuple | None:
    """Decoder arguments for the low byte of each 16-bit colour where `args` take the high one; else None."""
    mode, rest = (args[0], args[1:]) if args and isinstance(args, tuple) else (args, ())
    native = "L" if sys.byteorder == "little" else "B"
    for kind in ("RGB;16", "RGBA;16", "RGBX;16"):
        if mode in (kind + "B", kind + "L", kind + "N"):
            order = mode[-1].replace("N", native)
            mode = kind + ("L" if order == "B" else "B")
            return (mode, *rest) if isinstance(args, tuple) else mode
    return None


def _sixteen(high: Image.Image, low: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha with all 16 bits: Pillow keeps 8 bits a colour, so it decodes once for each byte."""
    values = np.asarray(high).astype(np.uint16) << 8 | np.asarray(low)
    colour = values[..., :3]
    return colour, values[..., 3] if high.mode == "RGBA" else _keyed(colour, high)


def _keyed(colour: np.ndarray, image: Image.Image) -> np.ndarray | None:
    """Alpha of a 16-bit PNG whose one fully transparent colour is named in its header."""
    key = image.info.get("transparency")
    if key is None:
        return None
    return np.where((colour == np.atleast_1d(key)).all(-1), 0, 65535).astype(np.uint16)


_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x.swapaxes(0, 1)[::-1],
}
"""What puts an image upright, by EXIF orientation."""


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; with a damaged EXIF block a photograph stays as it lies, but stays readable."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:
        return 1


def _decode_tiff(file: BinaryIO) -> tuple[np.ndarray, np.ndarray | None]:
    """The TIFF files that Pillow cannot read: colour in floats, or in 16 bits and stored plane by plane."""
    file.seek(0)
    start = file.read(64)
    if start[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise ImageError(_what(start))
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        _check_size(page.imagewidth, page.imagelength)
        if page.imagedepth > 1 or page.samplesperpixel not in (1, 3, 4):
            raise ImageError(f"a TIFF file of shape {page.shape}; wanted are grey, RGB or RGBA")
        values = np.atleast_3d(page.asarray())
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        values = _TURNS.get(page.tags.valueof("Orientation", 1), lambda x: x)(values)
    return values[..., :3], values[..., 3] if page.samplesperpixel == 4 else None


def _planes(colour: np.ndarray, alpha: np.ndarray | None) -> Tensor:
    """Float32 RGB, (3, H, W), of colour and alpha over white."""
    planes = np.atleast_3d(colour).transpose(2, 0, 1)
    planes = _unit(np.broadcast_to(planes, (3, *planes.shape[1:])))
    if alpha is not None:
        alpha = _unit(alpha)
        planes *= alpha
        planes += 1 - alpha
    return torch.from_numpy(planes)


def _unit(values: np.ndarray) -> np.ndarray:
    """A float32 copy in [0, 1] of uint8, uint16 or float values."""
    depth = _DEPTHS.get(values.dtype.newbyteorder("="))
    if depth is None and values.dtype.kind != "f":
        raise ImageError(f"values of dtype {values.dtype}; wanted are uint8, uint16, or floats in [0, 1]")
    if depth is None:
        _check_range(float(values.min()), float(values.max()))
    unit = np.array(values, np.float32, order="C")
    return unit if depth is None else np.divide(unit, depth, out=unit)


def _check_range(low: float, high: float) -> None:
    """Refuses what cannot be an image in [0, 1]; rounding errors up to 0.001 are let pass."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("holds NaN or infinite values")
    if low < -1e-3 or high > 1 + 1e-3:
        advice = "divide by 255" if low >= 0 and 2 <= high <= 255 else "scale them"
        raise ImageError(f"floats must lie in [0, 1], these in [{low:g}, {high:g}]; {advice} first")


# --- what is wrong ------------------------------------------------------------------------------------------


def _name(path) -> str:
    """`path` in one line, whatever characters it is made of."""
    text = os.fspath(path)
    return text if isinstance(text, str) and text.isprintable() else ascii(text)


def _what(start: bytes) -> str:
    """What a file that begins with `start` is, since it is no image."""
    for signature, what in _SIGNATURES:
        if start.startswith(signature):
            return what
    text = start.lstrip().lower()
    if not start:
        return "the file is empty"
    if start[4:8] == b"ftyp":
        return "a damaged AVIF file" if b"avif" in start else "a HEIC photo or a video; save a JPEG or PNG"
    if b"<svg" in text or text.startswith(b"<?xml"):
        return "an SVG drawing or other XML; save it as PNG"
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page, perhaps a download that failed"
    if _is_text(start):
        return "text, not an image"
    return "not an image of a kind that is known here (PNG, JPEG, WebP, TIFF, BMP, GIF, PPM, AVIF, JPEG 2000)"


def _is_text(start: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last letter may be cut
    except UnicodeDecodeError:
        return False
    return bool(text) and all(letter.isprintable() or letter.isspace() for letter in text)


def _damaged(error: Exception) -> str:
    """What a decoder says about a file, where it says it in words and does not just trip over it."""
    words = " ".join(str(error).split())[:200] if isinstance(error, OSError | ValueError | SyntaxError) else ""
    return "damaged, or of a kind that is not supported" + (f" ({words})" if words else "")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the decoders' warnings and log lines back: what matters becomes an `ImageError`."""
    loggers = [logging.getLogger(name) for name in ("PIL", "tifffile")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


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
        values = _steps(_single(image), np.dtype(f"uint{bits}"))
        files.write_atomically(path, _encode(values, path.suffix.lower()))
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


def _steps(image: Tensor, dtype: np.dtype) -> np.ndarray:
    """(C, H, W) in [0, 1] as (H, W, C) whole steps, clipped and rounded."""
    values = image.detach().float().clamp(0, 1).mul_(_DEPTHS[dtype]).round_()
    return np.ascontiguousarray(values.cpu().numpy().astype(dtype).transpose(1, 2, 0))


def to_bytes(image: Tensor) -> Tensor:
    """Values in [0, 1], of any shape, as uint8: rounded to the nearest of 255 steps."""
    return image.mul(255).round_().to(torch.uint8)


def _encode(values: np.ndarray, suffix: str) -> bytes:
    form, options = WRITABLE[suffix]
    file = io.BytesIO()
    if values.dtype == np.uint8:
        Image.fromarray(values).save(file, form, **options)
    elif form == "PNG":
        return _png16(values)
    else:
        import tifffile

        tifffile.imwrite(file, values, photometric="rgb", compression="zlib", metadata=None)
    return file.getvalue()


def _png16(values: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow cannot write: the differences between neighbouring rows, deflated."""
    height, width, _ = values.shape
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    rows[1:] -= rows[:-1].copy()
    filtered = np.insert(rows, 0, 2, axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(filtered.tobytes())), chunk(b"IEND", b""))
    )


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
    return Image.fromarray(_steps(_single(tensor), np.dtype(np.uint8)))


def _from_pil(image: Image.Image) -> Tensor:
    try:
        with _quiet():
            _check_size(*image.size)
            colour, alpha = _parts(image)
            turn = _TURNS.get(_orientation(image), lambda x: x)
            return _planes(turn(colour), None if alpha is None else turn(alpha))
    except ImageError as error:
        reason = str(error)
    except Exception as error:  # a lazily opened image is decoded only now
        reason = _damaged(error)
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
            values = _steps(tensor, image.dtype.newbyteorder("="))
        values = values[..., 0] if alpha is None else np.concatenate([values, alpha], -1)
        return values.astype(image.dtype, order="C", copy=False)

    return _planes(colour, None)[None], back


def _from_tensor(image: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    if image.ndim not in (3, 4) or image.shape[-3] != 3 or not image.numel():
        advice = "; put the colours first" if image.ndim == 3 and image.shape[-1] == 3 else ""
        raise ImageError(f"images are a tensor (3, H, W) or (N, 3, H, W), not {tuple(image.shape)}{advice}")
    if image.dtype == torch.uint8:
        tensor = image.float() / 255
    elif image.is_floating_point():
        _check_range(image.amin().item(), image.amax().item())
        tensor = image.detach().float()
    else:
        raise ImageError(f"a tensor of dtype {image.dtype}; wanted are uint8, or floats in [0, 1]")

    def back(tensor: Tensor) -> Tensor:
        if image.dtype == torch.uint8:
            tensor = tensor.detach().clamp(0, 1).mul(255).round()
        return tensor.detach().reshape(*image.shape[:-3], *tensor.shape[-3:]).to(image.device, image.dtype)

    return tensor.reshape(-1, *image.shape[-3:]), back
