"""Training samples: crops of clean photographs with rain made on the fly, and crops of rainy/clean pairs.

Among the photographs may be labelled scenes (`derainlib.data.scenes`): their samples have labels, cropped alike, all
others hold `derainlib.layers.IGNORED` at every pixel.

Every draw of a sample depends on (seed, epoch, index) alone: not on the worker that makes it, on the batch it is in,
or on where a training was resumed.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, Subset, get_worker_info

from derainlib import images, rain, streaks
from derainlib.data import scenes
from derainlib.data.layouts import CLEAN_FOLDERS, RAINY_FOLDERS, header_size, listed
from derainlib.data.pairs import PairFolder, photographs
from derainlib.data.pairs import read as read_pairs
from derainlib.data.scenes import Scene
from derainlib.data.seeds import HOLDOUT_SEEDS, check_seed  # noqa: F401 (names of this module, too)
from derainlib.errors import DataError
from derainlib.layers import IGNORED, Pair
from derainlib.streaks import Layer

STREETS = range(16)
TEXTURES = ("camera", "brick", "grass", "gravel")
"""Stand-ins for photographs: seeds of drawn streets, and grey pictures that come with scikit-image."""
MEMORY = 2**31
"""Bytes of decoded images that a training keeps, over all of its workers: about 2,300 pairs of 481x321 pixels."""

Key = tuple[int, int]
"""(epoch, index) of a sample."""


class Sources(NamedTuple):
    """What a training draws its samples from."""

    clean: Sequence[Path | Tensor | Scene]
    """Clean photographs: files, (3, H, W) images in [0, 1], or labelled scenes. Rain is laid on their crops."""
    pairs: Sequence[Pair]
    """Rainy/clean pairs of one image each."""
    note: str
    """A sentence on all of them, for the weights' card."""
    layers: Sequence[Layer] = ()
    """Rain layers from files, for rain that is laid on the photographs."""


def gather(
    clean_dir: str | Path | None = None,
    clean_list: str | Path | None = None,
    *,
    pairs_dir: str | Path | None = None,
    pairs_list: str | Path | None = None,
    rain_style: str = "mixed",
    scenes_dir: str | Path | None = None,
    streaks_dir: str | Path | None = None,
    streaks_list: str | Path | None = None,
) -> Sources:
    """Training data from folders; without any, drawn streets with labels and scikit-image's textures stand in.

    The stand-ins hold none of scikit-image's colour photographs, which the hold-out keeps. Where labelled scenes have
    splits, `train` is taken; their labels are CamVid's eleven classes, to which those of Cityscapes are reduced.

    Args:
        clean_dir: folder of clean photographs.
        clean_list: text file that names the photographs to use, one a line.
        pairs_dir: folder of rainy/clean pairs, in any layout that `derainlib.data.pairs` reads.
        pairs_list: text file that names the pairs to use, one a line.
        rain_style: the rain that will be laid on the photographs; only named in the note.
        scenes_dir: folder of labelled scenes, in any layout that `derainlib.data.scenes` reads.
        streaks_dir: folder of rain layers, streaks on black, for rain of the method "layers".
        streaks_list: text file that names the layers to use, one a line.

    Raises:
        DataError: a list without its folder, a folder that does not fit, or rain that wants layers without any.
    """
    for given, folder, name in (
        (clean_list, clean_dir, "clean"),
        (pairs_list, pairs_dir, "pairs"),
        (streaks_list, streaks_dir, "streaks"),
    ):
        if given and not folder:
            raise DataError(f"{name}_list names files of {name}_dir; give that folder too")
    if rain.wants_layers(rain_style) and not streaks_dir:
        raise DataError(f"{rain_style} rain is laid on from files: give streaks_dir, a folder of rain layers")
    layers = rain_layers(streaks_dir, streaks_list) if streaks_dir else []
    notes = [_described(len(layers), "rain layers", streaks_dir, streaks_list)] if layers else []
    if not clean_dir and not pairs_dir and not scenes_dir:
        note = f"stand-ins: {len(STREETS)} drawn streets and scikit-image's {', '.join(TEXTURES)}, {rain_style} rain"
        return Sources(stand_ins(), (), "; ".join([note, *notes]), layers)
    if clean_dir:
        _refuse_others(Path(clean_dir))
    clean = photographs(clean_dir, clean_list) if clean_dir else []
    if clean:
        notes.append(f"{_described(len(clean), 'clean photographs', clean_dir, clean_list)} with {rain_style} rain")
    if scenes_dir:
        split = "train" if "train" in scenes.splits(scenes_dir) else None
        labelled = scenes.read(scenes_dir, split, scenes.CAMVID)
        clean = [*clean, *labelled]
        where = f"{_described(len(labelled), 'labelled scenes', scenes_dir, split)}"
        notes.append(f"{where} with {rain_style} rain")
    folder = read_pairs(pairs_dir, split=pairs_list) if pairs_dir else ()
    if folder:
        notes.append(_described(len(folder), "rainy/clean pairs", pairs_dir, pairs_list))
    return Sources(clean, folder, "; ".join(notes), layers)


def _refuse_others(folder: Path):
    """Refuses pairs, their rainy halves, and labelled streets: not all that lies there is a clean photograph."""
    here = {path.name.lower() for path in folder.iterdir()} if folder.is_dir() else set()
    beside = {path.name.lower() for path in folder.absolute().parent.iterdir()} if here else set()
    rainy, clean = here.intersection(RAINY_FOLDERS), here.intersection(CLEAN_FOLDERS)
    if (rainy and clean) or any(name.startswith("norain-") for name in here):
        half = f", or its clean half {folder / min(clean)} as clean_dir" if clean else ""
        raise DataError(f"{folder} holds rainy photographs beside clean ones: give it as pairs_dir{half}")
    for photographs_in, labels_in in (("images", "labels"), ("leftimg8bit", "gtfine")):
        if {photographs_in, labels_in} <= here:
            raise DataError(f"{folder} holds labelled streets, and labels are no photographs: give it as scenes_dir")
    if folder.name.lower() in RAINY_FOLDERS and (clean := beside.intersection(CLEAN_FOLDERS)):
        raise DataError(
            f"{folder} is the rainy half of pairs, beside {min(clean)}: give {folder.parent} as pairs_dir, or "
            f"{folder.parent / min(clean)} as clean_dir"
        )


def _described(count: int, what: str, folder: str | Path, listed: str | Path | None) -> str:
    return f"{count} {what} of {Path(folder).name}" + (f" ({Path(listed).name})" if listed else "")


def rain_layers(folder: str | Path, listed: str | Path | None = None) -> list[Layer]:
    """The rain layers in a folder and the folders in it, sorted by name.

    Args:
        folder: pictures of streaks on black.
        listed: text file that names those to use, one a line.

    Raises:
        DataError: no pictures, a name that is not there, or a picture that shows no streaks on black.
        ImageError: a file that cannot be read.
    """
    return [streaks.layer(images.read(path), path) for path in photographs(folder, listed)]


def stand_ins() -> list[Scene | Tensor]:
    """Clean images for people without data: drawn streets with labels, and scikit-image's grey textures.

    The textures are (3, H, W) in [0, 1]. The streets are only cropped and mirrored, as the textures are.
    """
    from skimage import data

    textures = [torch.from_numpy(getattr(data, name)().copy()).float().div(255) for name in TEXTURES]
    streets = [scene._replace(varied=False) for scene in scenes.drawn(STREETS)]
    return streets + [texture.expand(3, -1, -1) for texture in textures]


class Samples(Dataset):
    """Training patches by (epoch, index).

    In each epoch every clean photograph is visited once; a share `paired` of the visits goes to a pair drawn at random
    instead. Without photographs an epoch visits every pair once. Samples are cropped and mirrored; labelled scenes are
    also scaled and turned before it rains (`scenes.draw_view`), unless they say otherwise. A share `turned` of all
    samples is turned when the rain has fallen, by 90, 180 or 270 degrees: people turn their cameras.

    A batch has labels, (N, P, P) int64, if one of its samples has. If rain was laid on one of them, it has the rain as
    drawn, and its location; for the rain of given pairs, which nobody drew, O − B as stored stands in.

    Args:
        clean, pairs: see `Sources`.
        patch: height and width of a crop in pixels; smaller images are refused.
        style: preset or mix of `derainlib.rain` for the clean photographs.
        paired: share of pairs where there are photographs too.
        seed: of the training.
        layers: rain layers from files, for styles that lay them on.
        turned: share of samples that are turned.
        dry: share of the clean crops on which no rain falls.
        memory: bytes that hold decoded images, shared out to the workers. They are filled once: where an epoch does not
            fit, what was read first stays, and the rest is read from its files at each visit.

    Raises:
        DataError: nothing to sample, or the seed is reserved for the hold-out.
    """

    def __init__(
        self,
        clean: Sequence[Path | Tensor | Scene] = (),
        pairs: Sequence[Pair] = (),
        *,
        patch: int = 100,
        style: str = "mixed",
        paired: float = 0.25,
        seed: int = 0,
        memory: int = MEMORY,
        layers: Sequence[Layer] = (),
        turned: float = 0.0,
        dry: float = 0.0,
    ):
        if not len(clean) and not len(pairs):
            raise DataError("no training data: give clean photographs, rainy/clean pairs, or both")
        check_seed(seed)
        self.clean, self.pairs = list(clean), pairs
        self.patch, self.style, self.seed = patch, style, seed
        self.paired, self.turned, self.dry, self.layers = paired if len(pairs) else 0.0, turned, dry, layers
        self.memory, self._kept, self._size = memory, {}, 0

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.clean) or len(self.pairs)

    def __getitem__(self, key: Key) -> Pair:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[Key]) -> Pair:
        """The samples of these keys as one batch; rain is drawn for all clean crops together."""
        generators = [rain.generator(self.seed, epoch, index) for epoch, index in keys]
        crops = [self._crop(index, g) for (_, index), g in zip(keys, generators, strict=True)]
        rainy, clean = (torch.stack([c[side] for c in crops]).float().div_(255) for side in (0, 1))
        wet = [i for i, crop in enumerate(crops) if crop.rainy is crop.clean and not self._stays_dry(generators[i])]
        pair = self._let_rain(Pair(rainy, clean), wet, generators)
        pair = pair._replace(labels=_together([crop.labels for crop in crops]))
        return _turned(pair, [self._turns(g) for g in generators]) if self.turned else pair

    def check_sizes(self):
        """Looks at the headers of all images, so that no training finds out in its middle what does not fit.

        Pairs that lie in no folder are looked at when they are read.

        Raises:
            DataError: images that are smaller than the patch, or cannot be read.
        """
        unread, small = [], []
        for name, look in [*map(_size_of, self.clean), *_sizes_of(self.pairs)]:
            try:
                height, width = look()
            except DataError as error:
                unread.append(str(error))
            else:
                small += [f"{name} ({width}x{height})"] if min(height, width) < self.patch else []
        if unread:
            raise DataError(f"images that cannot be read: {listed(unread)}; `derain check` looks at all of them")
        if small:
            raise DataError(
                f"images smaller than the patch of {self.patch}: {listed(small)}; choose a smaller patch "
                "(--set patch=…), or leave them out by a list"
            )

    def _let_rain(self, pair: Pair, wet: list[int], generators: Sequence[torch.Generator]) -> Pair:
        """The batch with rain on the samples `wet`, and with what is known of all samples' rain."""
        if not wet:
            return pair
        fallen = rain.add_rain(pair.clean[wet], self.style, [generators[i] for i in wet], self.layers)
        if len(wet) == len(generators):
            return fallen
        pair.rainy[wet] = fallen.rainy
        drawn = pair.rain
        location = rain.location(drawn)
        drawn[wet], location[wet] = fallen.drawn, fallen.location
        return pair._replace(drawn=drawn, location=location)

    def _stays_dry(self, generator: torch.Generator) -> bool:
        return self.dry > 0 and torch.rand((), generator=generator).item() < self.dry

    def _turns(self, generator: torch.Generator) -> int:
        """By how many right angles a sample is turned."""
        chance, which = torch.rand(2, generator=generator).tolist()
        return 1 + int(3 * which) if chance < self.turned else 0

    def _crop(self, index: int, generator: torch.Generator) -> "_Crop":
        takes_pair = not self.clean or torch.rand((), generator=generator).item() < self.paired
        if takes_pair:
            chosen = index if not self.clean else _integer(len(self.pairs), generator)
            return _Crop(*_random_crop(self._decoded(self._read_pair, chosen), self.patch, generator))
        image, *labels = self._decoded(self._read_photograph, index)
        if labels and self.clean[index].varied:
            image, labels = _random_view(image, *labels, self.patch, generator)
            return _Crop(image, image, labels)
        image, *labels = _random_crop([image, *labels], self.patch, generator)
        return _Crop(image, image, *labels)

    def _decoded(self, read: Callable[[int], list[Tensor]], index: int) -> list[Tensor]:
        """What `read` makes of an index, kept while there is room."""
        key = read.__name__, index
        if key in self._kept:
            return self._kept[key]
        found = read(index)
        size, worker = sum(image.nbytes for image in found), get_worker_info()
        if self._size + size <= self.memory // (worker.num_workers if worker else 1):
            self._kept[key] = found
            self._size += size
        return found

    def _read_photograph(self, index: int) -> list[Tensor]:
        """The photograph (3, H, W) and, of a labelled scene, its labels (H, W); uint8."""
        source = self.clean[index]
        if isinstance(source, Scene):
            image, labels = source.read()
            return [self._check(images.to_bytes(image), source.name), labels.to(torch.uint8)]
        image, name = (source, f"image {index}") if isinstance(source, Tensor) else (images.read(source), source)
        return [self._check(images.to_bytes(image), name)]

    def _read_pair(self, index: int) -> list[Tensor]:
        pair = self.pairs[index]
        return [self._check(images.to_bytes(side[0]), f"pair {index}") for side in (pair.rainy, pair.clean)]

    def _check(self, image: Tensor, name) -> Tensor:
        if min(image.shape[-2:]) < self.patch:
            height, width = image.shape[-2:]
            raise DataError(
                f"{name}: {width}x{height} pixels, smaller than the patch of {self.patch}; choose a smaller patch"
            )
        return image


def _size_of(source: Path | Tensor | Scene) -> tuple[object, Callable[[], tuple[int, int]]]:
    """What a photograph is called, and what tells its (H, W)."""
    image = source.image if isinstance(source, Scene) else source
    if isinstance(image, Tensor):
        return "a picture in memory", lambda: tuple(image.shape[-2:])
    return image, partial(header_size, image)


def _sizes_of(pairs: Sequence[Pair]) -> list[tuple[object, Callable[[], tuple[int, int]]]]:
    """The same of pairs, as far as they lie in a folder."""
    folder, chosen = (pairs.dataset, pairs.indices) if isinstance(pairs, Subset) else (pairs, range(len(pairs)))
    if not isinstance(folder, PairFolder):
        return []
    return [(folder.sources[index].rainy, partial(folder.size, index)) for index in chosen]


class _Crop(NamedTuple):
    """A sample before it rains: images (3, P, P), labels (P, P), all uint8."""

    rainy: Tensor
    """The same tensor as `clean` if it is still to rain."""
    clean: Tensor
    labels: Tensor | None = None


def _together(labels: Sequence[Tensor | None]) -> Tensor | None:
    """Labels as a batch, (N, P, P) int64, `IGNORED` for samples without; None where no sample has any."""
    known = next((k for k in labels if k is not None), None)
    if known is None:
        return None
    unknown = torch.full_like(known, IGNORED)
    return torch.stack([unknown if k is None else k for k in labels]).long()


def _turned(pair: Pair, turns: Sequence[int]) -> Pair:
    """The samples of a batch of square crops, each turned by so many right angles."""
    return Pair(
        *(
            None if batch is None else torch.stack([x.rot90(k, (-2, -1)) for x, k in zip(batch, turns, strict=True)])
            for batch in pair
        )
    )


def _integer(below: int, generator: torch.Generator) -> int:
    return torch.randint(below, (), generator=generator).item()


def _random_crop(same_scene: Sequence[Tensor], patch: int, generator: torch.Generator) -> list[Tensor]:
    """The same random crop and mirroring of several (…, H, W) images. Rain falls down, so nothing is turned over."""
    height, width = same_scene[0].shape[-2:]
    top, left = _integer(height - patch + 1, generator), _integer(width - patch + 1, generator)
    crops = [image[..., top : top + patch, left : left + patch] for image in same_scene]
    return [crop.flip(-1) for crop in crops] if _integer(2, generator) else crops


def _random_view(image: Tensor, labels: Tensor, patch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same random view of a scene and its labels."""
    view = scenes.draw_view(tuple(image.shape[-2:]), patch, generator)
    seen = scenes.look(image[None].float(), view, patch)[0]
    return seen.round_().to(torch.uint8), scenes.look_at_labels(labels[None], view, patch)[0]


class Schedule(Sampler[list[Key]]):
    """Which samples each step takes, from any step on, for one of several processes.

    The stream of samples is the epochs' permutations one after the other; step s takes the next `batch` of them, and
    process `rank` of `world` takes an equal share of these, in `accumulate` portions. The samples of a step therefore
    do not depend on the number of processes, and starting at step s needs no skipping.

    Args:
        samples: samples in an epoch.
        batch: samples a step, over all processes.
        first, last: steps from `first` up to, not including, `last`.
        seed: of the training.
        rank, world: this process, and how many there are.
        accumulate: portions that a process takes its share in.

    Raises:
        DataError: the batch cannot be shared out equally.
    """

    def __init__(
        self,
        samples: int,
        *,
        batch: int,
        first: int,
        last: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        accumulate: int = 1,
    ):
        if batch % (world * accumulate):
            raise DataError(
                f"a batch of {batch} cannot be shared out to {world} processes in {accumulate} portions; "
                f"choose a multiple of {world * accumulate}"
            )
        self.samples, self.batch, self.seed = samples, batch, seed
        self.steps = range(first, last)
        self.rank, self.world, self.accumulate = rank, world, accumulate
        self._order: Callable[[int], list[int]] = functools.lru_cache(maxsize=2)(self._permutation)

    def __len__(self) -> int:
        return len(self.steps) * self.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        for step in self.steps:
            keys = [self._key(position) for position in range(step * self.batch, (step + 1) * self.batch)]
            share = keys[self.rank :: self.world]
            size = len(share) // self.accumulate
            for start in range(0, len(share), size):
                yield share[start : start + size]

    def _key(self, position: int) -> Key:
        epoch, place = divmod(position, self.samples)
        return epoch, self._order(epoch)[place]

    def _permutation(self, epoch: int) -> list[int]:
        # Samples count from 0, so no sample shares this generator.
        return torch.randperm(self.samples, generator=rain.generator(self.seed, epoch, 2**32)).tolist()
