"""Where pairs lie in folders: the layouts that people have, how each is recognised, and what a folder holds."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib import images
from derainlib.errors import DataError, ImageError
from derainlib.files import below, text

SUFFIXES = images.READABLE  # of the files that count as images
RAINY_FOLDERS = ("rain", "rainy", "input", "inputs", "rainy_image", "rainy_images", "lq")
CLEAN_FOLDERS = ("clean", "norain", "target", "targets", "gt", "ground_truth", "groundtruth", "label")
EXTRAS = ("rainstreak-", "rainregion-")  # RainTrainL/H ship these layers beside the pairs; they are neither half
SAMPLE = 12  # how many files a rule about contents looks at
ALIKE = 0.7  # correlation of two halves, averaged to 16 x 16, from which they show one scene

Place = Path | tuple[Path, Path]


class Source(NamedTuple):
    """Where one pair lies. Side by side, both paths are the same file and `rainy_half` says which half is rainy."""

    name: str
    rainy: Path
    clean: Path
    rainy_half: str | None = None


Found = tuple[list[Source], list[str]]  # complete pairs, and descriptions of files that lack a partner


# --- layouts: where the pairs are --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """One way in which pairs lie in folders: what it looks like, and a function that finds them."""

    looks_like: str
    find: Callable[[Place], Found]


def _same_name(stem: str) -> str:
    return stem


def _rain100_number(stem: str) -> str | None:
    """The number of `rain-001`, `norain-001` and, in the sets of 2019, `norain-1x2`."""
    match = re.fullmatch(r"(?:.*/)?(?:no)?rain-?(\d+)(?:x2)?", stem, re.IGNORECASE)
    return match and str(int(match[1]))


def _before_underscore(stem: str) -> str | None:
    match = re.fullmatch(r"(.+)_\d+", stem)
    return match and match[1]


def _find_folders(place: Place) -> Found:
    return _match(*_two_folders(place), rainy_key=_same_name, clean_key=_same_name)


def _find_rain100(place: Place) -> Found:
    if single_folder(place):
        files = [path for path in _direct_images(place) if not path.name.lower().startswith(EXTRAS)]
        rainy = [(path, place) for path in files if not path.name.lower().startswith("norain")]
        clean = [(path, place) for path in files if path.name.lower().startswith("norain")]
    else:
        rainy, clean = _two_folders(place)
    return _match(rainy, clean, rainy_key=_rain100_number, clean_key=_rain100_number)


def _find_rain1400(place: Place) -> Found:
    if single_folder(place):
        files = _direct_images(place)
        rainy = [(path, place) for path in files if _before_underscore(path.stem)]
        clean = [(path, place) for path in files if not _before_underscore(path.stem)]
    else:
        rainy, clean = _two_folders(place)
    return _match(rainy, clean, rainy_key=_before_underscore, clean_key=_same_name)


def _find_side_by_side(rainy_half: str) -> Callable[[Place], Found]:
    def find(place: Place) -> Found:
        if isinstance(place, tuple):
            raise DataError(f"{place[0]}, {place[1]}: pairs side by side lie in one folder; pass that folder alone")
        files = _direct_images(place)
        return [Source(stem_in(path, place), path, path, rainy_half) for path in files], []

    return find


def _find_spa(place: Place) -> Found:
    listing = _list_file(place)
    if listing is None:
        raise DataError(f"{place}: looked for one text file with two image paths a line; {describe(place)}")
    sources, wrong, absent = [], [], []
    for number, line in enumerate(text(listing).splitlines(), 1):
        words = spelt(line).split()
        if not words:
            continue
        if len(words) != 2:
            wrong.append(f"line {number} has {len(words)} words")
            continue
        rainy, clean = (_beside(listing.parent, word) for word in words)
        absent += [f"line {number}: {path}" for path in (rainy, clean) if not path.is_file()]
        sources.append(Source(str(Path(words[0].lstrip("./")).with_suffix("")), rainy, clean))
    refuse(wrong, listing, "lines that are not two paths", "each line is `rainy.png clean.png`")
    refuse(absent, listing, "files that do not exist", "unpack the images beside the list")
    if not sources:
        raise DataError(f"{listing}: looked for two image paths a line, found an empty file")
    return sources, []


LAYOUTS: dict[str, Layout] = {
    "folders": Layout("rain/x.png beside clean/x.png (rainy, input / norain, target, gt …)", _find_folders),
    "rain100": Layout("rain-001.png with norain-001.png, in one folder or two", _find_rain100),
    "rain800": Layout("one file, left half clean, right half rainy", _find_side_by_side("right")),
    "did-mdn": Layout("one file, left half rainy, right half clean", _find_side_by_side("left")),
    "rain1400": Layout("901_1.jpg … 901_14.jpg with 901.jpg", _find_rain1400),
    "spa": Layout("a text file with two paths a line, rainy then clean", _find_spa),
}


def _match(rainy: list, clean: list, rainy_key: Callable, clean_key: Callable) -> Found:
    """Pairs rainy with clean files of the same key, and says which files have no partner."""
    partners: dict[str, Path] = {}
    lonely, sources, used = [], [], set()
    for path, root in clean:
        key = clean_key(stem_in(path, root))
        if key in partners:
            raise DataError(f"{root}: {partners[key].name} and {path.name} are both clean images of {key}; remove one")
        if key is None:
            lonely.append(f"clean {path.name}")
        else:
            partners[key] = path
    for path, root in rainy:
        key = rainy_key(stem_in(path, root))
        if key in partners:
            used.add(key)
            sources.append(Source(stem_in(path, root), path, partners[key]))
        else:
            lonely.append(f"rainy {path.name}")
    return sources, lonely + [f"clean {path.name}" for key, path in partners.items() if key not in used]


# --- recognising the layout --------------------------------------------------------------------------------------


def recognise(place: Place) -> tuple[str, str]:
    """Name of the layout and the reason for it; see `pairs.read` for the rule."""
    listing = _list_file(place)
    if listing is not None and isinstance(place, Path) and None in _named_folders(place):
        return "spa", f"{listing.name} names two images a line"
    if single_folder(place):
        return _recognise_one_folder(place)
    layout, reason = _recognise_two_folders(*_two_folders(place))
    if listing is not None:
        raise DataError(
            f"{place}: ambiguous, 'spa' ({listing.name} names two images a line) and {layout!r} ({reason}) both fit; "
            "say which with layout=…"
        )
    return layout, reason


def _recognise_two_folders(rainy: list, clean: list) -> tuple[str, str]:
    rainy_stems, clean_stems = ([stem_in(path, root) for path, root in items] for items in (rainy, clean))
    known = set(clean_stems)
    votes = Counter(
        "folders"
        if stem in known
        else "rain100"
        if _rain100_number(stem)
        else "rain1400"
        if _before_underscore(stem) in known
        else "none"
        for stem in rainy_stems
    )
    winner, count = votes.most_common(1)[0]
    if winner == "none":
        raise DataError(
            f"{rainy[0][1]}: no known layout; rainy images are called {listed(rainy_stems)}, clean ones "
            f"{listed(clean_stems)}; rename them to one of: "
            + "; ".join(f"{name}: {LAYOUTS[name].looks_like}" for name in ("folders", "rain100", "rain1400"))
        )
    return winner, f"{count} of {len(rainy)} rainy images are named like {LAYOUTS[winner].looks_like}"


def _recognise_one_folder(place: Path) -> tuple[str, str]:
    files = _direct_images(place)
    stems = [path.stem for path in files]
    if any(stem.lower().startswith("norain-") for stem in stems):
        return "rain100", "some images are called norain-…"
    bases = [_before_underscore(stem) for stem in stems]
    known = set(stems)
    if sum(base in known for base in bases) >= len(files) / 2:
        return "rain1400", "half of the images or more are called N_k and belong to an N"
    return recognise_halves(place, files)


def recognise_halves(place: Path, files: list[Path]) -> tuple[str, str]:
    """`rain800` or `did-mdn`: rain adds gradients, so the half with more of them is the rainy one."""
    sampled = sample(files)
    alike, right_rainy = [], []
    for path in sampled:
        width = header_size(path)[1]
        if width % 2:
            raise DataError(
                f"{place}: no known layout; names do not pair up ({listed([p.name for p in files])}), and "
                f"{path.name} cannot be two halves, its width {width} is odd; name the layout or pass two folders"
            )
        left, right = images.read(path).mean(0).split(width // 2, dim=1)
        coarse = [F.adaptive_avg_pool2d(half[None], 16).flatten() for half in (left, right)]
        alike.append(torch.corrcoef(torch.stack(coarse))[0, 1].item() > ALIKE)
        right_rainy.append((_gradient(right) > _gradient(left)).item())
    if np.mean(alike) < 0.75:
        raise DataError(
            f"{place}: no known layout; names do not pair up ({listed([p.name for p in files])}), and the halves of "
            f"{alike.count(False)} of {len(sampled)} sampled files are not alike; if these are clean photographs, "
            "read them with pairs.photographs(), otherwise name the layout or pass two folders"
        )
    share = np.mean(right_rainy)
    if 0.25 < share < 0.75:
        raise DataError(
            f"{place}: ambiguous; two halves a file, but the rainy half is not clear (right in {sum(right_rainy)} of "
            f"{len(sampled)}); say layout='rain800' (rainy right) or layout='did-mdn' (rainy left)"
        )
    layout, side = ("rain800", "right") if share >= 0.75 else ("did-mdn", "left")
    count = max(sum(right_rainy), len(sampled) - sum(right_rainy))
    return layout, f"two like halves a file, the {side} one has the stronger gradients in {count} of {len(sampled)}"


def sample(files: Sequence[Path]) -> list[Path]:
    """At most `SAMPLE` of the files, evenly apart."""
    return [files[i] for i in np.linspace(0, len(files) - 1, min(SAMPLE, len(files))).astype(int)]


def _gradient(grey: Tensor) -> Tensor:
    """Mean absolute difference of horizontal neighbours, where streaks show most."""
    return grey.diff(dim=1).abs().mean()


# --- what a folder holds -----------------------------------------------------------------------------------------


def _two_folders(place: Place) -> tuple[list, list]:
    """(file, its root) for all rainy images and for all clean ones."""
    rainy, clean = place if isinstance(place, tuple) else _named_folders(place)
    if rainy is None or clean is None:
        kind, names = ("rainy", RAINY_FOLDERS) if rainy is None else ("clean", CLEAN_FOLDERS)
        raise DataError(
            f"{place}: looked for a sub-folder of {kind} images called {', '.join(names)}; {describe(place)}; "
            "rename one, or pass both as read((rainy_folder, clean_folder))"
        )
    both = [[(path, root) for path in sorted(images_in(root))] for root in (rainy, clean)]
    for items, root in zip(both, (rainy, clean), strict=True):
        if not items:
            raise DataError(f"{root}: no images ({', '.join(sorted(SUFFIXES))}); {describe(root)}")
    return both[0], both[1]


def _named_folders(place: Path) -> tuple[Path | None, Path | None]:
    children = sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []

    def only(names: tuple[str, ...]) -> Path | None:
        matching = [path for path in children if path.name.lower() in names]
        if len(matching) > 1:
            raise DataError(
                f"{place}: ambiguous, {' and '.join(path.name for path in matching)} could both be meant; "
                "pass the two folders as read((rainy_folder, clean_folder))"
            )
        return matching[0] if matching else None

    return only(RAINY_FOLDERS), only(CLEAN_FOLDERS)


def single_folder(place: Place) -> bool:
    """Whether rainy and clean images share one folder, rather than having one each."""
    if isinstance(place, tuple):
        return False
    found = sum(folder is not None for folder in _named_folders(place))
    return found == 0 or (found == 1 and any(path.parent == place for path in images_in(place)))


def _list_file(place: Place) -> Path | None:
    """The text file that lists pairs: the place itself, or the only one in it whose first line names two images."""
    if isinstance(place, tuple):
        return None
    if place.is_file():
        return place
    lists = [path for path in sorted(place.glob("*.txt")) if _names_two_images(path)]
    if len(lists) > 1:
        names = listed([path.name for path in lists])
        raise DataError(f"{place}: ambiguous, {len(lists)} lists of pairs ({names}); pass one of the files itself")
    return lists[0] if lists else None


def _names_two_images(path: Path) -> bool:
    try:
        words = next((line.split() for line in text(path).splitlines() if line.strip()), [])
    except DataError:  # somebody's notes
        return False
    return len(words) >= 2 and all(Path(word).suffix.lower() in SUFFIXES for word in words[:2])


def _beside(folder: Path, word: str) -> Path:
    """A path of a list; the lists of SPA-Data write /real_test/x.png for what lies beside the list."""
    near = folder / word.lstrip("./")
    apart = Path(unicodedata.normalize("NFD", str(near)))  # as macOS may have stored it
    return next((path for path in (near, apart, Path(word)) if path.is_file()), near)


def images_in(folder: Path) -> Iterable[Path]:
    """The images in a folder and the folders in it, hidden ones left out.

    Raises:
        DataError: no folder, or one in it that cannot be opened.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder of images; a list of pairs needs layout='spa'")
    found, closed = below(folder)
    refuse(
        [f"{path} ({reason})" for path, reason in closed.items()],
        folder,
        "folders that cannot be opened",
        "let them be read, or move them elsewhere",
    )
    return (path for path in found if path.suffix.lower() in SUFFIXES)


def _direct_images(folder: Path) -> list[Path]:
    """The images that lie in a folder itself, sorted; an error that tells where they may be if there are none."""
    files = sorted(path for path in images_in(folder) if path.parent == folder)
    if not files:
        inside = sorted({path.relative_to(folder).parts[0] for path in images_in(folder)})
        hint = f"; images lie in {listed(inside)}: pass that folder, or split={inside[0]!r}" if inside else ""
        raise DataError(
            f"{folder}: no pairs here; looked for images, a list, or sub-folders such as rain/ and clean/ "
            f"(rainy: {', '.join(RAINY_FOLDERS)}; clean: {', '.join(CLEAN_FOLDERS)}); {describe(folder)}{hint}"
        )
    return files


def stem_in(path: Path, root: Path) -> str:
    """What a pair is called after its file: the path inside a folder, without the ending."""
    return unicodedata.normalize("NFC", path.relative_to(root).with_suffix("").as_posix())


def spelt(name: str) -> str:
    """A name of a list as names of files are compared: Windows parts folders by \\, macOS takes accents apart."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def numbered(name: str) -> list:
    """Sorts 2 before 10, and numbers before words."""
    return [_rank(part) for part in re.split(r"([0-9]+)", name) if part]


def _rank(part: str) -> tuple[int, int, str]:
    """Where a number or a word stands; of numbers the longer is the larger, since `int` refuses thousands of digits."""
    digits = part.lstrip("0")
    return (0, len(digits), digits) if "0" <= part[0] <= "9" else (1, 0, part)


def header_size(path: Path) -> tuple[int, int]:
    """(H, W) as the photograph is seen, without decoding it.

    Raises:
        DataError: the file is not an image.
    """
    try:
        return images.header(path).size
    except ImageError as error:
        raise DataError(str(error)) from None


# --- one sentence for what is wrong ------------------------------------------------------------------------------


def refuse(offenders: Sequence[str], place: Place, problem: str, remedy: str) -> None:
    """An error that names the first offenders, if there are any."""
    if offenders:
        raise DataError(f"{_shown(place)}: {problem}: {listed(offenders)}; {remedy}")


def listed(items: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more


def _shown(place: Place) -> str:
    return f"{place[0]} with {place[1]}" if isinstance(place, tuple) else str(place)


def describe(place: Place) -> str:
    """What a folder holds, for the end of a message."""
    if isinstance(place, tuple) or not place.is_dir():
        return f"found {_shown(place)}"
    children = sorted(place.iterdir())
    folders = [path.name + "/" for path in children if path.is_dir()]
    files = [path.name for path in children if path.is_file()]
    if not children:
        return "the folder is empty"
    return "found " + " and ".join(listed(group) for group in (folders, files) if group)
