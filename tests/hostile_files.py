"""Files that no image reader should trust: each is made on the spot, small, and named by what is wrong with it.

`HOSTILE` maps a name to (file name, maker, words). The maker gets the folder and the path and puts something there;
`words` must occur in the one-line error.
"""

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image

PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
"""A picture that no format compresses, so that half a file is half a picture."""


class Hostile(NamedTuple):
    """A file name, what makes it, and words that its error holds."""

    name: str
    make: Callable[[Path], None]
    words: str


def encoded(form: str, image: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PHOTO)).save(file, form, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width=8, height=8, depth=8, colour=2, rows: bytes | None = None, between: bytes = b"", end=True) -> bytes:
    """A PNG file, chunk by chunk; by default an intact black square."""
    rows = b"\0" * (height * (1 + 3 * width)) if rows is None else rows
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = b"".join((b"\x89PNG\r\n\x1a\n", header, between, chunk(b"IDAT", zlib.compress(rows))))
    return data + chunk(b"IEND", b"") if end else data


def ifd(**tags: int) -> bytes:
    """A little-endian TIFF file of one uncompressed 8-bit grey strip, tag by tag."""
    known = {
        "width": 256,
        "height": 257,
        "bits": 258,
        "compression": 259,
        "photometric": 262,
        "strip": 273,
        "samples": 277,
        "rows": 278,
        "count": 279,
    }
    values = {
        "width": 8,
        "height": 8,
        "bits": 8,
        "compression": 1,
        "photometric": 1,
        "strip": 8,
        "samples": 1,
        "rows": 8,
        "count": 64,
    } | tags
    entries = b"".join(struct.pack("<HHII", known[name], 4, 1, value) for name, value in values.items())
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(values)) + entries + struct.pack("<I", 0)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def in_chunk(data: bytes, kind: bytes, offset: int) -> int:
    """Position `offset` bytes into the payload of the chunk called `kind`."""
    return data.index(kind) + 4 + offset


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def noise(size: int) -> bytes:
    return np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8).tobytes()


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("street.png", encoded("PNG"))
    return file.getvalue()


def huge_jpeg() -> bytes:
    """A JPEG whose header promises 65,000 x 65,000 pixels."""
    data = encoded("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 65000, 65000) + data[at + 4 :]


def flat_jpeg() -> bytes:
    """A JPEG whose header promises no rows."""
    data = encoded("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 0, 64) + data[at + 4 :]


def huge_gif() -> bytes:
    frame = b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x01\0\0;"
    return b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + frame


FLOATS = PHOTO.astype(np.float32) / 255
INTACT = png()
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 64
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64

CONTENTS: dict[str, tuple[bytes, str]] = {
    # not images at all
    "empty.png": (b"", "empty"),
    "one_byte.png": (b"\x89", "not an image"),
    "text.png": (b"a street in the rain\n", "text"),
    "page.jpg": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "drawing.svg": (SVG, "SVG"),
    "record.json": (json.dumps({"rain": True}).encode(), "text"),
    "archive.png": (archive(), "zip"),
    "packed.png": (gzip.compress(encoded("PNG")), "gzip"),
    "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "PDF"),
    "program.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", "PostScript"),
    "layers.psd": (b"8BPS\0\1" + b"\0" * 40, "Photoshop"),
    "pointer.png": (LFS, "git lfs pull"),
    "object.png": (pickle.dumps({"rain": [1, 2, 3]}), "not an image"),
    "executable.png": (b"\x7fELF\2\1\1" + b"\0" * 64, "not an image"),
    "film.mp4": (MP4, "video"),
    "phone.heic": (HEIC, "HEIC"),
    "stream.jxl": (b"\xff\x0a" + b"\0" * 64, "JPEG XL"),
    "box.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0" * 64, "JPEG XL"),
    "camera.nef": (encoded("TIFF"), "raw file"),
    "camera.tif": (tiff(PHOTO, photometric="rgb", subfiletype=1), "raw file"),
    "negative.tif": (tiff(PHOTO, photometric="rgb", extratags=[(50706, "B", 4, (1, 4, 0, 0))]), "raw file"),
    "canon.jpg": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + b"\0" * 64, "raw file"),
    "fuji.jpg": (b"FUJIFILMCCD-RAW 0201" + b"\0" * 64, "raw file"),
    "noise.jpg": (noise(5000), "not an image"),
    "zeros.png": (b"\0" * 100_000, "not an image"),
    "icon.ico": (encoded("ICO"), "not an image"),
    # PNG
    "png_signature_only.png": (INTACT[:8], "damaged PNG"),
    "png_half_header.png": (INTACT[:20], "damaged"),
    "png_truncated.png": (half(encoded("PNG")), "damaged"),
    "png_no_end.png": (png(end=False), "damaged"),
    "png_no_pixels.png": (INTACT[: INTACT.index(b"IDAT") - 4] + chunk(b"IEND", b""), "damaged"),
    "png_header_checksum.png": (flipped(INTACT, in_chunk(INTACT, b"IHDR", 13)), "damaged PNG"),
    "png_pixel_checksum.png": (flipped(INTACT, INTACT.index(b"IEND") - 5), "damaged"),
    "png_flipped_bit.png": (flipped(encoded("PNG"), in_chunk(encoded("PNG"), b"IDAT", 900)), "damaged"),
    "png_bad_filter.png": (png(rows=b"\x09" * (8 * 25)), "damaged"),
    "png_zero_width.png": (png(width=0), "damaged PNG"),
    "png_zero_height.png": (png(height=0), "damaged PNG"),
    "png_bad_depth.png": (png(depth=3), "damaged PNG"),
    "png_bad_colour.png": (png(colour=5), "damaged PNG"),
    "png_no_palette.png": (png(colour=3, rows=b"\0" * (8 * 9)), "damaged"),
    "png_bomb.png": (png(60_000, 60_000, rows=b""), "limit"),
    "png_above_our_limit.png": (png(13_000, 13_000, rows=b""), "13000 x 13000"),
    "png_text_bomb.png": (png(between=chunk(b"zTXt", b"x\0\0" + zlib.compress(b"rain" * 2**20))), "damaged"),
    # JPEG
    "jpeg_start_only.jpg": (b"\xff\xd8", "damaged JPEG"),
    "jpeg_truncated.jpg": (half(encoded("JPEG")), "damaged"),
    "jpeg_then_noise.jpg": (encoded("JPEG")[:20] + noise(3000), "damaged"),
    "jpeg_huge.jpg": (huge_jpeg(), "limit"),
    "jpeg_flat.jpg": (flat_jpeg(), "damaged"),
    # TIFF
    "tiff_header_only.tif": (b"II*\0\x08\0\0\0", "damaged"),
    "tiff_directory_beyond_end.tif": (b"II*\0" + struct.pack("<I", 1 << 30), "damaged"),
    "tiff_truncated.tif": (half(encoded("TIFF", compression="tiff_deflate")), "damaged"),
    "tiff_bomb.tif": (ifd(width=60_000, height=60_000, rows=60_000), "limit"),
    "tiff_zero.tif": (ifd(width=0), "empty"),
    "tiff_strip_beyond_end.tif": (ifd(strip=1 << 20), "damaged"),
    "tiff_unknown_compression.tif": (ifd(compression=4242), "damaged"),
    "tiff_nan.tif": (tiff(np.where(FLOATS[..., 0] > 0.5, np.nan, FLOATS[..., 0])), "NaN"),
    "tiff_colour_nan.tif": (tiff(np.where(FLOATS > 0.5, np.nan, FLOATS), photometric="rgb"), "NaN"),
    "tiff_infinite.tif": (tiff(np.where(FLOATS > 0.5, np.inf, FLOATS), photometric="rgb"), "NaN or infinite"),
    "tiff_float_255.tif": (tiff(PHOTO.astype(np.float32), photometric="rgb"), "divide by 255"),
    "tiff_negative.tif": (tiff(FLOATS[..., 0] - 0.5), "[0, 1]"),
    "tiff_int32.tif": (tiff(PHOTO[..., 0].astype(np.int32)), "32-bit"),
    "tiff_complex.tif": (tiff(FLOATS[..., 0].astype(np.complex64)), "complex64"),
    "tiff_five_channels.tif": (tiff(np.zeros((8, 9, 5), np.float32), photometric="minisblack",
                                    planarconfig="contig"), "shape"),
    # the others
    "webp_header_only.webp": (b"RIFF\x10\0\0\0WEBPVP8 ", "damaged"),
    "webp_truncated.webp": (half(encoded("WEBP")), "damaged"),
    "sound.webp": (b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 40, "sound"),
    "gif_truncated.gif": (half(encoded("GIF")), "damaged"),
    "gif_zero.gif": (b"GIF89a" + b"\0" * 7 + b";", "damaged"),
    "gif_bomb.gif": (huge_gif(), "limit"),
    "bmp_truncated.bmp": (half(encoded("BMP")), "damaged"),
    "bmp_bomb.bmp": (encoded("BMP")[:18] + struct.pack("<ii", 60_000, 60_000) + encoded("BMP")[26:], "limit"),
    "ppm_no_pixels.ppm": (b"P6 64 48 255\n", "damaged"),
    "ppm_bomb.ppm": (b"P6 60000 60000 255\n", "limit"),
    "ppm_no_white.ppm": (b"P6 8 8 0\n" + b"\0" * 192, "damaged"),
    "pfm_nan.pfm": (b"Pf\n8 8\n-1.0\n" + struct.pack("<64f", *[float("nan")] * 64), "NaN"),
    "avif_truncated.avif": (half(encoded("AVIF")), "damaged"),
    "jp2_truncated.jp2": (encoded("JPEG2000")[:120], "damaged"),
    # names
    "two\nlines.png": (b"rain", "text"),
    "\u202ereversed.png": (b"rain", "text"),
}  # fmt: skip


def _written(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data)


HOSTILE = [Hostile(name, _written(data), words) for name, (data, words) in CONTENTS.items()] + [
    Hostile("missing.png", lambda path: None, "No such file"),
    Hostile("folder.png", Path.mkdir, "folder"),
    *([Hostile("pipe.png", os.mkfifo, "regular file")] if hasattr(os, "mkfifo") else []),
    Hostile("dangling.png", lambda path: path.symlink_to("nowhere.png"), "No such file"),
    Hostile("loop.png", lambda path: path.symlink_to(path.name), "symbolic links"),
    Hostile("null\0byte.png", lambda path: None, "null byte"),
    Hostile("n" * 300 + ".png", lambda path: None, "too long"),
    Hostile("file.txt/inside.png", lambda path: path.parent.write_text("rain"), "Not a directory"),
]
"""All of them."""
