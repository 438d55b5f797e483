"""The formats of image files: what their bytes mean, and what is wrong with them.

`derainlib.images` reads and writes by these; what becomes of each kind of image is told there.
"""

import codecs
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from derainlib import image_profiles
from derainlib.errors import ImageError

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")

VIDEO = "a video, or a damaged photo; `ffmpeg -i film.mp4 frames/%05d.png` makes a folder of its pictures"

_SIGNATURES = (
    (b"\x89PNG", "a damaged PNG file"),
    (b"\xff\xd8", "a damaged JPEG file"),
    (b"GIF8", "a damaged GIF file"),
    (b"II*\0", "a damaged TIFF file, or of a kind that is not supported"),
    (b"MM\0*", "a damaged TIFF file, or of a kind that is not supported"),
    (b"BM", "a damaged BMP file, or none at all"),
    (b"\0\0\0\x0cjP", "a damaged JPEG 2000 file"),
    (b"RIFF", "a damaged WebP file, or a sound or video"),
    (b"\x1aE\xdf\xa3", VIDEO),
    (b"%PDF", "a PDF document; save its picture as PNG or JPEG"),
    (b"%!PS", "a PostScript document; save its picture as PNG or JPEG"),
    (b"PK\x03\x04", "a zip archive (or an office document); unpack it first"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"8BPS", "a Photoshop document; save it as PNG or TIFF"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull` to get the image"),
    (b"\xff\x0a", "a JPEG XL picture, which is not read here; save it as PNG or JPEG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture, which is not read here; save it as PNG or JPEG"),
)

RAW_FILE = "a camera's raw file, which must be developed first; save it as PNG, TIFF or JPEG"
_RAW_SIGNATURES = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")
RAW = (
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".iiq", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".sr2", ".srw",
    ".x3f",
)  # fmt: skip
"""Endings of cameras' raw files; as TIFF files they may open, and show but a thumbnail."""

_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

DEPTHS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


# --- decoding ----------------------------------------------------------------------------------------------


class Extras(NamedTuple):
    """What a photograph has besides its colours, the right way up."""

    alpha: Tensor | None = None
    """(1, H, W), float32 in [0, 1]."""
    exif: bytes = b""
    """Date, place, camera, words; neither the orientation, which is applied, nor what the result makes untrue."""
    profile: bytes = b""
    """The ICC profile that the file's numbers had; the tensor's are sRGB."""
    bits: int = 8
    """What a colour is stored with: 8, or 16 where it is more."""
    notes: tuple[str, ...] = ()
    """What could not be taken from the file."""


def decode(file: BinaryIO, limit: int) -> tuple[Tensor, Extras]:
    """An open file's colours as sRGB, float32 (3, H, W) in [0, 1], not laid over anything, and what else it has.

    Raises:
        ImageError: no image, one of more than `limit` pixels, or a kind that is refused; decoders raise others, too.
    """
    try:
        image = _open(file, limit)
    except UnidentifiedImageError:
        return _decode_other(file, limit)
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
    return finished(image, colour, alpha)


def _open(file: BinaryIO, limit: int) -> Image.Image:
    file.seek(0)
    try:
        image = Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(_too_large("a header that promises hundreds of megapixels", limit)) from None
    check_size(*image.size, limit)
    if image.format == "TIFF" and (50706 in image.tag_v2 or image.tag_v2.get(254, 0) == 1):
        raise ImageError(RAW_FILE)  # a DNG, which is first of all a thumbnail
    return image


class Header(NamedTuple):
    """What an image file says before its pixels are decoded."""

    size: tuple[int, int]
    """(H, W) in pixels, the right way up."""
    mode: str
    """Pillow's name for how colours are stored; "RGB" for those that only other readers know."""
    frames: int
    """Pictures in the file: those of an animation, or pages."""


def header(file: BinaryIO, limit: int) -> Header:
    """The header of an open file; raises what `decode` raises."""
    try:
        image = _open(file, limit)
    except UnidentifiedImageError:
        return _other_header(file, limit)
    turned = (image.format == "TIFF" or "exif" in image.info) and _orientation(image) >= 5
    return Header(image.size if turned else image.size[::-1], image.mode, len(frames(image)))


def frames(image: Image.Image) -> list[int]:
    """Places of the pictures in an open file: those of an animation, or pages.

    The second half of a stereo photograph (MPO), thumbnails among pages, and what an animated PNG shows to viewers that
    know no animation do not count.
    """
    places = list(range(1 if image.format == "MPO" else getattr(image, "n_frames", 1)))
    if image.format == "TIFF" and len(places) > 1:
        places = [place for place in places if not _page(image, place).tag_v2.get(254, 0) & 1]
        image.seek(0)
    return places[1:] if image.info.get("default_image") else places


def _page(image: Image.Image, place: int) -> Image.Image:
    image.seek(place)
    return image


class Animation(NamedTuple):
    """The pictures of a file of several, one after the other."""

    pictures: list[tuple[Tensor, Extras]]
    """Each as `decode` gives it, uint8 in the place of floats: there may be many."""
    durations: list[int]
    """How long each is shown, in milliseconds; empty where they are pages."""
    loop: int
    """How often they are shown; 0 for ever."""


def decode_all(file: BinaryIO, limit: int) -> Animation:
    """All pictures of an open file, of at most `limit` pixels together; raises what `decode` raises."""
    try:
        image = _open(file, limit)
    except UnidentifiedImageError:
        raise ImageError(f"a {_kind_of_other(file)} file of several pictures; save each in a file of its own") from None
    places = frames(image)
    if len(places) * image.width * image.height > limit:
        raise ImageError(_too_large(f"{len(places)} pictures of {image.width} x {image.height} pixels", limit))
    pictures, durations = [], []
    for place in places:
        image.seek(place)
        check_size(*image.size, limit)
        colour, extras = finished(image, *parts(image))
        pictures.append((colour.mul(255).round_().to(torch.uint8), extras))
        durations.append(round(image.info.get("duration", 0)))
    return Animation(pictures, durations if any(durations) else [], image.info.get("loop", 1))


def _other_header(file: BinaryIO, limit: int) -> Header:
    """As `_decode_other`."""
    if _kind_of_other(file) == "HEIC":
        photo = _heic(file, limit)
        return Header(photo.size[::-1], photo.mode, 1)
    with _tiff_of_others(file, limit) as tiff:
        page = tiff.pages.first
        size = page.imagelength, page.imagewidth
        return Header(size[::-1] if page.tags.valueof("Orientation", 1) >= 5 else size, "RGB", len(tiff.pages))


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


def finished(image: Image.Image, colour: np.ndarray, alpha: np.ndarray | None) -> tuple[Tensor, Extras]:
    """An image's colour and alpha (see `parts`) as sRGB and turned as its EXIF orientation says, with the rest."""
    try:
        exif, notes = _kept(image.getexif()), []
    except Exception:  # nearly anything, as from the decoders
        exif, notes = b"", ["the source's EXIF is damaged: left out"]
    inks = np.asarray(image) if image.mode == "CMYK" else None
    return _assembled(colour, alpha, inks, _orientation(image), image.info.get("icc_profile") or b"", exif, notes)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; with a damaged EXIF block a photograph stays as it lies, but stays readable."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:
        return 1


def _assembled(
    colour: np.ndarray, alpha: np.ndarray | None, inks: np.ndarray | None, orientation: int,
    profile: bytes, exif: bytes, notes: list[str],
) -> tuple[Tensor, Extras]:  # fmt: skip
    """What `decode` returns, of a picture as it lies in its file; a useless profile becomes a note."""
    if colour.dtype.kind == "f":
        check_range(float(colour.min()), float(colour.max()))
    try:
        bits = 8 if colour.dtype == np.uint8 else 16
        colour = _in_srgb(colour, inks, profile) if profile else colour
    except ImageError as error:
        profile, notes = b"", [*notes, f"{error}: its numbers are taken for sRGB"]
    turn = _TURNS.get(orientation, lambda x: x)
    alpha = None if alpha is None else torch.from_numpy(_unit(turn(alpha)))[None]
    return planes(turn(colour)), Extras(alpha, exif, profile, bits, tuple(notes))


def _in_srgb(colour: np.ndarray, inks: np.ndarray | None, profile: bytes) -> np.ndarray:
    """Colour, (H, W) or (H, W, 3), or the (H, W, 4) inks that it was made of, as sRGB by their profile."""
    match image_profiles.kind(profile):
        case "CMYK" if inks is not None:
            values = inks
        case "RGB" if inks is None:
            if image_profiles.is_srgb(profile):
                return colour
            values = np.broadcast_to(np.atleast_3d(colour), (*colour.shape[:2], 3))
        case "GRAY" if inks is None and (colour.ndim == 2 or (colour == colour[..., :1]).all()):
            values = np.atleast_3d(colour)[..., 0]
        case kind:
            raise ImageError(f"the source's colour profile is of {kind} colours, which the picture has not")
    return image_profiles.convert(values, profile, image_profiles.srgb())


_WORTH_KEEPING = {
    270, 271, 272, 305, 306, 315, 316, 33432, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,
}  # fmt: skip
"""Tags of what and who: words, camera, software, date, author, rights. The others tell how the file's pixels lie."""

NESTED = {0x8769, 0x8825}
"""Tags of the parts Exif (how it was taken, and when) and GPS."""

_UNTRUE = {0xA001, 0xA002, 0xA003, 0xA005}
"""Tags of the Exif part that are not true of the result: the colour space, by its two names, and the size unturned."""


def _kept(exif: Image.Exif) -> bytes:
    """Of an EXIF block, what a result may say too; b"" if that is nothing."""
    kept = Image.Exif()
    for tag in _WORTH_KEEPING & exif.keys():
        kept[tag] = exif[tag]
    for part in NESTED:
        if held := {tag: value for tag, value in exif.get_ifd(part).items() if tag not in _UNTRUE}:
            kept[part] = held
    return kept.tobytes() if len(kept) else b""


def _decode_other(file: BinaryIO, limit: int) -> tuple[Tensor, Extras]:
    """What Pillow does not know: TIFF files of floats, and HEIC."""
    if _kind_of_other(file) == "TIFF":
        return _decode_tiff(file, limit)
    image = _heic(file, limit).to_pillow()  # turned already, and its EXIF says so
    return finished(image, *parts(image))


def _kind_of_other(file: BinaryIO) -> str:
    """TIFF or HEIC; anything else is refused."""
    file.seek(0)
    start = file.read(64)
    file.seek(0)
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIC:
        return "HEIC"
    raise ImageError(_what(start))


def _heic(file: BinaryIO, limit: int):
    """An opened HEIC photo of pillow-heif's."""
    try:
        import pillow_heif
    except ImportError:
        advice = "`pip install 'derainlib[heif]'` (pillow-heif) reads it, or save it as JPEG or PNG"
        raise ImageError(f"a HEIC photo; {advice}") from None
    try:
        photo = pillow_heif.open_heif(file)
    except Exception:
        raise ImageError("a damaged HEIC photo") from None
    check_size(*photo.size, limit)
    return photo


def _decode_tiff(file: BinaryIO, limit: int) -> tuple[Tensor, Extras]:
    """The TIFF files that Pillow cannot read: colour in floats, or in 16 bits and stored plane by plane."""
    with _tiff_of_others(file, limit) as tiff:
        page = tiff.pages.first
        if page.imagedepth > 1 or page.samplesperpixel not in (1, 3, 4):
            raise ImageError(f"a TIFF file of shape {page.shape}; wanted are grey, RGB or RGBA")
        values = np.atleast_3d(page.asarray())
        if page.axes == "SYX":
            values = np.moveaxis(values, 0, -1)
        orientation, profile = page.tags.valueof("Orientation", 1), page.tags.valueof("InterColorProfile", b"")
        exif = {"ExifTag", "GPSTag", "DateTime"} & {tag.name for tag in page.tags}
    alpha = values[..., 3] if page.samplesperpixel == 4 else None
    notes = ["EXIF is not read from TIFF files of this kind"] if exif else []
    return _assembled(values[..., :3], alpha, None, orientation, profile, b"", notes)


def _tiff_of_others(file: BinaryIO, limit: int):
    """A TIFF file opened by tifffile."""
    import tifffile

    file.seek(0)
    tiff = tifffile.TiffFile(file)
    check_size(tiff.pages.first.imagewidth, tiff.pages.first.imagelength, limit)
    return tiff


def planes(colour: np.ndarray) -> Tensor:
    """Float32 RGB, (3, H, W), of colour (H, W), (H, W, 1) or (H, W, 3)."""
    values = np.atleast_3d(colour).transpose(2, 0, 1)
    return torch.from_numpy(_unit(np.broadcast_to(values, (3, *values.shape[1:]))))


def over_white(image: Tensor, alpha: Tensor | None) -> Tensor:
    """(…, 3, H, W) in [0, 1], laid over white where `alpha`, (1, H, W), lets it through."""
    return image if alpha is None else image * alpha + (1 - alpha)


def _unit(values: np.ndarray) -> np.ndarray:
    """A float32 copy in [0, 1] of uint8, uint16 or float values."""
    depth = DEPTHS.get(values.dtype.newbyteorder("="))
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
    if start.startswith(_RAW_SIGNATURES):
        return RAW_FILE
    for signature, what in _SIGNATURES:
        if start.startswith(signature):
            return what
    text = start.lstrip().lower()
    if not start:
        return "the file is empty"
    if start[4:8] == b"ftyp":
        return "a damaged AVIF file" if b"avif" in start else RAW_FILE if b"crx " in start else VIDEO
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
