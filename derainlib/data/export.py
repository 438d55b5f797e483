"""Labelled scenes as files: in the rain, or derained, in CamVid's layout.

A segmenter that is to read derained streets (recipe "espnet/derained") is trained on photographs from which a network
has taken the rain beforehand:

    network = derainlib.load("phpnet")
    for seed, split in enumerate(("train", "val")):
        streets = scenes.read("camvid", split)
        export.write(streets, f"derained/{split}", seed=seed, clean=partial(inference.clean, network))

Such a folder is what `scenes.read`, `--scenes-dir` and `Job.scenes_dir` take. Without `clean` it holds the rainy
scenes themselves.
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from derainlib import files, images, rain
from derainlib.data import scenes
from derainlib.data.seeds import check_seed
from derainlib.errors import DataError
from derainlib.layers import IGNORED

UNLABELLED = 11
"""CamVid's value for a pixel without a class."""


def write(
    folder: scenes.SceneFolder,
    target: str | Path,
    rain_style: "rain.RainStyle | str" = "streets",
    *,
    seed: int = 0,
    copies: int = 1,
    clean: Callable[[Tensor], Tensor] | None = None,
    progress: bool = False,
) -> scenes.SceneFolder:
    """Writes scenes in the rain, or derained, with their labels: target/images/*.png and target/labels/*.png.

    The rain of a file depends on the seed, the copy and the scene's place alone; the first copy's is that of
    `scenes.RainyScenes` with the same seed. The folder is complete or absent.

    Args:
        folder: the scenes, with CamVid's classes.
        target: the folder to make. A `train` and a `val` side by side are found as splits.
        rain_style: preset, mix or style, see `derainlib.rain`.
        seed: of the rain; another one for each split, and none of `seeds.HOLDOUT_SEEDS`.
        copies: how often each scene is written, each time in other rain; its name then ends in -1, -2 …
        clean: what takes the rain off an image (1, 3, H, W) in [0, 1], for example
            `functools.partial(inference.clean, network)`; None leaves it.
        progress: whether to show a bar.

    Returns:
        The scenes as written: values in 8 bits, losslessly.

    Raises:
        DataError: `target` is there already, no scenes, other classes, no copy, or a seed of the hold-out.
        ImageError: a scene cannot be read, or the folder cannot be written.
        DerainError: an unknown rain.
    """
    from tqdm.auto import tqdm

    target = Path(target)
    _check(folder, target, seed, copies)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".derain-", dir=target.parent) as workshop:
        made = Path(workshop) / target.name
        for side in ("images", "labels"):
            (made / side).mkdir(parents=True)
        for place, scene in enumerate(tqdm(folder, disable=not progress, unit="scene")):
            image, labels = scene.read()
            for copy in range(copies):
                name = f"{scene.name}.png" if copies == 1 else f"{scene.name}-{copy + 1}.png"
                seen = rain.add_rain(image[None], rain_style, [rain.generator(seed, copy, place)]).rainy
                images.write(clean(seen) if clean else seen, made / "images" / name)
                files.write_atomically(made / "labels" / name, _png(labels))
        files.rename(made, target)
    files.sync(target.parent)
    return scenes.read(target)


def _check(folder: scenes.SceneFolder, target: Path, seed: int, copies: int):
    if target.exists():
        raise DataError(f"{target} is there already; name another folder or delete it")
    if not len(folder):
        raise DataError("no scenes to write; give a folder that holds some")
    if folder.classes != scenes.CAMVID:
        raise DataError(f"the labels are {folder.classes.title}'s; read the folder with classes=scenes.CAMVID")
    if copies < 1:
        raise DataError(f"copies is {copies}; write each scene at least once")
    check_seed(seed)


def _png(labels: Tensor) -> bytes:
    """Labels (H, W) as CamVid stores them."""
    values = labels.masked_fill(labels == IGNORED, UNLABELLED).numpy().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()
