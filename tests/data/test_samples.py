"""The pictures that may be handed out: listed, licensed, complete, and made anew the same."""

import hashlib
import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from derainlib import metrics
from derainlib.data import samples
from derainlib.errors import DataError

CC0 = ("casa-mila", "lake-sherburne", "oakland-zoo-otters", "roman-colosseum", "the-spices-of-life")
SCENES = ("astronaut", "chelsea", "coffee", "rocket", "street", *CC0)
STYLES = ("light", "heavy", "veil")


def files() -> dict[str, bytes]:
    return {p.relative_to(samples.FOLDER).as_posix(): p.read_bytes() for p in sorted(samples.FOLDER.rglob("*.png"))}


def table() -> dict[str, list[str]]:
    """File name → the other cells of its row in the README."""
    rows = [line.strip("| ").split(" | ") for line in (samples.FOLDER / "README.md").read_text().splitlines()]
    return {cells[0].strip("`"): cells[1:] for cells in rows if cells[0].startswith("`") and cells[0].endswith("`")}


def test_every_file_has_a_licence_line_and_every_line_a_file():
    assert list(table()) != []
    assert set(table()) == set(files())
    for name, cells in table().items():
        assert len(cells) == 3, name
        assert re.fullmatch(r"CC0 1\.0|public domain \((NASA|SpaceX)\)|MIT \(drawn by this project\)", cells[2]), name


def test_licences_are_those_of_scikit_image():
    from skimage import data

    for scene, word in (
        ("astronaut", "public domain"),
        ("chelsea", "CC0"),
        ("coffee", "CC0"),
        ("rocket", "public domain"),
    ):
        assert word in getattr(data, scene).__doc__
        assert word in table()[f"{scene}/clean.png"][2]


def test_the_collection_of_cc0_photographs_is_credited_by_name():
    assert samples.STORED == CC0
    for scene in CC0:
        for stem in ("clean", *STYLES):
            _, origin, licence = table()[f"{scene}/{stem}.png"]
            assert f"*{scene}*" in origin
            assert "BuddiesOfBudgie/budgie-backgrounds" in origin
            assert licence == "CC0 1.0"


def test_names_are_the_rainy_files():
    assert samples.names() == sorted(f"{scene}-{style}" for scene in SCENES for style in STYLES)
    assert set(files()) == {f"{'/'.join(name.rsplit('-', 1))}.png" for name in samples.names()} | {
        *(f"{scene}/clean.png" for scene in SCENES),
        "street/labels.png",
    }


def test_folder_is_small_and_every_file_differs():
    contents = files()
    assert sum(map(len, contents.values())) < 5e6
    assert len({hashlib.sha256(content).digest() for content in contents.values()}) == len(contents)


@pytest.mark.parametrize("scene", SCENES)
def test_load(scene):
    for style in STYLES:
        pair = samples.load(f"{scene}-{style}")
        assert pair.rainy.shape == pair.clean.shape
        assert pair.rainy.shape[:2] == (1, 3)
        assert max(pair.rainy.shape) == 288
        assert pair.rainy.dtype == pair.clean.dtype == torch.float32
        assert pair.location.shape == (1, 1, *pair.rainy.shape[2:])
        assert set(pair.location.unique().tolist()) <= {0.0, 1.0}
        assert (pair.labels is not None) == (scene == "street")
        with Image.open(samples.FOLDER / scene / f"{style}.png") as file:
            by_hand = np.asarray(file).transpose(2, 0, 1)[None].astype(np.float32) / 255
        assert np.array_equal(pair.rainy.numpy(), by_hand)


@pytest.mark.parametrize("scene", SCENES)
def test_heavy_rain_is_heavier(scene):
    light, heavy = (samples.load(f"{scene}-{style}") for style in ("light", "heavy"))
    scores = [metrics.psnr(pair.rainy, pair.clean).mean().item() for pair in (light, heavy)]
    assert scores[1] < scores[0] - 5
    assert scores[0] > 18
    assert 0.02 < light.location.mean() < heavy.location.mean()
    assert (light.rain >= -1 / 255).all()  # added, never darker; one step for rounding


def test_labels_of_the_street():
    labels = samples.load("street-light").labels
    assert labels.shape == (1, 216, 288)
    assert labels.dtype == torch.int64
    assert set(labels.unique().tolist()) == set(range(11))


def test_unknown_names_are_refused():
    with pytest.raises(DataError, match="no sample is named 'moon-light'; there are astronaut-heavy, "):
        samples.load("moon-light")
    with pytest.raises(DataError, match=r"no photograph is named 'lena'; there are astronaut, .*, rocket, casa-mila, "):
        samples.photograph("lena")


def test_a_missing_folder_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(samples, "FOLDER", tmp_path / "data")
    with pytest.raises(DataError, match=r"come with the repository, not with the installed package; clone it"):
        samples.names()


@pytest.fixture
def make():
    """data/make.py as a module."""
    spec = importlib.util.spec_from_file_location("make", samples.FOLDER / "make.py")
    make = importlib.util.module_from_spec(spec)
    sys.modules["make"] = make  # dataclasses look their module up
    spec.loader.exec_module(make)
    yield make
    del sys.modules["make"]


def test_make_gives_the_same_pictures(make, tmp_path):
    written = make.make(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in written} == {*files(), "README.md"}
    assert (tmp_path / "README.md").read_text() == (samples.FOLDER / "README.md").read_text()
    for name in files():
        stored, made = (np.asarray(Image.open(folder / name), dtype=int) for folder in (samples.FOLDER, tmp_path))
        # Pictures are computed in floating point, so another processor may round a step differently.
        assert np.abs(stored - made).max() <= (0 if name.endswith("labels.png") else 1), name


def test_cc0_photographs_are_their_originals_made_smaller(make, derain_data):
    """Pillow, averaging blocks, gives nearly the same picture."""
    for scene in make.SCENES:
        if scene.name in CC0:
            original = derain_data / "cc0" / f"{scene.name}.jpg"
            clean, _ = make.clean_picture(scene, original.parent)
            stored = samples.photograph(scene.name)
            assert (clean - stored).abs().max() <= 1.01 / 255, "decoders of JPEG may differ by a step"
            by_hand = np.asarray(Image.open(original).resize(stored.shape[:1:-1], Image.Resampling.BOX))
            assert np.abs(by_hand - 255 * stored[0].permute(1, 2, 0).numpy()).mean() < 6


@pytest.mark.parametrize("name", CC0)
def test_stored_photographs(name):
    picture = samples.photograph(name)
    assert max(picture.shape) == 288
    assert all(torch.equal(samples.load(f"{name}-{style}").clean, picture) for style in STYLES)


@pytest.mark.parametrize(
    ("name", "size"),
    [("astronaut", (512, 512)), ("chelsea", (300, 451)), ("coffee", (400, 600)), ("rocket", (427, 640))],
)
def test_photographs(name, size):
    from skimage import data

    picture = samples.photograph(name)
    assert picture.shape == (1, 3, *size)
    assert np.array_equal((picture[0].permute(1, 2, 0) * 255).numpy().round(), getattr(data, name)())


def test_import_does_not_load_scikit_image():
    code = "import sys, derainlib.data.samples; sys.exit('skimage' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=samples.FOLDER.parent, check=False).returncode == 0


# --- drawn streets ---------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(height=st.integers(120, 260), aspect=st.floats(1.0, 2.0), seed=st.integers(0, 10**9))
def test_streets_show_all_eleven_classes(height, aspect, seed):
    size = (height, round(height * aspect))
    image, labels = samples.street(size, seed)
    assert image.shape == (1, 3, *size)
    assert labels.shape == (1, *size)
    assert (image.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert 0 <= image.min() < 0.2
    assert 0.7 < image.max() <= 1
    counts = torch.bincount(labels.flatten(), minlength=11)
    assert len(counts) == 11
    assert (counts > 0).all(), dict(zip(samples.CLASSES, counts.tolist(), strict=True))


def test_a_seed_gives_one_street_and_another_seed_another():
    first, again, other = (samples.street((96, 128), seed) for seed in (3, 3, 4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert (first[1] != other[1]).float().mean() > 0.1


def test_labels_lie_where_things_are():
    """The sky is bright and above, the road grey and below, trees green: colours and labels belong together."""
    image, labels = samples.street((240, 320), seed=5)
    rows = torch.arange(240)[:, None].expand(240, 320)
    mean_row = {name: rows[labels[0] == index].float().mean().item() for index, name in enumerate(samples.CLASSES)}
    assert mean_row["sky"] < mean_row["building"] < mean_row["car"] < mean_row["road"]
    colours = {name: image[0][:, labels[0] == index].mean(1) for index, name in enumerate(samples.CLASSES)}
    assert colours["sky"].mean() > colours["road"].mean() + 0.2
    assert colours["sky"][2] > colours["sky"][0]  # blue
    assert colours["tree"][1] > max(colours["tree"][0], colours["tree"][2])  # green
    assert colours["road"].max() - colours["road"].min() < 0.08  # grey


def test_a_street_too_small_is_refused():
    with pytest.raises(DataError, match="a street of 40 x 320 is too small to draw"):
        samples.street((40, 320))
