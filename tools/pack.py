"""Puts what `make weights` trains on into one small folder, for a machine that has nothing else: `make pack`.

    python tools/pack.py pack --data DIR [--megabytes 16]

The folder has the layout of DIR, and only files that may train (its splits): photographs, pairs, rain layers and
streets, written anew as WebP at the best quality that fits. Where that would be below `WORST`, fewer pairs, layers
and streets are taken, evenly spread. All of it, streets' labels and lists too, stays within the megabytes (of 10⁶
bytes). What DIR has none of is left out. `python tools/train_weights.py OUT --data pack …` then trains from it.
"""

import argparse
import io
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from derainlib import files
from derainlib.data import pairs
from derainlib.errors import DataError, DerainError

QUALITIES = (95, 90, 85, 80, 75, 70)
WORST = QUALITIES[-1]


class Part(NamedTuple):
    """One folder of the data."""

    folder: str
    share: float
    """Of the space."""
    split: str = ""
    """List in splits/ of what may train; empty: all."""
    thinned: bool = True
    """Whether fewer files may be taken where they do not fit."""


PARTS = (
    Part("bsds500", 0.5, "bsds500_train.txt", thinned=False),
    Part("urban100", 0.08, "urban100_train.txt", thinned=False),
    Part("cc0", 0.08, "cc0_train.txt", thinned=False),
    Part("rain800/training", 0.16, "rain800_train.txt"),
    Part("streaks/garg", 0.14),
    Part("streaks/raintrainh", 0.04, "raintrainh_train.txt"),
    Part("camvid/train", 0.04),
)
"""What trains, and how the space is shared out."""


def members(data: Path, folder: str, split: str = "") -> list[Path]:
    """The pictures of a folder of the data that may train, relative to the data.

    Args:
        data: the folder that holds splits/.
        folder: a folder in it; one that has images/ is meant by that.
        split: list in splits/ of what may train; empty: all.

    Returns:
        The files, sorted; none where the folder is absent or the list names nothing.

    Raises:
        DataError: the list is missing, or names what is not there.
    """
    place = data / folder
    if not place.is_dir():
        return []
    place = place / "images" if (place / "images").is_dir() else place
    names = _listed(data / "splits" / split) if split else None
    return [path.relative_to(data) for path in pairs.photographs(place, names)] if names != [] else []


def _listed(path: Path) -> list[str]:
    """The names in a list, one a line, by the rule of `derainlib.data.pairs`; a mark of Windows' editors is no name."""
    if not path.is_file():
        raise DataError(f"there is no list {path}, so nothing tells what may train; add it")
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def encoded(path: Path, quality: int) -> bytes:
    """The picture as WebP."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.save(buffer, "webp", quality=quality, method=6)
    return buffer.getvalue()


class Packed(NamedTuple):
    """A picture as it is packed."""

    name: Path
    """Of its original, relative to the data."""
    content: bytes
    label: Path | None
    """The file of a street's labels."""

    @property
    def bytes(self) -> int:
        """What it takes, with its labels and its line in a list."""
        label = self.label.stat().st_size if self.label else 0
        return len(self.content) + label + len(str(self.name).encode()) + len("webp\n")


def packed(data: Path, name: Path, quality: int) -> Packed:
    """One picture of the data, written anew."""
    label = data / name.parent.parent / "labels" / f"{name.stem}.png"
    return Packed(name, encoded(data / name, quality), label if label.is_file() else None)


def fit(data: Path, part: Part, names: Sequence[Path], room: float) -> tuple[int, list[Packed]]:
    """The quality and the pictures of a part that fit into so many bytes; what must not be thinned may take more."""
    # A sample of the files tells which quality may fit.
    sample = names[:: max(1, len(names) // 12)]
    for quality in QUALITIES:
        expected = _bytes(packed(data, name, quality) for name in sample) / len(sample) * len(names)
        if expected > room and quality > WORST:
            continue
        if expected > room and part.thinned:
            names = _spread(names, max(1, int(len(names) * room / expected)))
        found = [packed(data, name, quality) for name in names]
        if _bytes(found) <= room:
            break
    while part.thinned and _bytes(found) > room and len(found) > 1:
        found = _spread(found, min(len(found) - 1, int(len(found) * room / _bytes(found)) or 1))
    return quality, found


def _bytes(found: Iterable[Packed]) -> int:
    return sum(one.bytes for one in found)


def _spread(items: Sequence, count: int) -> list:
    return [items[i * len(items) // count] for i in range(count)]


def pack(data: Path, target: Path, megabytes: float) -> Iterator[str]:
    """Writes the folder; a line for each part.

    Raises:
        DataError: it does not fit, even at the worst quality, or a list does not fit the data.
    """
    total = 0
    (target / "splits").mkdir(parents=True)
    for part in PARTS:
        names = members(data, part.folder, part.split)
        if not names:
            yield f"{part.folder}: nothing of it may train in {data}, left out"
            continue
        quality, found = fit(data, part, names, part.share * megabytes * 1e6)
        for one in found:
            _made(target / one.name.with_suffix(".webp")).write_bytes(one.content)
            if one.label:
                shutil.copy(one.label, _made(target / one.label.relative_to(data)))
        if part.split:
            lines = (one.name.relative_to(part.folder).with_suffix(".webp").as_posix() for one in found)
            text = "".join(f"{line}\n" for line in lines)
            files.write_atomically(target / "splits" / part.split, text.encode())
        total += _bytes(found)
        yield f"{part.folder}: {len(found)} files at quality {quality}, {_bytes(found) / 1e6:.1f} MB"
    if total > megabytes * 1e6:
        raise DataError(f"{target} has {total / 1e6:.2f} MB, more than {megabytes}: allow more with --megabytes")


def _made(path: Path) -> Path:
    """The path, whose folder is there now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the folder to make; git ignores pack/")
    parser.add_argument("--data", type=Path, default=os.environ.get("DERAIN_DATA"), help="(DERAIN_DATA)")
    parser.add_argument("--megabytes", type=float, default=16.0, help="how large it may be, in all (%(default)s)")
    options = parser.parse_args(arguments)
    if not options.data or not (Path(options.data) / "splits").is_dir():
        parser.error("--data (or DERAIN_DATA) must name the folder that holds splits/ and the photographs")
    if options.target.exists():
        parser.error(f"{options.target} is there already; delete it or name another")
    try:
        for line in pack(Path(options.data), options.target, options.megabytes):
            print(line)
    except DerainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
