"""Colour profiles: what an image's numbers are in sRGB, and the way back.

Eight bits a colour are converted by Pillow's ImageCms (LittleCMS), which knows no deeper colour. Values of 16 bits
and floats go by the profile's own curves and matrix, v → f(v) → XYZ = M f(v), with XYZ relative to the white of both;
profiles of tables instead (printers', mostly) convert them with the accuracy of 8 bits. Colours that the other
profile does not have are clipped.
"""

import functools
import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from derainlib.errors import ImageError

CHANNELS = {"GRAY": 1, "RGB": 3, "CMYK": 4}
"""Kinds of profile that images have, and the numbers of a pixel."""

_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_DAMAGED = "the source's colour profile is damaged"
_STEPS = np.linspace(0, 1, 65536)
_BAND = 256
"""Rows that are converted at once: bounds the memory."""


def kind(profile: bytes) -> str:
    """The colours of an ICC profile, one of `CHANNELS`.

    Raises:
        ImageError: it is damaged, or of other colours.
    """
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (OSError, ImageCms.PyCMSError):
        raise ImageError(_DAMAGED) from None
    if found not in CHANNELS:
        raise ImageError(f"the source's colour profile is of {found} colours, which are not known here")
    return found


@functools.cache
def srgb() -> bytes:
    """The profile of sRGB, the same bytes each time."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return made[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + made[36:]  # LittleCMS writes the time there


@functools.lru_cache(64)
def is_srgb(profile: bytes) -> bool:
    """Whether an RGB profile moves no colour by more than one of 255 levels from sRGB; then nothing is converted."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(len(levels), -1, 3)
    return bool(np.abs(convert(colours, profile, srgb()).astype(int) - colours).max() <= 1)


def convert(values: np.ndarray, source: bytes, target: bytes) -> np.ndarray:
    """Numbers of one profile as those of another.

    Args:
        values: (H, W) for a grey profile, (H, W, 3) for RGB, (H, W, 4) for CMYK; uint8, uint16 or floats in [0, 1].
        source, target: ICC profiles; that of the target is of RGB.

    Returns:
        (H, W, 3), uint8 or uint16 as `values`, or float32.

    Raises:
        ImageError: a damaged profile.
    """
    if values.dtype == np.uint8:
        return _by_library(values, source, target)
    depth = 65535 if values.dtype.kind == "u" else 1
    shapers = _shaper(source), _shaper(target)
    if None in shapers:
        found = _by_library(np.rint(values / depth * 255).clip(0, 255).astype(np.uint8), source, target)
        return found.astype(np.uint16) * 257 if depth > 1 else found.astype(np.float32) / 255
    found = np.empty((*values.shape[:2], 3), np.uint16 if depth > 1 else np.float32)
    for top in range(0, len(values), _BAND):
        band = _by_curves(values[top : top + _BAND] / depth, *shapers) * depth
        found[top : top + _BAND] = np.rint(band) if depth > 1 else band
    return found


def from_srgb(values: np.ndarray, profile: bytes) -> np.ndarray:
    """Numbers of sRGB, (H, W, 3), as those of an RGB profile."""
    return values if is_srgb(profile) else convert(values, srgb(), profile)


def _by_library(values: np.ndarray, source: bytes, target: bytes) -> np.ndarray:
    mode = _MODES[values.shape[2] if values.ndim == 3 else 1]
    image = Image.frombytes(mode, values.shape[1::-1], np.ascontiguousarray(values).tobytes())
    try:
        found = ImageCms.profileToProfile(image, io.BytesIO(source), io.BytesIO(target), outputMode="RGB")
    except (OSError, ImageCms.PyCMSError):
        raise ImageError(_DAMAGED) from None
    return np.asarray(found)


# --- curves and a matrix ------------------------------------------------------------------------------------


class _Shaper(NamedTuple):
    """An RGB or grey profile: f for each colour at `_STEPS`, (3, 65536), and M, (3, 3)."""

    curves: np.ndarray
    matrix: np.ndarray


def _by_curves(values: np.ndarray, source: _Shaper, target: _Shaper) -> np.ndarray:
    """f⁻¹ of the target's M⁻¹ M f(v), for v (H, W) or (H, W, 3) in [0, 1]."""
    planes = np.broadcast_to(np.atleast_3d(values), (*values.shape[:2], 3))
    linear = np.stack([np.interp(planes[..., k], _STEPS, source.curves[k]) for k in range(3)], -1)
    linear = linear @ (np.linalg.inv(target.matrix) @ source.matrix).T
    return np.stack([np.interp(linear[..., k], target.curves[k], _STEPS) for k in range(3)], -1)


@functools.lru_cache(8)
def _shaper(profile: bytes) -> _Shaper | None:
    """The curves and matrix of a profile; None where it has tables instead, or others than are known here."""
    try:
        tags = _tags(profile)
        if profile[20:24] != b"XYZ " or b"A2B0" in tags:
            return None
        if b"kTRC" in tags:
            return _Shaper(np.stack([_curve(tags[b"kTRC"])] * 3), _shaper(srgb()).matrix)
        curves = np.stack([_curve(tags[colour + b"TRC"]) for colour in (b"r", b"g", b"b")])
        columns = [np.frombuffer(tags[colour + b"XYZ"], ">i4", 3, 8) / 65536 for colour in (b"r", b"g", b"b")]
    except (KeyError, ValueError, struct.error):
        return None
    matrix = np.stack(columns, 1)
    return _Shaper(curves, matrix) if np.linalg.det(matrix) > 1e-6 else None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """The parts of a profile by name."""
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = struct.iter_unpack(">4sII", profile[132 : 132 + 12 * min(count, 200)])
    return {name: profile[at : at + size] for name, at, size in entries}


def _curve(tag: bytes) -> np.ndarray:
    """f at `_STEPS`: a table, a power, or v → (a v + b)^g + e from d on, and c v + f below."""
    form, x = tag[:4], _STEPS
    if form == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        table = np.frombuffer(tag, ">u2", count, 12)
        if count < 2:
            return x ** (table[0] / 256 if count else 1)
        return np.interp(x, np.linspace(0, 1, count), table / 65535)
    (number,) = struct.unpack_from(">H", tag, 8)
    given = np.frombuffer(tag, ">i4", {0: 1, 3: 5, 4: 7}[number], 12) / 65536  # the other forms are hardly met
    g, a, b, c, d, e, f = (*given, *(0, 1, 0, 0, 0, 0, 0)[len(given) :])
    return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f).clip(0, 1)
