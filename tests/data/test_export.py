"""Scenes written in the rain or derained: their files, their labels, and that a training takes them."""

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import rain
from derainlib.data import export, scenes, synthetic
from derainlib.data.scenes import CITYSCAPES, IGNORED, RainyScenes, Scene, SceneFolder
from derainlib.errors import DataError, DerainError, ImageError

STYLE = rain.street("large", direction=-15)


@pytest.fixture(scope="module")
def streets() -> SceneFolder:
    """Two drawn streets, a corner of the second without a class."""
    folder = scenes.drawn(range(2), size=(64, 80))
    folder[1].labels[:4, :4] = IGNORED
    return folder


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def bytes_of(image: torch.Tensor) -> np.ndarray:
    return np.rint(255 * image[0].permute(1, 2, 0).numpy()).astype(np.uint8)


def test_rainy_scenes_with_their_labels(streets, tmp_path):
    written = export.write(streets, tmp_path / "new" / "train", STYLE, seed=3)
    assert written.names == ["drawn-0", "drawn-1"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["train"]
    expected = RainyScenes(streets, STYLE, seed=3)
    for name, pair, scene in zip(written.names, expected, written, strict=True):
        np.testing.assert_array_equal(pixels(tmp_path / f"new/train/images/{name}.png"), bytes_of(pair.rainy))
        assert torch.equal(scene.read()[1], pair.labels[0])
    labels = pixels(tmp_path / "new/train/labels/drawn-1.png")
    assert labels.dtype == np.uint8
    assert (labels[:4, :4] == 11).all()
    assert labels.max() == 11


def test_derained_scenes(streets, tmp_path):
    """What `clean` makes of the rainy image is written; this one, instead of cleaning, darkens."""
    seen = []
    written = export.write(streets, tmp_path / "dark", STYLE, clean=lambda rainy: seen.append(rainy) or rainy / 2)
    rainy = [pair.rainy for pair in RainyScenes(streets, STYLE, seed=0)]
    assert all(map(torch.equal, seen, rainy))
    for scene, image in zip(written, rainy, strict=True):
        np.testing.assert_array_equal(pixels(scene.image), bytes_of(image / 2))


def test_copies_have_other_rain_and_the_same_labels(streets, tmp_path):
    written = export.write(streets, tmp_path / "twice", STYLE, copies=2)
    assert written.names == ["drawn-0-1", "drawn-0-2", "drawn-1-1", "drawn-1-2"]
    once = export.write(streets, tmp_path / "once", STYLE)
    images, labels = zip(*(scene.read() for scene in written), strict=True)
    assert torch.equal(images[2], once[1].read()[0])
    assert not torch.equal(images[2], images[3])
    assert torch.equal(labels[2], labels[3])
    again = rain.add_rain(streets[1].image[None], STYLE, [rain.generator(0, 1, 1)]).rainy
    np.testing.assert_array_equal(pixels(written[3].image), bytes_of(again))


def test_a_training_takes_the_split_train(streets, tmp_path):
    for seed, split in enumerate(("train", "val")):
        export.write(streets[seed : seed + 1], tmp_path / "derained" / split, "none", seed=seed)
    sources = synthetic.gather(rain_style="none", scenes_dir=tmp_path / "derained")
    assert [scene.name for scene in sources.clean] == ["drawn-0"]
    assert sources.note == "1 labelled scenes of derained (train) with none rain"
    assert synthetic.Samples(sources.clean, patch=32, style="none")[0, 0].labels.shape == (1, 32, 32)


def fails(rainy):
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"clean": fails}, RuntimeError, "out of memory"),
        ({"clean": lambda rainy: rainy / 0}, ImageError, "NaN or infinite"),
        ({"rain_style": "frogs"}, DerainError, "no rain is called 'frogs'"),
        ({"copies": 0}, DataError, "copies is 0"),
        ({"seed": 10**9}, DataError, "belongs to the hold-out"),
        ({"folder": scenes.drawn(())}, DataError, "no scenes to write"),
        ({"folder": SceneFolder([Scene("a", None, None)], CITYSCAPES, "")}, DataError, "with classes=scenes.CAMVID"),
    ],
)
def test_a_folder_is_complete_or_absent(streets, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        export.write(**{"folder": streets, "target": tmp_path / "out"} | change)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_stays(streets, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        export.write(streets, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
