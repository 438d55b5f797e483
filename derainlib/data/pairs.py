"""Folders of rainy and clean photographs, in the layouts that people have, read as `Pair`s.

| layout     | what it looks like                                                | public sets                      |
|------------|-------------------------------------------------------------------|----------------------------------|
| `folders`  | `rain/x.png` with `clean/x.png` (or rainy, input / norain, gt …)  | Rain100L in many copies, Rain13K |
| `rain100`  | `rain-001.png` with `norain-001.png`, in one folder or in two     | Rain100L/H, RainTrainL/H, Rain…* |
| `rain800`  | one file with two halves: left clean, right rainy                 | Rain800 (ID-CGAN)                |
| `did-mdn`  | one file with two halves: left rainy, right clean                 | Rain1200 (DID-MDN)               |
| `rain1400` | one clean file to many: `901_1.jpg` … `901_14.jpg` with `901.jpg` | Rain1400 (DDN), Rain12600        |
| `spa`      | a text file with two paths a line, rainy then clean               | SPA-Data                         |

`read` recognises the layout and can tell why (`PairFolder.reason`). A folder that does not fit is refused with one
sentence: what was looked for, what was found, the first offenders, and what to do. Nothing is guessed silently.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from derainlib import images
from derainlib.data.layouts import (  # noqa: F401 (all of these are names of this module, too)
    ALIKE,
    CLEAN_FOLDERS,
    EXTRAS,
    LAYOUTS,
    RAINY_FOLDERS,
    SAMPLE,
    SUFFIXES,
    Found,
    Layout,
    Place,
    Source,
    describe,
    header_size,
    images_in,
    listed,
    numbered,
    recognise,
    refuse,
    spelt,
    stem_in,
)
from derainlib.errors import DataError
from derainlib.files import text
from derainlib.layers import Pair


class PairFolder(Sequence[Pair]):
    """Rainy and clean photographs, read from disk when they are asked for.

    `folder[i]` is a `Pair` of shape (1, 3, H, W), `folder["name"]` the pair of that name, `folder[a:b]` a smaller
    `PairFolder`. Nothing but names and sizes is read before that.

    Attributes:
        layout: name of the layout, a key of `LAYOUTS`.
        reason: why this layout was chosen, in a sentence.
        sources: where each pair lies.
    """

    def __init__(self, sources: Sequence[Source], layout: str, reason: str = ""):
        self.sources = tuple(sources)
        self.layout = layout
        self.reason = reason
        self._places = {source.name: place for place, source in enumerate(self.sources)}

    def __repr__(self) -> str:
        return f"PairFolder({len(self)} pairs, layout={self.layout!r}: {self.reason})"

    @property
    def names(self) -> list[str]:
        """One name a pair: the rainy file's path in its folder, without the ending."""
        return [source.name for source in self.sources]

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int | str | slice) -> "Pair | PairFolder":
        if isinstance(index, slice):
            return PairFolder(self.sources[index], self.layout, self.reason)
        rainy, clean = _decode(self.sources[self._position(index)])
        return Pair(rainy[None], clean[None])

    def size(self, index: int | str) -> tuple[int, int]:
        """(H, W) of a pair, from the file's header alone."""
        source = self.sources[self._position(index)]
        height, width = header_size(source.rainy)
        return (height, width // 2) if source.rainy_half else (height, width)

    def _position(self, index: int | str) -> int:
        """The place of a pair from its name, or from a number that may count from the end."""
        if isinstance(index, str):
            index = spelt(index)
            if index not in self._places:
                raise DataError(f"no pair is named {index!r}; the names are {listed(self.names)}")
            return self._places[index]
        return range(len(self.sources))[index]


def read(
    folder: str | Path | tuple[str | Path, str | Path],
    layout: str | None = None,
    split: str | Path | Sequence[str] | None = None,
    *,
    check: bool = True,
) -> PairFolder:
    """The pairs of a folder, in whatever layout they lie.

    The layout is recognised by this rule, and refused where two answers are possible:

    1. a text file (or a folder that holds one) whose first line names two images is `spa`;
    2. a sub-folder of rainy images beside one of clean ones: the names decide between `folders` (equal names),
       `rain100` (rain-1 / norain-1) and `rain1400` (1_1, 1_2 / 1);
    3. one folder of images: the names decide again; if they do not, and the left half of each file resembles its
       right half, the half with the stronger gradients is the rainy one (`did-mdn` left, `rain800` right).

    Args:
        folder: the folder; the list of SPA-Data; or two folders, rainy and clean, whatever they are called.
        layout: a key of `LAYOUTS`, instead of recognising it.
        split: a sub-folder ("train"), a text file with one name a line, or a list of names. Only those pairs.
        check: compare the sizes of all pairs now, from the files' headers (about 10,000 files a second); without,
            a pair that does not fit is refused when it is read.

    Returns:
        The pairs, sorted by name with numbers in their order.

    Raises:
        DataError: the folder does not fit, or a name of `split` is not in it.
    """
    if layout is not None and layout not in LAYOUTS:
        raise DataError(f"unknown layout {layout!r}; known are {', '.join(LAYOUTS)}")
    place, chosen = _apply_split(_as_place(folder), split)
    if layout is None:
        layout, reason = recognise(place)
    else:
        reason = "chosen by the caller"
    sources, lonely = LAYOUTS[layout].find(place)
    if chosen is None:
        refuse(lonely, place, "no partner for", "add the missing files, or list the pairs you want in `split`")
    else:
        sources = _choose(sources, chosen, place, name=lambda source: source.name)
    refuse_repeats(sources, place)
    if check:
        refuse(
            _misfits(sources), place, "pairs that cannot be used", "replace the files or leave them out with `split`"
        )
    return PairFolder(sorted(sources, key=lambda s: numbered(s.name)), layout, reason)


def photographs(folder: str | Path, split: str | Path | Sequence[str] | None = None) -> list[Path]:
    """Every image in a folder and the folders in it, sorted; or those that `split` lists, as in `read`."""
    place, chosen = _apply_split(_as_place(folder), split)
    if isinstance(place, tuple):
        raise DataError("photographs() takes one folder, not two")
    found = sorted(images_in(place), key=lambda path: numbered(str(path)))
    if chosen is not None:
        found = _choose(found, chosen, place, name=lambda path: stem_in(path, place))
    if not found:
        raise DataError(f"{place}: no images ({', '.join(sorted(SUFFIXES))}); {describe(place)}")
    return found


# --- places and splits -------------------------------------------------------------------------------------------


def _as_place(folder: str | Path | tuple) -> Place:
    if isinstance(folder, tuple):
        rainy, clean = (_as_place(part) for part in folder)
        return rainy, clean
    path = Path(folder).expanduser()
    if not path.exists():
        raise DataError(f"{path}: does not exist; check the path, or see derainlib.data.catalogue for where sets are")
    if path.is_file() and path.suffix.lower() != ".txt":
        raise DataError(f"{path}: is a file; pass the folder that holds the images, or a .txt list of pairs")
    return path


def _apply_split(place: Place, split: str | Path | Sequence[str] | None) -> tuple[Place, set[str] | None]:
    """The place narrowed to a sub-folder, or the names to keep."""
    if split is None:
        return place, None
    if not isinstance(split, str | Path):
        return place, {_without_suffix(name) for name in split}
    if isinstance(place, Path) and (place / split).is_dir():
        return place / split, None
    if not (listing := Path(split).expanduser()).is_file():
        raise DataError(f"{place}: split {str(split)!r} is neither a sub-folder of it nor a file; {describe(place)}")
    lines = [line.strip() for line in text(listing).splitlines()]
    return place, {_without_suffix(line) for line in lines if line and not line.startswith("#")}


def _without_suffix(name: str) -> str:
    path = Path(spelt(name))
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix()


def _choose(items: list, chosen: set[str], place: Place, name: Callable) -> list:
    kept = [item for item in items if name(item) in chosen]
    absent = sorted(chosen - {name(item) for item in kept}, key=numbered)
    refuse(absent, place, "names of the split that are not there", "correct the list or add the files")
    if not kept:
        raise DataError(f"{place}: the split names no file; list at least one")
    return kept


# --- reading -----------------------------------------------------------------------------------------------------


def _decode(source: Source) -> tuple[Tensor, Tensor]:
    """Both photographs, float32 (3, H, W)."""
    if problem := misfit(source):
        raise DataError(f"{source.rainy}: {problem}; replace the file or leave it out with `split`")
    rainy = images.read(source.rainy)
    if source.rainy_half is None:
        return rainy, images.read(source.clean)
    left, right = rainy.split(rainy.shape[-1] // 2, dim=-1)
    return (left, right) if source.rainy_half == "left" else (right, left)


def misfit(source: Source) -> str | None:
    """What keeps the two photographs from being a pair, judged from their headers."""
    try:
        height, width = header_size(source.rainy)
        if source.rainy_half is None:
            clean_height, clean_width = header_size(source.clean)
            if (height, width) != (clean_height, clean_width):
                return f"{source.name} is {width}x{height} rainy and {clean_width}x{clean_height} clean"
        elif width % 2:
            return f"{source.name} is {width} pixels wide, odd, so it has no two halves"
    except DataError as error:
        return str(error)
    return None


def _misfits(sources: list[Source]) -> list[str]:
    return [problem for source in sources if (problem := misfit(source))]


def refuse_repeats(sources: list[Source], place: Place) -> None:
    repeated = [name for name, count in Counter(source.name for source in sources).items() if count > 1]
    refuse(repeated, place, "several files of one name", "keep one ending a name")
