"""Validation pairs: a few of the photographs that a training was given, kept out of it, in rain that never changes.

They say how a training goes. Nothing that networks are compared on later is among them: no hold-out, no test set.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from torch.utils.data import Subset

from derainlib import images, rain
from derainlib.data import scenes
from derainlib.data.holdout import KINDS, Holdout
from derainlib.data.scenes import Scene
from derainlib.data.seeds import HOLDOUT_SEEDS
from derainlib.data.synthetic import Sources

RAINS = ("light", "heavy")
"""Kinds of rain of `derainlib.data.holdout.KINDS`; each photograph is judged in all of them."""
SEED = HOLDOUT_SEEDS[-1]
"""Of that rain: no training draws with it, nor does the hold-out."""
STREETS = 10**6
"""First seed of the drawn streets that judge where nothing else can; training draws none of them."""
SHARE = 10
"""One photograph of so many may be held back."""
LARGEST = 480
"""Height and width in pixels of the window, in the middle of a photograph, that is judged."""


def hold_back(sources: Sources, count: int) -> tuple[Sources, Holdout]:
    """Takes some clean photographs out of a training, or some pairs where it has no photographs.

    Args:
        sources: what the training was given.
        count: how many to take; never more than a tenth of the list, so perhaps none. They are spread evenly over the
            sorted names: the same list gives the same ones.

    Returns:
        What is left, with a word on it in its note; and the validation pairs, photographs in light rain before the same
        in heavy rain.

    Raises:
        DataError: one of them cannot be read.
    """
    clean = bool(len(sources.clean))
    given = list(sources.clean) if clean else sources.pairs
    names = [_name(photograph) for photograph in given] if clean else given.names
    held = _spread(names, min(count, len(names) // SHARE))
    if not held:
        return sources, Holdout([], [])
    kept, note = sorted(set(range(len(given))) - set(held)), f"{sources.note}; {len(held)} held back for validation"
    if clean:
        left = sources._replace(clean=[given[i] for i in kept], note=note)
        return left, in_the_rain([names[i] for i in held], [_read(given[i]) for i in held])
    pairs = [tuple(_window(side[0]) for side in (pair.rainy, pair.clean)) for pair in (given[i] for i in held)]
    return sources._replace(pairs=Subset(given, kept), note=note), Holdout([names[i] for i in held], pairs)


def streets(count: int) -> Holdout:
    """Drawn streets that no training sees, in light and in heavy rain."""
    drawn = scenes.drawn(range(STREETS, STREETS + count))
    return in_the_rain(drawn.names, [_read(scene) for scene in drawn])


def in_the_rain(names: Sequence[str], photographs: Sequence[Tensor]) -> Holdout:
    """Each (3, H, W) uint8 photograph in each kind of rain, always the same."""
    pairs = []
    for epoch, kind in enumerate(RAINS):
        for i, clean in enumerate(photographs):
            pair = rain.add_rain(clean[None] / 255, KINDS[kind].style, [rain.generator(SEED, epoch, i)])
            pairs.append((images.to_bytes(pair.rainy[0]), clean))
    return Holdout([f"{name}, {kind} rain" for kind in RAINS for name in names], pairs)


def _spread(names: Sequence[str], count: int) -> list[int]:
    """Places of `count` names, evenly apart once all are sorted."""
    order = sorted(range(len(names)), key=lambda place: names[place])
    return [order[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)]


def _name(photograph: Path | Scene) -> str:
    return photograph.name if isinstance(photograph, Scene) else photograph.as_posix()


def _read(photograph: Path | Scene) -> Tensor:
    return _window(photograph.read()[0] if isinstance(photograph, Scene) else images.read(photograph))


def _window(image: Tensor) -> Tensor:
    """The middle of a (3, H, W) image, as uint8."""
    for dim in (1, 2):
        length = min(image.shape[dim], LARGEST)
        image = image.narrow(dim, (image.shape[dim] - length) // 2, length)
    return images.to_bytes(image)
