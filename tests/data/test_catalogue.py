"""The catalogue is complete and consistent, and `check` tells a right folder from a wrong one."""

from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

from derainlib.data import catalogue, pairs
from derainlib.data.catalogue import CATALOGUE, Checked
from derainlib.errors import DataError


def fill(folder, count: int, size=(8, 6), name="{}.png", shade=100) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        Image.fromarray(np.full((*size, 3), shade, np.uint8)).save(folder / name.format(number))


@pytest.fixture
def twelve(tmp_path):
    """A set with the layout and number of Rain12."""
    fill(tmp_path / "rain", 12, shade=140)
    fill(tmp_path / "clean", 12)
    return tmp_path


@pytest.mark.parametrize("name", CATALOGUE)
def test_entries_are_whole(name):
    entry = CATALOGUE[name]
    assert entry.kind in ("pairs", "photographs", "labelled")
    assert set(entry.layouts) <= set(pairs.LAYOUTS)
    assert bool(entry.layouts) == (entry.kind == "pairs")
    assert entry.splits
    assert all(count > 0 for count in entry.splits.values())
    assert entry.pages
    assert all(urlparse(page).scheme in ("http", "https") and urlparse(page).netloc for page in entry.pages)
    assert entry.terms
    assert entry.paper
    assert entry.traps


def test_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        CATALOGUE["mine"] = None
    with pytest.raises(AttributeError):
        CATALOGUE["rain12"].title = "mine"


@pytest.mark.parametrize(
    ("name", "fact"),
    [
        ("rain100h", "546 of the 1,800"),
        ("rain100l", "9 of the 100"),
        ("rain100l", "BSDS500"),
        ("rain800", "528 of the 700"),
        ("rain800", "135 of 700"),
        ("rain800", "left clean, right rainy"),
        ("rain1200", "left rainy, right clean"),
    ],
)
def test_known_traps_are_told(name, fact):
    assert fact in catalogue.describe(name)


def test_the_numbers_of_the_catalogue_agree_with_each_other():
    strict = CATALOGUE["rain100h"].splits
    assert strict["train"] - 546 == strict["train without test backgrounds"] == 1254
    rain1400 = CATALOGUE["rain1400"].splits
    assert rain1400["train"] + rain1400["test"] == rain1400["all"] == 1000 * 14
    assert rain1400["train (first release)"] + rain1400["test (first release)"] == rain1400["all"]
    bsds = CATALOGUE["bsds500"].splits
    assert bsds["train"] + bsds["val"] + bsds["test"] == bsds["all"]


def test_describe_lists_every_set():
    table = catalogue.describe().splitlines()
    assert [line.split()[0] for line in table[1:]] == list(CATALOGUE)
    assert len({line.index(CATALOGUE[line.split()[0]].kind, 60) for line in table[1:]}) == 1  # columns line up
    with pytest.raises(DataError, match="no set is named 'rain9'; there are rain100l, "):
        catalogue.describe("rain9")


def test_check_recognises_the_split(twelve):
    checked = catalogue.check("rain12", twelve)
    assert checked == Checked("rain12", "test", 12, "folders")
    assert str(checked) == "Rain12, test: 12 as it should be (folders)"


def test_check_counts(twelve):
    (twelve / "rain" / "12.png").unlink()
    (twelve / "clean" / "12.png").unlink()
    with pytest.raises(DataError, match=r"11 pairs, but Rain12 has test 12; look for missing or extra files"):
        catalogue.check("rain12", twelve)


def test_check_hints_at_the_set_that_it_may_be(twelve):
    with pytest.raises(
        DataError, match=r"12 pairs, but RainHeavy.* has train 1,800, test 200, as rain12 \(test\) would"
    ):
        catalogue.check("rainheavy", twelve)


def test_check_refuses_another_layout(twelve):
    for number in range(1, 13):
        (twelve / "rain" / f"{number}.png").rename(twelve / "rain" / f"rain-{number}.png")
        (twelve / "clean" / f"{number}.png").rename(twelve / "clean" / f"norain-{number}.png")
    with pytest.raises(DataError, match=r"Rain800 lies as rain800 .*, this as PairFolder\(12 pairs, layout='rain100'"):
        catalogue.check("rain800", twelve)


def test_check_refuses_other_sizes(tmp_path):
    fill(tmp_path / "rain", 100, shade=140)
    fill(tmp_path / "clean", 100)
    with pytest.raises(DataError, match="6x8 does not occur in Rain100L"):
        catalogue.check("rain100l", tmp_path)
    assert catalogue.check("rain100h", tmp_path).split == "test"


def test_check_of_photographs_and_labels(tmp_path):
    fill(tmp_path / "real", 147)
    assert catalogue.check("real147", tmp_path / "real").split == "all"
    fill(tmp_path / "images", 101, size=(360, 480))
    fill(tmp_path / "labels", 101, size=(360, 480))
    assert catalogue.check("camvid", tmp_path) == Checked("camvid", "val", 101, "labelled")
    (tmp_path / "labels" / "7.png").unlink()
    with pytest.raises(DataError, match="images/ and labels/ differ in 7;"):
        catalogue.check("camvid", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "split", "count"),
    [
        ("rain100l", "rain100l", "test", 100),
        ("rain800", "rain800/training", "train", 700),
        ("bsds500", "bsds500", "all", 500),
        ("bsds500", "bsds500/val", "val", 100),
        ("camvid", "camvid/train", "train", 367),
        ("real147", "real", "all", 147),
    ],
)
def test_real_sets(derain_data, name, folder, split, count):
    assert catalogue.check(name, derain_data / folder)[1:3] == (split, count)
