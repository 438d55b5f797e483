"""The formats of image files: what their bytes mean, what is wrong with them, and bytes from pixels.

`derainlib.images` reads and writes by these; what becomes of each kind of image is told there.
"""

import codecs
import io
import logging
import math
import struct
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from derainlib.errors import ImageError

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


# --- decoding ----------------------------------------------------------------------------------------------


def decode(file: BinaryIO, limit: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Colour and alpha (see `parts`) of an open file, the right way up.

    Raises:
        ImageError: no image, one of more than `limit` pixels, or a kind that is refused; decoders raise others, too.
    """
    try:
        image = _open(file, limit)
    except UnidentifiedImageError:
        return _decode_tiff(file, limit)
    if image.format == "TIFF" and image.tag_v2.get(284) == 2 and max(image.tag_v2.get(258, (1,))) > 8:
        return _decode_tiff(file, limit)  # 16-bit colour stored plane by plane, which Pillow takes for 8-bit
    if image.format == "PNG":  # Pillow decodes past a wrong checksum of the pixels
        image.verify()
        image = _open(file, limit)
    tile = image.tile[0] if image.tile else None
    colour, alpha = parts(image)
    if tile and (other := _other_byte(tile.args)):
        low = _open(file, limit)
        low.tile = [part._replace(args=other) for part in low.tile]
        colour, alpha = _sixteen(image, low)
    return upright(image, colour, alpha)


def _open(file: BinaryIO, limit: int) -> Image.Image:
    file.seek(0)
    try:
        image = Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(_too_large("a header that promises hundreds of megapixels", limit)) from None
    check_size(*image.size, limit)
    return image


def check_size(width: int, height: int, limit: int) -> None:
    """Refuses images without pixels, and with more than `limit`."""
    if width < 1 or height < 1:
        raise ImageError(f"an image of {width} x {height} pixels is empty")
    if width * height > limit:
        raise ImageError(_too_large(f"{width} x {height} pixels", limit))


def _too_large(what: str, limit: int) -> str:
    return f"{what}, above the limit of {limit / 1e6:g} megapixels (derainlib.images.MAX_PIXELS)"


def parts(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
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


def upright(image: Image.Image, colour: np.ndarray, alpha: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """An image's colour and alpha, turned as its EXIF orientation says."""
    turn = _TURNS.get(_orientation(image), lambda x: x)
    return turn(colour), None if alpha is None else turn(alpha)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; with a damaged EXIF block a photograph stays as it lies, but stays readable."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:
        return 1


def _decode_tiff(file: BinaryIO, limit: int) -> tuple[np.ndarray, np.ndarray | None]:
    """The TIFF files that Pillow cannot read: colour in floats, or in 16 bits and stored plane by plane."""
    file.seek(0)
    start = file.read(64)
    if start[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        raise ImageError(_what(start))
    import tifffile

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        check_size(page.imagewidth, page.imagelength, limit)
        if page.imagedepth > 1 or page.samplesperpixel not in (1, 3, 4):
            raise ImageError(f"a TIFF file of shape {page.shape}; wanted are grey, RGB or RGBA")
        values = np.atleast_3d(page.asarray())
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        values = _TURNS.get(page.tags.valueof("Orientation", 1), lambda x: x)(values)
    return values[..., :3], values[..., 3] if page.samplesperpixel == 4 else None


def planes(colour: np.ndarray, alpha: np.ndarray | None) -> Tensor:
    """Float32 RGB, (3, H, W), of colour and alpha over white."""
    values = np.atleast_3d(colour).transpose(2, 0, 1)
    values = _unit(np.broadcast_to(values, (3, *values.shape[1:])))
    if alpha is not None:
        alpha = _unit(alpha)
        values *= alpha
        values += 1 - alpha
    return torch.from_numpy(values)


def _unit(values: np.ndarray) -> np.ndarray:
    """A float32 copy in [0, 1] of uint8, uint16 or float values."""
    depth = _DEPTHS.get(values.dtype.newbyteorder("="))
    if depth is None and values.dtype.kind != "f":
        raise ImageError(f"values of dtype {values.dtype}; wanted are uint8, uint16, or floats in [0, 1]")
    if depth is None:
        check_range(float(values.min()), float(values.max()))
    unit = np.array(values, np.float32, order="C")
    return unit if depth is None else np.divide(unit, depth, out=unit)


def check_range(low: float, high: float) -> None:
    """Refuses what cannot be an image in [0, 1]; rounding errors up to 0.001 are let pass."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError("holds NaN or infinite values")
    if low < -1e-3 or high > 1 + 1e-3:
        advice = "divide by 255" if low >= 0 and 2 <= high <= 255 else "scale them"
        raise ImageError(f"floats must lie in [0, 1], these in [{low:g}, {high:g}]; {advice} first")


# --- what is wrong -----------------------------------------------------------------------------------------


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


def damaged(error: Exception) -> str:
    """What a decoder says about a file, where it says it in words and does not just trip over it."""
    words = " ".join(str(error).split())[:200] if isinstance(error, OSError | ValueError | SyntaxError) else ""
    return "damaged, or of a kind that is not supported" + (f" ({words})" if words else "")


@contextmanager
def quiet() -> Iterator[None]:
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


# --- encoding ----------------------------------------------------------------------------------------------


def steps(image: Tensor, dtype: np.dtype) -> np.ndarray:
    """(C, H, W) in [0, 1] as (H, W, C) whole steps, clipped and rounded."""
    values = image.detach().float().clamp(0, 1).mul_(_DEPTHS[dtype]).round_()
    return np.ascontiguousarray(values.cpu().numpy().astype(dtype).transpose(1, 2, 0))


def encode(values: np.ndarray, form: str, options: dict) -> bytes:
    """A file of pixels (H, W, 3), uint8 in any of Pillow's formats, uint16 in PNG or TIFF."""
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
