"""Every layout that people have is read; every folder that does not fit is refused with a sentence that helps."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib.data import pairs
from derainlib.errors import DataError, DerainError
from derainlib.layers import Pair


def picture(seed: int, size: tuple[int, int] = (20, 24)) -> np.ndarray:
    """A smooth random photograph, (H, W, 3) uint8."""
    small = np.random.default_rng(seed).integers(30, 200, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize(size[::-1], Image.BICUBIC))


def rained(clean: np.ndarray) -> np.ndarray:
    """The photograph with bright upright streaks."""
    rainy = clean.astype(int)
    rainy[:, ::5] += 50
    return np.clip(rainy, 0, 255).astype(np.uint8)


def save(pixels: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def two_folders(root: Path, rainy="rain", clean="clean", count=4, rainy_name="{}.png", clean_name="{}.png") -> Path:
    for number in range(1, count + 1):
        save(rained(picture(number)), root / rainy / rainy_name.format(number))
        save(picture(number), root / clean / clean_name.format(number))
    return root


def side_by_side(root: Path, rainy_left: bool, count: int = 6) -> Path:
    for number in range(1, count + 1):
        halves = [picture(number), rained(picture(number))]
        save(np.concatenate(halves[::-1] if rainy_left else halves, 1), root / f"{number}.png")
    return root


def shown(pixels: np.ndarray) -> torch.Tensor:
    """What reading those pixels must give, worked out by hand."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]


def assert_pairs(folder: pairs.PairFolder, count: int):
    """Each pair is the drawn photograph and its rained version, the right way round."""
    assert len(folder) == count
    for number, pair in enumerate(folder, 1):
        assert isinstance(pair, Pair)
        assert torch.equal(pair.clean, shown(picture(number)))
        assert torch.equal(pair.rainy, shown(rained(picture(number))))


# --- layouts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rainy", pairs.RAINY_FOLDERS)
@pytest.mark.parametrize("clean", ["clean", "norain", "GT"])
def test_folders_of_any_usual_name(tmp_path, rainy, clean):
    folder = pairs.read(two_folders(tmp_path, rainy, clean))
    assert folder.layout == "folders"
    assert_pairs(folder, 4)


def test_two_folders_of_unusual_names(tmp_path):
    two_folders(tmp_path, "nass", "trocken")
    assert_pairs(pairs.read((tmp_path / "nass", tmp_path / "trocken")), 4)


def test_endings_may_differ(tmp_path):
    two_folders(tmp_path)
    for path in (tmp_path / "clean").iterdir():
        path.rename(path.with_suffix(".PNG"))
    assert_pairs(pairs.read(tmp_path), 4)


def test_rain100_in_one_folder_ignores_streak_layers(tmp_path):
    for number in range(1, 4):
        save(rained(picture(number)), tmp_path / f"rain-{number:03d}.png")
        save(picture(number), tmp_path / f"norain-{number:03d}.png")
        save(picture(9), tmp_path / f"rainstreak-{number:03d}.png")
        save(picture(9), tmp_path / f"rainregion-{number:03d}.png")
    folder = pairs.read(tmp_path)
    assert folder.layout == "rain100"
    assert_pairs(folder, 3)


@pytest.mark.parametrize("name", ["rain-{}.png", "norain-{}x2.png", "X2/norain-{}x2.png"])
def test_rain100_in_two_folders(tmp_path, name):
    folder = pairs.read(two_folders(tmp_path, "rain", "norain", rainy_name=name, clean_name="norain-{}.png"))
    assert folder.layout == "rain100"
    assert_pairs(folder, 4)


@pytest.mark.parametrize(("layout", "rainy_left"), [("rain800", False), ("did-mdn", True)])
def test_side_by_side_is_told_apart_by_gradients(tmp_path, layout, rainy_left):
    folder = pairs.read(side_by_side(tmp_path, rainy_left))
    assert folder.layout == layout
    assert ("right" in folder.reason) != rainy_left
    assert_pairs(folder, 6)


def test_side_by_side_can_be_named(tmp_path):
    folder = pairs.read(side_by_side(tmp_path, rainy_left=True), layout="rain800")
    assert torch.equal(folder[0].clean, shown(rained(picture(1))))  # as told, though it is wrong


@pytest.mark.parametrize("nested", [True, False])
def test_rain1400_has_many_rainy_to_one_clean(tmp_path, nested):
    for number in (1, 2):
        save(picture(number), tmp_path / ("ground_truth" if nested else "") / f"{number}.png")
        for kind in range(1, 15):
            brighter = np.minimum(rained(picture(number)), 255 - kind)
            save(brighter, tmp_path / ("rainy_image" if nested else "") / f"{number}_{kind}.png")
    folder = pairs.read(tmp_path)
    assert folder.layout == "rain1400"
    assert len(folder) == 28
    assert folder.names[:3] == ["1_1", "1_2", "1_3"]
    assert folder.names[-1] == "2_14"
    for place in (0, 13, 14, 27):
        assert torch.equal(folder[place].clean, shown(picture(1 + place // 14)))


@pytest.mark.parametrize("prefix", ["", "./", "/"])
def test_spa_list(tmp_path, prefix):
    two_folders(tmp_path, "real", "gt", count=3)
    listing = tmp_path / "real_test.txt"
    listing.write_text("".join(f"{prefix}real/{n}.png {prefix}gt/{n}.png\n" for n in (1, 2, 3)) + "\n")
    for place in (listing, tmp_path):
        folder = pairs.read(place)
        assert folder.layout == "spa"
        assert_pairs(folder, 3)


def test_text_files_that_are_no_lists_do_not_matter(tmp_path):
    two_folders(tmp_path)
    (tmp_path / "readme.txt").write_text("rain.png is nice\n")
    (tmp_path / "empty.txt").write_text("")
    assert pairs.read(tmp_path).layout == "folders"


# --- what a PairFolder gives -----------------------------------------------------------------------------------


def test_names_are_in_the_order_of_their_numbers(tmp_path):
    assert pairs.read(two_folders(tmp_path, count=11)).names == [str(number) for number in range(1, 12)]


def test_sequence_by_place_name_and_slice(tmp_path):
    folder = pairs.read(two_folders(tmp_path))
    assert torch.equal(folder["3"].rainy, folder[2].rainy)
    assert torch.equal(folder[-1].clean, folder[3].clean)
    assert folder[1:3].names == ["2", "3"]
    assert folder.sources[0][1:3] == (tmp_path / "rain" / "1.png", tmp_path / "clean" / "1.png")
    assert folder.size(0) == (20, 24)
    with pytest.raises(IndexError):
        folder[4]
    with pytest.raises(DataError, match="no pair is named 'x'; the names are 1, 2, 3 and 1 more"):
        folder["x"]


def test_exif_rotation_counts_for_the_size(tmp_path):
    turned = Image.fromarray(picture(1).transpose(1, 0, 2))
    exif = turned.getexif()
    exif[0x0112] = 6
    (tmp_path / "rain").mkdir()
    turned.save(tmp_path / "rain" / "1.jpg", exif=exif)
    save(picture(1), tmp_path / "clean" / "1.png")
    folder = pairs.read(tmp_path)
    assert folder.size(0) == (20, 24)
    assert folder[0].rainy.shape == folder[0].clean.shape == (1, 3, 20, 24)


# --- splits ----------------------------------------------------------------------------------------------------


def test_split_by_sub_folder_list_file_and_names(tmp_path):
    two_folders(tmp_path / "train", count=3)
    two_folders(tmp_path / "test", count=2)
    assert len(pairs.read(tmp_path, split="train")) == 3
    assert len(pairs.read(tmp_path, split="test")) == 2
    listing = tmp_path / "some.txt"
    listing.write_text("# a comment\n3.png\n\n1\n")
    assert pairs.read(tmp_path / "train", split=listing).names == ["1", "3"]
    assert pairs.read(tmp_path / "train", split=["2.png"]).names == ["2"]


def test_split_leaves_out_what_does_not_fit(tmp_path):
    two_folders(tmp_path)
    (tmp_path / "rain" / "4.png").unlink()
    save(picture(9, (10, 10)), tmp_path / "clean" / "3.png")
    assert pairs.read(tmp_path, split=["1", "2"]).names == ["1", "2"]


def test_split_names_that_are_not_there(tmp_path):
    two_folders(tmp_path)
    with pytest.raises(DataError, match=r"names of the split that are not there: 7, 8, 9 and 1 more"):
        pairs.read(tmp_path, split=["1", "7", "8", "9", "10"])
    with pytest.raises(DataError, match="'nowhere' is neither a sub-folder of it nor a file; found clean/, rain/"):
        pairs.read(tmp_path, split="nowhere")
    with pytest.raises(DataError, match="the split names no file"):
        pairs.read(tmp_path, split=[])


def test_photographs(tmp_path):
    for name in ("a/2.png", "a/10.png", "b/1.JPG"):
        save(picture(1), tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    listed = [path.relative_to(tmp_path).as_posix() for path in pairs.photographs(tmp_path)]
    assert listed == ["a/2.png", "a/10.png", "b/1.JPG"]
    assert pairs.photographs(tmp_path, ["a/10.png"]) == [tmp_path / "a" / "10.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images .*; the folder is empty"):
        pairs.photographs(tmp_path / "empty")


# --- what is wrong ---------------------------------------------------------------------------------------------


def refusal(*args, **options) -> str:
    """The one line that reading is refused with."""
    with pytest.raises(DataError) as caught:
        pairs.read(*args, **options)
    message = str(caught.value)
    assert isinstance(caught.value, DerainError)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_missing_folder_and_unknown_layout(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere")
    message = refusal(two_folders(tmp_path), layout="rain-800")
    assert message == "unknown layout 'rain-800'; known are folders, rain100, rain800, did-mdn, rain1400, spa"
    assert "is a file; pass the folder" in refusal(tmp_path / "rain" / "1.png")


def test_empty_folder(tmp_path):
    assert "no pairs here; looked for images, a list, or sub-folders such as rain/ and clean/" in refusal(tmp_path)
    assert "the folder is empty" in refusal(tmp_path)
    for layout in pairs.LAYOUTS:
        assert "the folder is empty" in refusal(tmp_path, layout=layout)
    for name in ("rain", "clean"):
        (tmp_path / name).mkdir()
    assert f"{tmp_path / 'rain'}: no images" in refusal(tmp_path)


def test_images_one_level_too_deep(tmp_path):
    side_by_side(tmp_path / "training", rainy_left=False)
    assert "images lie in training: pass that folder, or split='training'" in refusal(tmp_path)


def test_one_folder_of_two_is_missing(tmp_path):
    two_folders(tmp_path, "rain", "sauber")
    message = refusal(tmp_path)
    assert "looked for a sub-folder of clean images called clean, norain" in message
    assert "found rain/, sauber/" in message
    assert "read((rainy_folder, clean_folder))" in message


def test_missing_partners_of_both_kinds(tmp_path):
    two_folders(tmp_path, count=9)
    for number in (1, 2):
        (tmp_path / "clean" / f"{number}.png").unlink()
    for number in (3, 4):
        (tmp_path / "rain" / f"{number}.png").unlink()
    message = refusal(tmp_path)
    assert "no partner for: rainy 1.png, rainy 2.png, clean 3.png and 1 more" in message
    assert "add the missing files" in message


def test_missing_partner_rain100(tmp_path):
    for name in ("rain-1.png", "norain-1.png", "norain-2.png", "rain-x.png"):
        save(picture(1), tmp_path / name)
    assert "no partner for: rainy rain-x.png, clean norain-2.png" in refusal(tmp_path)


def test_missing_partner_rain1400(tmp_path):
    for name in ("1.png", "1_1.png", "1_2.png", "1_3.png", "2_1.png", "3.png"):
        save(picture(1), tmp_path / name)
    assert "no partner for: rainy 2_1.png, clean 3.png" in refusal(tmp_path)


def test_different_sizes(tmp_path):
    two_folders(tmp_path)
    save(picture(2, (20, 22)), tmp_path / "clean" / "2.png")
    assert "2 is 24x20 rainy and 22x20 clean; replace the files or leave them out" in refusal(tmp_path)
    late = pairs.read(tmp_path, check=False)
    assert late[0].rainy.shape == (1, 3, 20, 24)
    with pytest.raises(DataError, match="2 is 24x20 rainy and 22x20 clean"):
        late[1]


def test_odd_width(tmp_path):
    side_by_side(tmp_path, rainy_left=False, count=2)
    save(picture(1, (20, 47)), tmp_path / "0.png")
    assert "0 is 47 pixels wide, odd, so it has no two halves" in refusal(tmp_path, layout="rain800")
    assert "0.png cannot be two halves, its width 47 is odd" in refusal(tmp_path)


def test_unreadable_image(tmp_path):
    two_folders(tmp_path)
    (tmp_path / "rain" / "2.png").write_bytes(b"no image at all")
    (tmp_path / "clean" / "3.png").write_bytes(b"")
    message = refusal(tmp_path)
    assert "rain/2.png: text, not an image" in message
    assert "clean/3.png: the file is empty" in message


def test_single_photographs_are_no_pairs(tmp_path):
    for number in range(6):
        save(np.concatenate([picture(number), picture(number + 100)], 1), tmp_path / f"{number}.png")
    message = refusal(tmp_path)
    assert "are not alike" in message
    assert "pairs.photographs()" in message


def test_unclear_halves_are_ambiguous(tmp_path):
    side_by_side(tmp_path / "a", rainy_left=False, count=3)
    side_by_side(tmp_path / "b", rainy_left=True, count=3)
    for number in (1, 2, 3):
        (tmp_path / "b" / f"{number}.png").rename(tmp_path / "a" / f"{number + 3}.png")
    message = refusal(tmp_path / "a")
    assert "ambiguous; two halves a file, but the rainy half is not clear (right in 3 of 6)" in message
    assert "layout='rain800' (rainy right) or layout='did-mdn' (rainy left)" in message


def test_two_candidates_for_a_folder_are_ambiguous(tmp_path):
    two_folders(tmp_path)
    two_folders(tmp_path, "input", "clean")
    assert "ambiguous, input and rain could both be meant" in refusal(tmp_path)


def test_a_list_beside_folders_is_ambiguous(tmp_path):
    two_folders(tmp_path)
    (tmp_path / "all.txt").write_text("rain/1.png clean/1.png\n")
    message = refusal(tmp_path)
    assert "ambiguous, 'spa' (all.txt names two images a line) and 'folders'" in message
    assert len(pairs.read(tmp_path, layout="spa")) == 1
    assert len(pairs.read(tmp_path, layout="folders")) == 4
    (tmp_path / "more.txt").write_text("rain/1.png clean/1.png\n")
    assert "ambiguous, 2 lists of pairs (all.txt, more.txt)" in refusal(tmp_path, layout="spa")


def test_names_of_no_layout(tmp_path):
    message = refusal(two_folders(tmp_path, rainy_name="a{}.png", clean_name="b{}.png"))
    assert "no known layout; rainy images are called a1, a2, a3 and 1 more, clean ones b1, b2, b3 and 1 more" in message


def test_two_clean_images_of_one_name(tmp_path):
    two_folders(tmp_path)
    save(picture(1), tmp_path / "clean" / "1.jpg")
    assert "1.jpg and 1.png are both clean images of 1; remove one" in refusal(tmp_path)
    (tmp_path / "clean" / "1.jpg").rename(tmp_path / "rain" / "1.jpg")
    assert "several files of one name: 1; keep one" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rain/1.png clean/1.png\nrain/2.png\n", "lines that are not two paths: line 2 has 1 words"),
        ("rain/1.png clean/1.png\nrain/9.png clean/1.png\n", "files that do not exist: line 2:"),
        ("", "found an empty file"),
    ],
)
def test_broken_lists(tmp_path, text, complaint):
    two_folders(tmp_path)
    listing = tmp_path / "list.txt"
    listing.write_text(text)
    assert complaint in refusal(listing, layout="spa")


def test_side_by_side_refuses_two_folders(tmp_path):
    two_folders(tmp_path)
    assert "lie in one folder" in refusal((tmp_path / "rain", tmp_path / "clean"), layout="did-mdn")


# --- real sets -------------------------------------------------------------------------------------------------


def test_rain100l(derain_data):
    folder = pairs.read(derain_data / "rain100l")
    assert (len(folder), folder.layout) == (100, "folders")
    pair = folder["rain-001"]
    assert pair.rainy.shape == pair.clean.shape
    assert (pair.rain >= 0).all()  # light rain is added and clipped: nothing is darker


def test_rain800(derain_data):
    folder = pairs.read(derain_data / "rain800", split="training")
    assert (len(folder), folder.layout) == (700, "rain800")
    listed = pairs.read(derain_data / "rain800" / "training", split=derain_data / "splits" / "rain800_train.txt")
    assert len(listed) == 477


def test_clean_sets_are_not_taken_for_pairs(derain_data):
    for folder in ("bsds500/train", "camvid/train/images", "camvid/train", "real", "splits"):
        with pytest.raises(DataError):
            pairs.read(derain_data / folder)
    assert len(pairs.photographs(derain_data / "bsds500", derain_data / "splits" / "bsds500_train.txt")) == 209


# --- lists and names of other systems ----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_as_any_system_saves_them(tmp_path, encoding, form, end):
    """With or without a mark; accents in one sign or two, other than in the files' names."""
    for name in ("rain/caf\u00e9/1.png", "clean/caf\u00e9/1.png", "rain/2.png", "clean/2.png"):
        save(picture(1), tmp_path / name)
    line = unicodedata.normalize(form, "caf\u00e9\\1") + end
    (tmp_path / "list.txt").write_bytes(line.encode(encoding))
    found = pairs.read(tmp_path, split=tmp_path / "list.txt")
    assert found.names == ["caf\u00e9/1"]
    assert found["cafe\u0301/1"].rainy.shape == found["caf\u00e9\\1"].rainy.shape


def test_halves_whose_accents_are_spelt_otherwise_belong_together(tmp_path):
    save(picture(1), tmp_path / "rain/caf\u00e9.png")
    save(picture(1), tmp_path / "clean/cafe\u0301.png")
    assert pairs.read(tmp_path).names == ["caf\u00e9"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_of_pairs_written_on_windows(tmp_path, encoding):
    for name in ("wet/1.png", "dry/1.png"):
        save(picture(1), tmp_path / name)
    (tmp_path / "list.txt").write_bytes("wet\\1.png dry\\1.png\r\n".encode(encoding))
    for place in (tmp_path, tmp_path / "list.txt"):
        found = pairs.read(place)
        assert (found.layout, found.names) == ("spa", ["wet/1"])


def test_a_list_in_another_code_is_refused_in_one_line(tmp_path):
    save(picture(1), tmp_path / "rain/1.png")
    save(picture(1), tmp_path / "clean/1.png")
    (tmp_path / "list.txt").write_bytes("1\ncaf\u00e9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"list\.txt is not UTF-8 text \(line 2\): save the list as UTF-8"):
        pairs.read(tmp_path, split=tmp_path / "list.txt")
