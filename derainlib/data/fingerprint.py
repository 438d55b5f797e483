"""What a training's data are, in a few words: by these a run that goes on tells whether they are still the same."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor
from torch.utils.data import Subset

from derainlib.data.pairs import PairFolder
from derainlib.data.scenes import Scene
from derainlib.data.synthetic import Sources
from derainlib.errors import DataError


def fingerprint(sources: Sources) -> dict:
    """The data's note, how many files they are, of how many bytes, and a checksum (sha256) over names and sizes.

    The names are those in the files' common folder, so that a folder may be moved; their order counts, since samples
    are drawn by it, and so does what a list chooses. Contents are not read, which would take as long as an epoch;
    pictures in memory, such as drawn streets, count with all their pixels, and pairs from elsewhere by their number.

    Raises:
        DataError: a file is gone.
    """
    digest, files, size = hashlib.sha256(), 0, 0
    parts = (sources.clean, _files_of(sources.pairs), [layer.streaks for layer in sources.layers])
    for kind, things in zip(("clean", "pairs", "layers"), parts, strict=True):
        things = list(_flat(things))
        paths = [os.path.abspath(thing) for thing in things if isinstance(thing, Path)]
        root = os.path.commonpath(map(os.path.dirname, paths)) if paths else ""
        digest.update(f"{kind} {len(things)}\n".encode())
        for thing in things:
            if isinstance(thing, Tensor):
                digest.update(thing.contiguous().numpy())
            elif isinstance(thing, Path):
                files, size = files + 1, size + _size(thing)
                digest.update(os.fsencode(f"{os.path.relpath(thing, root)} {_size(thing)}\n"))
    return {"note": sources.note, "files": files, "bytes": size, "sha256": digest.hexdigest()}


def _flat(things: Iterable) -> Iterable[Path | Tensor | None]:
    """The files and pictures of scenes one after the other."""
    for thing in things:
        yield from (thing.image, thing.labels) if isinstance(thing, Scene) else (thing,)


def _files_of(pairs: Sequence) -> list[Path | None]:
    """Both files of each pair; None for a pair that is known to lie in no folder."""
    if isinstance(pairs, Subset):
        whole = _files_of(pairs.dataset)
        return [path for index in pairs.indices for path in whole[2 * index : 2 * index + 2]]
    if isinstance(pairs, PairFolder):
        return [path for source in pairs.sources for path in (source.rainy, source.clean)]
    return [None] * (2 * len(pairs))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
