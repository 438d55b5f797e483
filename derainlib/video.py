"""Videos: each frame loses its rain by itself; sound, subtitles and times stay as they are.

A frame is cleaned as a photograph would be, whatever its neighbours show: what the network leaves of the rain may
flicker from one to the next. A video is read twice: once to count its frames and to find its faults, in a small part of
the time that the network takes, and once to clean it. `SEGMENT` frames at a time are encoded into a file of the folder
`NAME.parts` beside the result. A run that is killed goes on after the last whole one of these; in the end they are put
together, with the sound and subtitles of the source, under the result's name, whole or not at all.

Colours: YUV of the source's matrix and range becomes RGB of 16 bits for the network, and YUV of the same kind again.
Without B-frames each segment decodes by itself and its packets follow each other in time, so that putting segments
together is copying.
"""

import contextlib
import hashlib
import heapq
import io
import json
import os
from collections import Counter, deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from derainlib import files, images, inference
from derainlib.errors import DerainError, ImageError, one_line, require
from derainlib.models import weights

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""What is written, by ending."""
READ = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,nut,mxf,ivf,h264,hevc,m4v"
"""FFmpeg's names of what is read. Play lists are none: they open other files, and addresses."""
SEGMENT = 48
"""Frames of a segment: what is lost at most when a run is killed."""
BATCH_PIXELS = 4_000_000
"""Pixels of the frames that are given to the network at once: 50 MB as RGB in float32."""
QUALITY = 18
"""x264's constant rate factor: hardly to be told from the frames themselves."""
KEPT = ("yuv420p", "yuv422p", "yuv444p")
"""Pixel formats that are written as they are read; of others, those with colour at each pixel become yuv444p."""
_RGB, _PQ, _HLG = 0, 16, 18  # of ITU-T H.273: the matrix of RGB, and the transfer functions of HDR
_STILL = ("heic", "heix", "mif1", "msf1", "avif", "avis")
_OF_THE_CONTAINER = ("major_brand", "minor_version", "compatible_brands", "encoder")


class Film(NamedTuple):
    """What reading a video once tells.

    Attributes:
        digest: SHA-256 of the file.
        frames: how many can be decoded.
        width, height: of a frame as it is stored, in pixels.
        turns: quarter turns to the left that show it upright.
        pixels: pixel format of the result.
        matrix: H.273's number of the matrix between YUV and RGB; where the video names none, what players take.
        full: whether Y goes from 0 to 255, not from 16 to 235.
        last: how long the last frame is shown, in the stream's unit of time.
        lost: what the result will lack, or what is wrong with the video; a line each.
    """

    digest: str
    frames: int
    width: int
    height: int
    turns: int
    pixels: str
    matrix: int
    full: bool
    last: int
    lost: list[str]


def derain(
    source: str | os.PathLike,
    target: str | os.PathLike,
    model: str | os.PathLike | nn.Module = "brn",
    *,
    quality: int = QUALITY,
    progress: bool = False,
    **settings,
) -> str:
    """Takes the rain off a video, frame by frame, into another, which is replaced if it is there already.

    Each frame is taken by itself: rain that is left, or what is taken for rain, may flicker. The result is H.264 with
    the source's times, also uneven ones, colours and shape of pixels; it is stored upright, since rain falls downwards
    for the networks. Sound, subtitles, chapters and what the file says of itself are copied. A run that was killed goes
    on where it was, if source and settings are the same.

    Args:
        source: the video, of 8 bits, or of more without HDR; at least 16 x 16 pixels, all frames of one size.
        target: the result, .mp4, .m4v, .mov or .mkv. Its folder is made if missing; beside it `NAME.parts` holds
            what is done until all is.
        model: shipped weights by name, a .safetensors path, or a network.
        quality: x264's constant rate factor, from 0 (as the network made it) to 51 (small and poor).
        progress: whether to show a bar over the frames, with the time that is left.
        settings: tile, device, dtype, ensemble, strength; see `derainlib.inference.clean`.

    Returns:
        In one line what the result lacks that the source had, and what of the source was damaged; "" if nothing.

    Raises:
        DerainError: no PyAV, no usable video, a target that cannot be written or would not hold the sound, settings
            that do not fit, another video's or other settings' unfinished result beside `target`, or another process
            at it.
        WeightsError: no such weights. OSError: the disk is full.
    """
    _av()
    source, target = Path(source), Path(target)
    _check(source, target, quality)
    network = model if isinstance(model, nn.Module) else weights.load(model)
    inference.clean(network, torch.zeros(1, 3, images.MIN_SIDE, images.MIN_SIDE), **settings)  # or its error comes late
    with _readable(source):
        film = _survey(source, target)
    parts = target.with_name(f"{target.name}.parts")
    parts.mkdir(parents=True, exist_ok=True)
    try:
        with files.locked(parts / "lock"):
            _claim(parts, _identity(film, network, quality, settings), source)
            segments = _segments(source, film, parts, network, quality, progress, settings)
            whole = parts / f"whole{target.suffix}"
            _join(source, segments, whole, film)
            files.sync(whole)
            files.rename(whole, target)
            for path in (*segments, parts / "job.json"):
                path.unlink()
    except BlockingIOError:
        raise DerainError(f"another process is making {target}") from None
    (parts / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody put a file there
        parts.rmdir()
    return f"{source.name}: {'; '.join(film.lost)}" if film.lost else ""


# --- what cannot be done ------------------------------------------------------------------------------------


def _av():
    """PyAV, which is imported when it is used."""
    try:
        import av
    except ImportError:
        raise DerainError("videos need PyAV: `pip install 'derainlib[video]'`") from None
    return av


def _check(source: Path, target: Path, quality: int):
    whole = isinstance(quality, int) and not isinstance(quality, bool)
    require(whole and 0 <= quality <= 51, f"quality must be a whole number from 0 to 51; got {quality!r}")
    endings = ", ".join(FORMATS)
    require(target.suffix.lower() in FORMATS, f"{target}: a video is written to {endings}; name the result so")
    require(not target.is_dir(), f"{target} is a folder; name a file for the video")
    require(source.exists(), f"there is no video {source}")
    require(source.is_file(), f"{source} is no regular file; `derain folder` takes a folder of images")
    if target.exists() and target.samefile(source):
        raise DerainError(f"{target} is the video itself, which is read to the end; name another file for the result")
    try:
        images.header(source)
    except ImageError:
        return
    raise DerainError(f"{source} is a picture, not a video; `derain image` takes it")


@contextlib.contextmanager
def _readable(source: Path) -> Iterator[None]:
    """What FFmpeg says of a file that it cannot read, in one line."""
    try:
        yield
    except _av().error.FFmpegError as error:
        reason = one_line(error).split(": ")[0]
        raise DerainError(f"{source} is no video, or a damaged one ({reason}); does a player show it?") from None


def _open(source: Path):
    """The container of a local file; whatever it holds, no other is opened for it."""
    options = {"format_whitelist": READ, "protocol_whitelist": "file"}
    return _av().open(f"file:{os.path.abspath(source)}", options=options, metadata_errors="replace")


def _pictures(container, source: Path):
    """The stream of moving pictures; a cover is none."""
    cover = _av().stream.Disposition.attached_pic
    streams = [one for one in container.streams.video if not one.disposition & cover and one.codec_context]
    still = container.metadata.get("major_brand", "").strip() in _STILL
    require(not still, f"{source} is a picture, not a video; `derain image` takes it")
    require(bool(streams), f"{source} holds no moving pictures, or none that can be decoded here")
    return streams[0]


def _copied(container) -> list:
    """The streams that go along as they are."""
    return [one for one in container.streams if one.type in ("audio", "subtitle") and one.codec_context]


def _check_copied(container, source: Path, target: Path):
    """Refuses a target whose format does not hold the sound or the subtitles as they are."""
    codecs = {one.codec_context.codec.canonical_name for one in _copied(container)}

    def missing(name: str) -> set[str]:
        with _av().open(io.BytesIO(), "w", format=name) as muxer:
            return codecs - muxer.supported_codecs

    if lacks := missing(FORMATS[target.suffix.lower()]):
        others = [ending for ending, name in FORMATS.items() if not missing(name)]
        advice = f"name the result {' or '.join(others)}" if others else "take it out first, `ffmpeg -sn` or `-an`"
        raise DerainError(f"{target} cannot hold the {', '.join(sorted(lacks))} of {source}; {advice}")


# --- reading ------------------------------------------------------------------------------------------------


def _survey(source: Path, target: Path) -> Film:
    """Reads a video once."""
    first, frames, damaged = None, 0, Counter()
    with _open(source) as container:
        stream = _pictures(container, source)
        _check_copied(container, source, target)
        for frame in _frames(container, stream, damaged):
            first, frames, last = first or frame, frames + 1, frame.duration
            shape = (frame.width, frame.height, frame.format.name)
            if shape != (first.width, first.height, first.format.name):
                raise DerainError(f"{source}: its pictures change their size or format at frame {frames}; cut it there")
        require(frames > 0, f"{source} holds no picture that can be decoded; does a player show it?")
        sides = min(first.width, first.height)
        least = f"at least {images.MIN_SIDE} x {images.MIN_SIDE} are needed"
        small = f"{source}: {first.width} x {first.height} pixels; {least}"
        require(sides >= images.MIN_SIDE, small)
        require(first.color_trc not in (_PQ, _HLG), f"{source} is HDR, which no network here knows; make it SDR first")
        kept = [stream.index, *(one.index for one in _copied(container))]
        others = Counter(one.type for one in container.streams if one.index not in kept)
        missing = _promised(stream) - (frame.pts + (last or 0)) * stream.time_base
    pixels, lost = _pixels(first)
    lost += [f"{count} {what}" for what, count in damaged.items()]
    lost += [f"cut off: its last {float(missing):.0f} s are missing"] if missing >= 1 else []
    lost += [f"{count} {kind} stream{'s' * (count > 1)} left out" for kind, count in others.items()]
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    named = first.colorspace if first.colorspace in (1, 4, 5, 6, 7, 9) else 1 if first.height >= 720 else 6
    full = first.color_range == 2 or first.format.name.startswith("yuvj")
    turns = round(first.rotation / 90) % 4
    return Film(digest, frames, first.width, first.height, turns, pixels, named, full, last or 0, lost)


def _promised(stream) -> Fraction:
    """When the pictures end in seconds, as the header has it; 0 if it does not say."""
    if stream.duration:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    with contextlib.suppress(ValueError):
        hours, minutes, seconds = stream.metadata.get("DURATION", "").split(":")  # Matroska's
        return Fraction(hours) * 3600 + Fraction(minutes) * 60 + Fraction(seconds)
    return Fraction(0)


def _pixels(frame) -> tuple[str, list[str]]:
    """The pixel format of the result, and what it lacks."""
    parts, name, lost = frame.format.components, frame.format.name, []
    lost += ["more than 8 bits become 8"] if max(part.bits for part in parts) > 8 else []
    lost += ["transparency is left out"] if any(part.is_alpha for part in parts) else []
    lost += ["interlaced, which was kept: `ffmpeg -vf bwdif` first is better"] if frame.interlaced_frame else []
    stem = name.replace("yuvj", "yuv").replace("yuva", "yuv").split("p1")[0].removesuffix("le").removesuffix("p") + "p"
    pixels = stem if stem in KEPT else "yuv420p" if name.startswith(("nv12", "p010", "gray")) else "yuv444p"
    across, down = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv444p": (1, 1)}[pixels]
    turned = pixels == "yuv422p" and round(frame.rotation / 90) % 2
    if turned or frame.width % across or frame.height % down:
        lost += [] if turned else ["odd sides make it 4:4:4, which some players do not show"]
        pixels = "yuv444p"
    return pixels, lost


def _frames(container, stream, damaged: Counter) -> Iterator:
    """The frames that can be decoded, their times growing; what could not be is counted."""
    errors = _av().error
    step = max(1, round(1 / (stream.average_rate * stream.time_base))) if stream.average_rate else 1
    latest = None
    for packet in _packets(container, [stream], damaged):
        try:
            frames = packet.decode()
        except errors.MemoryError:
            raise
        except errors.FFmpegError:
            damaged["damaged packets left out"] += 1
            continue
        for frame in frames:
            if frame.is_corrupt:
                damaged["frames are damaged"] += 1
            if frame.pts is None:
                frame.pts = 0 if latest is None else latest + step
            if latest is not None and frame.pts <= latest:
                damaged["frames without a time of their own left out"] += 1
                continue
            latest = frame.pts
            yield frame


def _packets(container, streams: list, damaged: Counter) -> Iterator:
    """The packets of some streams up to the end, or up to where the file is broken."""
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except _av().error.InvalidDataError:
            damaged["break in the file, where the result ends"] += 1
            return
        yield packet


# --- cleaning -----------------------------------------------------------------------------------------------


def _identity(film: Film, network: nn.Module, quality: int, settings: dict) -> dict:
    """What a result depends on; a run goes on only where it is the same."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    shown = {name: str(settings.get(name, default)) for name, default in _DEFAULTS.items()}
    own = {"network": digest.hexdigest(), "quality": quality, "PyAV": _av().__version__, "segment": SEGMENT}
    return {"source": film.digest, **own, **shown}


_DEFAULTS = {"dtype": "fp32", "ensemble": False, "strength": 1.0}


def _claim(parts: Path, identity: dict, source: Path):
    """Takes the folder for this job, which it may have been before."""
    job = parts / "job.json"
    if not job.exists():
        if others := sorted(path.name for path in parts.iterdir() if path.name != "lock" and path.name[0] != "."):
            raise DerainError(f"{parts}, where the parts belong, holds {others[0]}, no part of a video; move it away")
        files.write_atomically(job, json.dumps(identity, indent=1).encode())
        return
    try:
        before = json.loads(job.read_bytes())
        changed = [name for name, value in identity.items() if before.get(name) != value]
    except (ValueError, AttributeError):
        raise DerainError(f"{job} is damaged; delete {parts} to start anew") from None
    if changed:
        raise DerainError(
            f"{parts} holds part of a result with another {', '.join(changed)} than {source} has now; "
            "go on as before, or delete it to start anew"
        )


def _segments(
    source: Path, film: Film, parts: Path, network: nn.Module, quality: int, progress: bool, settings: dict
) -> list[Path]:
    """Makes the segments that are not there yet; returns all."""
    from tqdm.auto import tqdm

    starts = range(0, film.frames, SEGMENT)
    paths = [parts / f"{start:08}.nut" for start in starts]
    size = max(1, BATCH_PIXELS // (film.width * film.height))
    done = sum(min(SEGMENT, film.frames - start) for start, path in zip(starts, paths, strict=True) if path.exists())
    bar = tqdm(total=film.frames, initial=done, disable=not progress, unit="frame")
    with _open(source) as container, bar:
        stream = _pictures(container, source)
        frames = _frames(container, stream, Counter())
        for path in paths:
            some = islice(frames, SEGMENT)
            if path.exists():
                deque(some, maxlen=0)
                continue
            partial = path.with_suffix(".partial.nut")
            partial.unlink(missing_ok=True)
            with _av().open(str(partial), "w", format="nut") as segment:
                encoder = _encoder(segment, stream, film, quality)
                while batch := list(islice(some, size)):
                    cleaned = inference.clean(network, torch.stack([_rgb(frame, film) for frame in batch]), **settings)
                    for frame, background in zip(batch, cleaned, strict=True):
                        segment.mux(encoder.encode(_yuv(background, frame, film)))
                        bar.update()
                segment.mux(encoder.encode())
            files.sync(partial)
            files.rename(partial, path)
            files.sync(parts)
    return paths


def _how() -> dict:
    """Colour at each pixel is made of its neighbours' with care, in both directions."""
    from av.video.reformatter import Interpolation as By

    return {"interpolation": By.BICUBIC | By.FULL_CHR_H_INT | By.FULL_CHR_H_INP | By.ACCURATE_RND}


def _colours(film: Film, own: str, rgb: str) -> dict:
    """The words of PyAV for the matrix and range of both sides of a conversion."""
    matrix = {6: 5}.get(film.matrix, film.matrix)  # swscale has one number for both spellings of BT.601
    sides = {f"{own}_colorspace": matrix, f"{own}_color_range": 2 if film.full else 1}
    return sides | {f"{rgb}_colorspace": matrix, f"{rgb}_color_range": 2}


def _rgb(frame, film: Film) -> Tensor:
    """A frame upright, float32 (3, H, W) in [0, 1]."""
    pixels = frame.reformat(format="rgb48le", **_colours(film, "src", "dst"), **_how()).to_ndarray()
    upright = np.rot90(pixels, film.turns).transpose(2, 0, 1).astype(np.float32)
    return torch.from_numpy(upright / np.float32(65535))


def _yuv(background: Tensor, frame, film: Film):
    """A cleaned frame for the encoder, with the time of the frame that it was."""
    pixels = (background * 65535).round().permute(1, 2, 0).cpu().numpy().astype(np.uint16)
    made = _av().VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb48le")
    made = made.reformat(format=film.pixels, **_colours(film, "dst", "src"), **_how())
    made.pts, made.time_base = frame.pts, frame.time_base
    return made


def _encoder(segment, stream, film: Film, quality: int):
    """An H.264 stream of a segment, with what the source says of its colours."""
    options = {"crf": str(quality), "preset": "medium", "bf": "0"}
    encoder = segment.add_stream("libx264", rate=stream.average_rate or 25, options=options)
    sides, shape = (film.width, film.height), stream.codec_context.sample_aspect_ratio or Fraction(1)
    if film.turns % 2:
        sides, shape = sides[::-1], 1 / shape
    encoder.width, encoder.height = sides
    encoder.pix_fmt = film.pixels
    context, seen = encoder.codec_context, stream.codec_context
    context.time_base = encoder.time_base = stream.time_base
    context.sample_aspect_ratio = shape
    context.color_range = 2 if film.full else 1
    context.colorspace = film.matrix if seen.colorspace == _RGB else seen.colorspace
    context.color_primaries, context.color_trc = seen.color_primaries, seen.color_trc
    return encoder


# --- putting together ---------------------------------------------------------------------------------------


def _join(source: Path, segments: list[Path], whole: Path, film: Film):
    """Writes the segments, and what is copied of the source, into one file."""
    options = {"movflags": "+faststart"}
    name = FORMATS[whole.suffix.lower()]
    with _open(source) as container, _av().open(str(whole), "w", format=name, container_options=options) as result:
        result.metadata.update(_told(container.metadata))
        with _av().open(str(segments[0])) as first:
            pictures = result.add_stream_from_template(first.streams.video[0])
        stream = _pictures(container, source)
        pictures.time_base = stream.time_base
        pairs = [(stream, pictures)]
        copies = {one.index: result.add_stream_from_template(one) for one in _copied(container)}
        pairs += [(one, copies[one.index]) for one in _copied(container)]
        for old, new in pairs:
            new.metadata.update(_told(old.metadata))
            new.disposition = old.disposition
        if chapters := container.chapters():
            result.set_chapters(chapters)
        copied = _sound(container, copies) if copies else iter(())
        for packet in heapq.merge(_encoded(segments, pictures, film), copied, key=_moment):
            result.mux(packet)


def _told(metadata: dict) -> dict:
    """What a file says of itself, without what its container says of itself; the result is upright."""
    return {name: text for name, text in metadata.items() if name.lower() not in (*_OF_THE_CONTAINER, "rotate")}


def _moment(packet) -> Fraction:
    return packet.dts * packet.time_base


def _encoded(segments: list[Path], pictures, film: Film) -> Iterator:
    """The packets of all segments, each lasting until the next."""
    previous, count = None, 0
    for path in segments:
        with _av().open(str(path)) as segment:
            for packet in segment.demux(video=0):
                if packet.dts is None:
                    continue
                count += 1
                packet.stream = pictures
                packet.dts = packet.pts
                if previous is not None:
                    previous.duration = packet.pts - previous.pts
                    yield previous
                previous = packet
    require(count == film.frames, f"{segments[0].parent} is damaged: {count} of {film.frames} frames; delete it")
    previous.duration = film.last
    yield previous


def _sound(container, copies: dict) -> Iterator:
    """The packets of sound and subtitles as they are."""
    streams = [container.streams[index] for index in copies]
    for packet in _packets(container, streams, Counter()):
        if packet.dts is not None:
            packet.stream = copies[packet.stream_index]
            yield packet
