"""What is wrong with a folder before anything trains on it, one line for each fault.

`check` takes a folder of pairs, of photographs or of labelled streets, whichever it finds, and looks at every image in
it once. No file stops it: one that cannot be read is a fault among others. What rain does to a pair, and photographs
that are alike but not the same, are the matter of `derainlib.data.audit`.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor

from derainlib import images
from derainlib.data import audit, holdout, layouts, pairs, scenes
from derainlib.data.layouts import Source
from derainlib.data.scenes import Scene
from derainlib.errors import DataError, DerainError, printable
from derainlib.files import below

KINDS = {
    "folder": "the folder, a folder in it or its list does not fit",
    "left out": "pictures of kinds that are not read",
    "damaged": "a file that cannot be read",
    "alone": "a file without its partner",
    "sizes": "partners of different sizes",
    "labels": "labels that cannot be read, or of unknown values",
    "frames": "a file of several pictures, of which the first is taken",
    "mode": "a file that is not RGB: it is read as RGB, which may not be what was meant",
    "small": "an image smaller than the patch that training cuts",
    "double": "files with the same pixels",
    "leak": "a photograph that is kept for tests",
}
"""The kinds of fault, in the order in which they are told."""
LARGE, LARGE_ONES = 2**24, Lock()
"""Pixels from which an image is large: two such are not decoded at a time."""
BSDS_SIZE = [321, 481]
"""Sides of BSDS500's photographs, in pixels: by them and by their names they are known without being at hand."""


class Finding(NamedTuple):
    """One fault."""

    kind: str
    """A key of `KINDS`."""
    what: str

    def __str__(self) -> str:
        return printable(f"{self.kind}: {self.what}")


@dataclass(frozen=True)
class Checked:
    """What `check` found: printed, it is a line for each fault and one on all of them."""

    folder: Path
    content: str
    """What the folder was taken for, with numbers."""
    compared: int
    """How many photographs that are kept for tests its photographs were compared with."""
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        counts = Counter(finding.kind for finding in self.findings)
        kinds = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
        faults = f"{len(self.findings)} found ({kinds})" if kinds else "nothing found"
        summary = f"{self.folder}: {self.content}, compared with {self.compared} kept for tests: {faults}"
        return "\n".join([*map(str, self.findings), printable(summary)])


@dataclass
class _Content:
    """What lies in a folder."""

    kind: str
    files: list[Path]
    """All photographs."""
    clean: dict[Path, str | None]
    """Those of them that are clean, and the half that is, if only one is."""
    findings: list[Finding]
    pairs: list[Source] | tuple = ()
    scenes: list[Scene] | tuple = ()


class _Look(NamedTuple):
    """What is kept of an image once it was read."""

    size: tuple[int, int]
    """(H, W) in pixels, of a half where only that is clean."""
    mode: str
    frames: int
    digest: bytes
    """Of all pixels: equal for the same picture, however it is stored."""
    small: Tensor | None
    """What `audit` compares; None of an image that is not clean."""


def check(
    folder: str | Path, *, patch: int = images.MIN_SIDE, kept: str | Path | None = None, progress: bool = False
) -> Checked:
    """Looks for what would spoil a training, or stop it.

    Every image is decoded once, about 200 a second and core at 481x321 pixels. Only names, checksums and averages of
    32 x 32 stay in memory.

    Args:
        folder: rainy/clean pairs in one of `layouts.LAYOUTS`; labelled streets, with all their splits; any other
            folder is taken for clean photographs.
        patch: side in pixels of what training cuts; smaller images are found.
        kept: folder with the photographs that are kept for tests, see `holdout.kept`. Without it those of
            scikit-image are known by their contents, and the hold-out's of BSDS500 by names and sizes.
        progress: shows a bar on stderr.

    Raises:
        DataError: no such folder, no images in it, or nothing in `kept`.
    """
    root = Path(folder).expanduser()
    if not (root.is_dir() and os.access(root, os.R_OK | os.X_OK)):
        raise DataError(f"{root}: is not a folder that can be read; give one of pairs, photographs or labelled streets")
    known = holdout.kept(kept)
    content = _content(root)
    if not content.files and not content.findings:
        raise DataError(f"{root}: no images ({', '.join(layouts.SUFFIXES)}); {layouts.describe(root)}")
    looked = audit.in_threads(lambda path: _look(path, content.clean), content.files, progress)
    seen = {path: look for path, look in zip(content.files, looked, strict=True) if isinstance(look, _Look)}
    findings = [
        *content.findings,
        *(Finding("damaged", error) for error in looked if isinstance(error, str)),
        *_partners(content, seen),
        *(Finding("mode", f"{path}: {look.mode}, not RGB") for path, look in seen.items() if look.mode != "RGB"),
        *(Finding("frames", f"{path}: {look.frames} pictures") for path, look in seen.items() if look.frames > 1),
        *_too_small(content, seen, patch),
        *_doubles(seen),
        *_leaks({path: look for path, look in seen.items() if look.small is not None}, known),
    ]
    findings.sort(key=lambda finding: list(KINDS).index(finding.kind))
    return Checked(root, _described(content), len(dict(known)), tuple(findings))


# --- what lies there -------------------------------------------------------------------------------------------


def _content(root: Path) -> _Content:
    """The folder as streets, as pairs or as photographs, with what keeps it from being just that."""
    found, closed = below(root)
    named = (path for path in found if path.suffix.lower() in layouts.SUFFIXES)
    content = _streets(root) or _pairs(root, sorted(named, key=lambda path: layouts.numbered(str(path))))
    others = Counter(path.suffix.lower() for path in found if path.suffix.lower() in images.UNREAD)
    content.findings += [Finding("left out", f"{root}: {count} {ending}") for ending, count in sorted(others.items())]
    content.findings += [Finding("folder", f"{path}: {reason}") for path, reason in closed.items()]
    return content


def _streets(root: Path) -> _Content | None:
    """The scenes of all splits; None where there are none."""
    found, findings = [], []
    for split in scenes.splits(root) or [None]:
        where = root / (split or "")
        try:
            _, _, some, lonely = scenes.find(root, split)
        except (DerainError, OSError) as error:
            findings.append(Finding("folder", str(error)))
            continue
        found += some
        findings += [Finding("alone", f"{where}: {what} {name}") for what, names in lonely.items() for name in names]
    if not found and not findings:
        return None
    files = [scene.image for scene in found]
    return _Content("labelled streets", files, dict.fromkeys(files), findings, scenes=found)


def _pairs(root: Path, files: list[Path]) -> _Content:
    """The pairs of a folder; its photographs where it is not laid out in pairs."""
    photographs = _Content("photographs", files, dict.fromkeys(files), [])
    try:
        layout = _layout(root, files)
        sources, lonely = layouts.LAYOUTS[layout].find(root) if layout else ([], [])
    except (DataError, OSError) as error:
        photographs.findings.append(Finding("folder", str(error)))
        return photographs
    if not layout:
        return photographs
    findings = [Finding("alone", f"{root}: no partner for {name}") for name in lonely]
    try:
        pairs.refuse_repeats(sources, root)
    except DataError as error:
        findings.append(Finding("folder", str(error)))
    others = {path for source in sources for path in source[1:3]}.difference(files)  # a list may name files elsewhere
    half = {"left": "right", "right": "left", None: None}
    clean = {source.clean: half[source.rainy_half] for source in sources}
    return _Content(f"pairs as {layout}", [*files, *sorted(others)], clean, findings, pairs=sources)


def _layout(root: Path, files: list[Path]) -> str | None:
    """The layout of a folder of pairs; None for a folder in which nothing says that it holds pairs.

    Raises:
        DataError: there are folders or lists of pairs, but they do not fit.
    """
    try:
        return layouts.recognise(root)[0]
    except DerainError:
        if not layouts.single_folder(root):
            raise
    # Damaged files may have kept two halves a file from being recognised.
    sampled = layouts.sample([path for path in files if path.parent == root])
    sound = [path for path in sampled if isinstance(_look(path, {}), _Look)]
    if not sound or sound == sampled:
        return None
    try:
        return layouts.recognise_halves(root, sound)[0]
    except DerainError:
        return None


def _described(content: _Content) -> str:
    count = len(content.pairs or content.scenes or content.files)
    return f"{count} {content.kind}" + (f", {len(content.files)} files" if content.pairs else "")


# --- what is wrong with it -------------------------------------------------------------------------------------


def _look(path: Path, clean: dict[Path, str | None]) -> _Look | str:
    """An image, or why it cannot be read; large ones one at a time, which bounds the memory."""
    try:
        header = images.header(path)
        with LARGE_ONES if header.size[0] * header.size[1] > LARGE else nullcontext():
            return _reduced(images.read(path), header, path in clean, clean.get(path))
    except DerainError as error:
        return str(error)


def _reduced(image: Tensor, header: images.Header, clean: bool, half: str | None) -> _Look:
    digest = hashlib.sha256(f"{tuple(image.shape)}".encode())
    digest.update(image.contiguous().numpy())
    if half:
        middle = image.shape[-1] // 2
        image = image[..., :middle] if half == "left" else image[..., middle:]
    small = audit.small_grey(image) if clean else None
    return _Look(tuple(image.shape[-2:]), header.mode, header.frames, digest.digest(), small)


def _partners(content: _Content, seen: dict[Path, _Look]) -> Iterator[Finding]:
    """Pairs that do not fit together, as far as both halves can be read; scenes likewise, and their labels."""
    for source in content.pairs:
        if source.rainy in seen and source.clean in seen and (problem := pairs.misfit(source)):
            yield Finding("sizes", f"{source.rainy}: {problem}")
    for scene in content.scenes:
        try:
            scenes.read_labels(scene.labels, scene.values)
            if scene.image in seen and (problem := scenes.misfit(scene)):
                yield Finding("sizes", f"{scene.image}: {problem}")
        except DataError as error:
            yield Finding("labels", str(error))


def _too_small(content: _Content, seen: dict[Path, _Look], patch: int) -> Iterator[Finding]:
    """Clean images that no patch fits into; their partners have their size, or are found for that."""
    for path in content.clean:
        if path in seen and min(seen[path].size) < patch:
            height, width = seen[path].size
            yield Finding("small", f"{path}: {width}x{height} pixels, the patch is {patch}x{patch}")


def _doubles(seen: dict[Path, _Look]) -> Iterator[Finding]:
    same = defaultdict(list)
    for path, look in seen.items():
        same[look.digest].append(str(path))
    for paths in same.values():
        if len(paths) > 1:
            yield Finding("double", f"the same picture {len(paths)} times: {layouts.listed(paths)}")


def _leaks(clean: dict[Path, _Look], known: list) -> Iterator[Finding]:
    """Clean photographs that are kept for tests, each with the one that it is most like."""
    if not clean:
        return
    names, theirs = [name for name, _ in known], audit.in_threads(lambda one: audit.small_grey(one[1]()), known)
    ours = torch.stack([look.small for look in clean.values()])
    matches = audit.matches(torch.stack(theirs), names, ours, list(map(str, clean)))
    best = {match.second: match for match in sorted(matches, key=lambda match: match.correlation)}
    for path, look in clean.items():
        if match := best.get(str(path)):
            yield Finding("leak", f"{path}: shows {match.first}, kept for tests ({match.turn})")
        elif path.stem in holdout.BSDS500 and sorted(look.size) == BSDS_SIZE:
            yield Finding("leak", f"{path}: has the name and size of {path.stem} of bsds500, kept for tests")
