"""Colour profiles, made tag by tag: by matrix and curve, of grey, of inks; and what ImageCms makes with them."""

import io
import struct

import numpy as np
from PIL import Image, ImageCms

from derainlib import image_profiles


def fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def profile(space: bytes, pcs: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        table += name + struct.pack(">II", start + len(data), len(tag))
        data += tag + b"\0" * (-len(tag) % 4)
    body = struct.pack(">I", len(tags)) + table + data
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"test", 0x02400000, kind, space, pcs)
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + fixed(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + body


def gamma(power: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(power * 256))


def rgb(curve: bytes, *colorants: tuple[float, float, float]) -> bytes:
    tags = {}
    for name, colorant in zip((b"r", b"g", b"b"), colorants, strict=True):
        tags |= {name + b"XYZ": b"XYZ " + b"\0" * 4 + fixed(*colorant), name + b"TRC": curve}
    return profile(b"RGB ", b"XYZ ", b"mntr", tags)


SRGB_CURVE = b"para" + struct.pack(">IHH", 0, 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
P3 = rgb(SRGB_CURVE, (0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = rgb(gamma(563 / 256), (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
LIKE_SRGB = rgb(SRGB_CURVE, (0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
GREY = profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": gamma(1.8)})


def inks() -> bytes:
    """A printer's table of two steps an ink, which darken alike and cast a colour each."""
    grid = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    light = 255 * (1 - grid.mean(-1))
    lab = np.stack([light, 128 + 20 * (grid[:, 1] - grid[:, 0]), 128 + 20 * (grid[:, 2] - grid[:, 0])], -1)
    ramp = bytes(range(256))
    table = b"mft1" + b"\0" * 4 + bytes([4, 3, 2, 0]) + fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += ramp * 4 + lab.astype(np.uint8).tobytes() + ramp * 3
    return profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": table})


CMYK = inks()


def by_hand(image: Image.Image, source: bytes) -> np.ndarray:
    """What ImageCms makes of an image in that profile, as (H, W, 3) bytes of sRGB."""
    source, target = (ImageCms.ImageCmsProfile(io.BytesIO(data)) for data in (source, image_profiles.srgb()))
    return np.asarray(ImageCms.profileToProfile(image, source, target, outputMode="RGB"))
