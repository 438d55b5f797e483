"""Puts what `make weights` trains on into one small folder, for a machine that has nothing else: `make pack`.

    python benchmarks/pack.py pack --data DIR [--megabytes 16]

The folder has the layout of DIR, and only files that may train (its splits): photographs, pairs, rain layers and
streets, written anew as WebP at the best quality that fits. Where that would be below `WORST`, fewer pairs, layers
and streets are taken, evenly spread. `python benchmarks/train_weights.py OUT --data pack …` then trains from it.
"""

import argparse
import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from derainlib import files
from derainlib.errors import DataError

QUALITIES = (95, 90, 85, 80, 75, 70)
WORST = QUALITIES[-1]


class Part(NamedTuple):
    """One folder of the data."""

    folder: str
    share: float
    """Of the space."""
    split: str = ""
    """List in splits/ of what may train; empty: all."""
    prefix: str = ""
    """What the list's names start with that the folder's own do not."""
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


def members(data: Path, part: Part) -> list[Path]:
    """The files of a part, relative to the data."""
    if part.split:
        return [Path(part.folder) / line for line in (data / "splits" / part.split).read_text().split()]
    images = (data / part.folder / "images") if (data / part.folder / "images").is_dir() else data / part.folder
    return [path.relative_to(data) for path in sorted(images.iterdir())]


def encoded(path: Path, quality: int) -> bytes:
    """The picture as WebP."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.save(buffer, "webp", quality=quality, method=6)
    return buffer.getvalue()


def fit(data: Path, part: Part, room: int) -> tuple[int, list[tuple[Path, bytes]]]:
    """The quality and the files of a part that fit into so many bytes."""
    names = members(data, part)
    # A sample of the files tells which quality fits; the whole is then written once.
    sample = names[:: max(1, len(names) // 12)]
    for quality in QUALITIES:
        mean = sum(len(encoded(data / name, quality)) for name in sample) / len(sample)
        if mean * len(names) <= room:
            break
    if mean * len(names) > room and part.thinned:
        count = max(1, int(room / mean))
        names = [names[i * len(names) // count] for i in range(count)]
    return quality, [(name, encoded(data / name, quality)) for name in names]


def pack(data: Path, target: Path, megabytes: float) -> Iterator[str]:
    """Writes the folder; a line for each part.

    Raises:
        DataError: it does not fit, even at the worst quality.
    """
    total, lists = 0, {}
    for part in PARTS:
        if not (data / part.folder).is_dir():
            yield f"{part.folder}: not in {data}"
            continue
        quality, found = fit(data, part, int(part.share * megabytes * 1e6))
        for name, content in found:
            place = target / name.with_suffix(".webp")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            if (label := _label(data, name)).exists():
                (target / label.relative_to(data)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(label, target / label.relative_to(data))
        size = sum(len(content) for _, content in found)
        total += size
        if part.split:
            inside = (name.relative_to(part.folder).with_suffix(".webp") for name, _ in found)
            lists[part.split] = "".join(f"{line.as_posix()}\n" for line in inside)
        yield f"{part.folder}: {len(found)} files at quality {quality}, {size / 1e6:.1f} MB"
    (target / "splits").mkdir(exist_ok=True)
    for name, text in lists.items():
        files.write_atomically(target / "splits" / name, text.encode())
    if total > megabytes * 1.05e6:
        raise DataError(f"{target} has {total / 1e6:.1f} MB, more than {megabytes}: allow more with --megabytes")


def _label(data: Path, name: Path) -> Path:
    """Where a street's labels lie; a path without a file for everything else."""
    return data / name.parent.parent / "labels" / f"{name.stem}.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Packs; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="the folder to make; git ignores pack/")
    parser.add_argument("--data", type=Path, default=os.environ.get("DERAIN_DATA"), help="(DERAIN_DATA)")
    parser.add_argument("--megabytes", type=float, default=16.0, help="how large it may be (%(default)s)")
    options = parser.parse_args(arguments)
    if not options.data or not (Path(options.data) / "splits").is_dir():
        parser.error("--data (or DERAIN_DATA) must name the folder that holds splits/ and the photographs")
    if options.target.exists():
        parser.error(f"{options.target} is there already; delete it or name another")
    try:
        for line in pack(Path(options.data), options.target, options.megabytes):
            print(line)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
