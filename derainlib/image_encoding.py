"""Bytes of image files from pixels; `derainlib.images` writes by these, and tells what becomes of an image."""

import io
import itertools
import struct
import sys
import zlib

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from torch import Tensor

from derainlib.image_formats import DEPTHS, NESTED


def steps(image: Tensor, dtype: np.dtype) -> np.ndarray:
    """(C, H, W) in [0, 1] as (H, W, C) whole steps, clipped and rounded."""
    values = image.detach().float().clamp(0, 1).mul_(DEPTHS[dtype]).round_()
    return np.ascontiguousarray(values.cpu().numpy().astype(dtype).transpose(1, 2, 0))


def encode(values: np.ndarray, form: str, exif: bytes = b"", profile: bytes = b"", **options) -> bytes:
    """A file of pixels (H, W, 3 or 4), uint8 in any of `images.WRITABLE`'s formats, uint16 in PNG or TIFF."""
    if form == "TIFF":
        return _tiff(values, exif, profile)
    if values.dtype == np.uint16:
        return _png16(values, exif, profile)
    file = io.BytesIO()
    held = {name: data for name, data in (("exif", exif), ("icc_profile", profile)) if data}
    Image.fromarray(values).save(file, form, **held, **options)
    return file.getvalue()


def encode_all(
    pictures: list[np.ndarray],
    form: str,
    timing: tuple[list[int], int],
    exif: bytes = b"",
    profile: bytes = b"",
    **options,
) -> bytes:
    """A file of several pictures, (H, W, 3 or 4) uint8 each: an animation in PNG or WebP, pages in TIFF.

    `timing` are the durations and the loop of an `Animation`.
    """
    file = io.BytesIO()
    first, *others = map(Image.fromarray, pictures)
    held = {name: data for name, data in (("exif", exif), ("icc_profile", profile)) if data}
    durations, loop = timing
    held |= {"duration": durations, "loop": loop} if durations and form != "TIFF" else {}
    held |= {"compression": "tiff_deflate"} if form == "TIFF" else {}
    first.save(file, form, save_all=True, append_images=others, **held, **options)
    return file.getvalue()


def _tiff(values: np.ndarray, exif: bytes, profile: bytes) -> bytes:
    """A TIFF file; Pillow writes none of 16 bits and no EXIF into a compressed one, but the tags of both."""
    height, width, channels = values.shape
    strips = [zlib.compress(values[top : top + 64].tobytes()) for top in range(0, height, 64)]
    sizes = [len(strip) for strip in strips]
    block = Image.Exif()
    block.load(exif)
    tags = ImageFileDirectory_v2(prefix=b"II" if sys.byteorder == "little" else b"MM")
    tags.update(dict(block) | {tag: block.get_ifd(tag) for tag in NESTED & block.keys()})
    tags.update({256: width, 257: height, 258: (8 * values.itemsize,) * channels, 277: channels, 278: 64})
    tags.update({259: 8, 262: 2, 284: 1})  # deflated, RGB, colour beside colour
    tags.update({273: tuple(itertools.accumulate(sizes[:-1], initial=0)), 279: tuple(sizes)})  # counted from their end
    tags.update(({338: 2} if channels == 4 else {}) | ({34675: profile} if profile else {}))
    file = io.BytesIO()
    tags.save(file)
    return b"".join([file.getvalue(), *strips])


def _png16(values: np.ndarray, exif: bytes, profile: bytes) -> bytes:
    """A 16-bit PNG, which Pillow cannot write: the differences between neighbouring rows, deflated."""
    height, width, channels = values.shape
    rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    rows[1:] -= rows[:-1].copy()
    filtered = np.insert(rows, 0, 2, axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [chunk(b"IHDR", header)]
    parts += [chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))] if profile else []
    parts += [chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))] if exif else []
    parts += [chunk(b"IDAT", zlib.compress(filtered.tobytes())), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
