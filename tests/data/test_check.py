"""`check` finds each kind of fault where we put it, once, and nothing where there is none."""

import os

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from derainlib import cli, images
from derainlib.data import check, holdout, samples
from derainlib.errors import DataError
from tests import small_data
from tests.hostile_files import HOSTILE


def street(seed: int, size=(72, 96)) -> np.ndarray:
    return images.to_bytes(samples.street(size, seed)[0][0]).permute(1, 2, 0).numpy().copy()


def put(pixels: np.ndarray, path, **options):
    Image.fromarray(pixels.astype(np.uint8)).save(small_data.made(path), **options)


@pytest.fixture
def paired(tmp_path):
    """Four good pairs."""
    for number in range(4):
        clean = street(number)
        put(clean, tmp_path / "set/clean" / f"{number}.png")
        put(np.minimum(clean + 20.0 * (np.arange(96) % 9 == 0)[:, None], 255), tmp_path / "set/rain" / f"{number}.png")
    return tmp_path / "set"


@pytest.fixture
def streets(tmp_path):
    """Two splits of two labelled streets each."""
    for number in range(4):
        image, labels = samples.street((72, 96), number)
        split = tmp_path / "streets" / ("train", "test")[number // 2]
        images.write(image, small_data.made(split / f"images/{number}.png"))
        put(labels[0].numpy(), split / f"labels/{number}.png")
    return tmp_path / "streets"


def found(folder, **options) -> list[tuple[str, str]]:
    """Kind and text of each finding, without the path of the folder."""
    report = check.check(folder, **options)
    assert str(report).count("\n") == len(report.findings)
    return [(kind, what.replace(f"{folder}{os.sep}", "")) for kind, what in report.findings]


def one(folder, kind: str, **options) -> str:
    """The text of the only finding, which is of this kind."""
    ((only, what),) = found(folder, **options)
    assert only == kind
    return what


class TestPairs:
    def test_clean(self, paired):
        report = check.check(paired, patch=72)
        assert report.findings == ()
        assert str(report) == f"{paired}: 4 pairs as folders, 8 files, compared with 5 kept for tests: nothing found"

    def test_sizes(self, paired):
        put(street(1)[:, :-2], paired / "rain/1.png")
        assert one(paired, "sizes") == "rain/1.png: 1 is 94x72 rainy and 96x72 clean"

    @pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
    def test_mode(self, paired, mode):
        path = paired / ("rain/2.tif" if mode == "CMYK" else "rain/2.png")
        picture = Image.open(paired / "rain/2.png").convert(mode)
        (paired / "rain/2.png").unlink()
        picture.save(path)
        assert one(paired, "mode") == f"rain/{path.name}: {mode}, not RGB"

    def test_double_whatever_the_format(self, paired):
        put(street(3), paired / "clean/0.bmp")
        (paired / "clean/0.png").unlink()
        assert one(paired, "double") == "the same picture 2 times: clean/0.bmp, clean/3.png"

    def test_small(self, paired):
        for half in ("rain", "clean"):
            put(np.asarray(Image.open(paired / half / "3.png"))[:40], paired / half / "3.png")
        assert one(paired, "small", patch=48) == "clean/3.png: 96x40 pixels, the patch is 48x48"
        assert found(paired, patch=40) == []

    @pytest.mark.parametrize(("left", "lonely"), [("rain", "rainy 2.png"), ("clean", "clean 2.png")])
    def test_alone(self, paired, left, lonely):
        (paired / ("clean" if left == "rain" else "rain") / "2.png").unlink()
        assert one(paired, "alone").endswith(f"set: no partner for {lonely}")

    def test_damaged(self, paired):
        whole = (paired / "rain/1.png").read_bytes()
        (paired / "rain/1.png").write_bytes(whole[: len(whole) // 2])
        assert "rain/1.png: damaged" in one(paired, "damaged")

    def test_a_name_twice(self, paired):
        put(street(1) // 2, paired / "rain/1.bmp")
        assert "several files of one name: 1" in one(paired, "folder")

    def test_a_half_is_missing(self, paired):
        (paired / "clean").rename(paired / "dry")
        assert "looked for a sub-folder of clean images" in one(paired, "folder")

    def test_leak_of_scikit_image_is_found_without_data(self, paired):
        for half in ("clean", "rain"):
            put(np.fliplr(data.chelsea())[::2, ::2] // (1 if half == "clean" else 2), paired / half / "cat.png")
        assert one(paired, "leak") == "clean/cat.png: shows chelsea of skimage, kept for tests (mirrored)"

    def test_kinds_that_are_not_read(self, paired):
        for name in ("rain/5.jxl", "rain/6.JXL", "clean/5.dng"):
            (paired / name).write_bytes(b"rain")
        assert [(kind, what.split(": ")[1]) for kind, what in found(paired)] == [
            ("left out", "1 .dng"),
            ("left out", "2 .jxl"),
        ]

    def test_frames(self, paired):
        first, second = (Image.open(paired / f"rain/{number}.png").convert("RGB") for number in (0, 1))
        (paired / "rain/0.png").unlink()
        first.save(paired / "rain/0.tif", save_all=True, append_images=[second])
        assert one(paired, "frames") == "rain/0.tif: 2 pictures"

    def test_pictures_that_pillow_alone_does_not_know(self, paired):
        """Colour in floats is read by tifffile: its pairs are found, and their sizes are compared."""
        values = np.asarray(Image.open(paired / "rain/0.png"), np.float32) / 255
        (paired / "rain/0.png").unlink()
        tifffile.imwrite(paired / "rain/0.tif", values, photometric="rgb")
        assert found(paired) == []
        tifffile.imwrite(paired / "rain/0.tif", values[1:], photometric="rgb")
        assert one(paired, "sizes") == "rain/0.tif: 0 is 96x71 rainy and 96x72 clean"

    def test_a_heic_photo_without_its_reader_is_named(self, paired):
        (paired / "rain/5.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
        assert "pillow-heif" in next(what for kind, what in found(paired) if kind == "damaged")

    def test_hostile_files(self, paired):
        """Every file of another kind ends as one line; none stops the check."""
        names = [
            h.name for h in HOSTILE if not {"/", "\0"} & set(h.name) and len(h.name) < 200 and h.name != "folder.png"
        ]
        for hostile in HOSTILE:
            if hostile.name in names:
                hostile.make(paired / "rain" / hostile.name)
        there = [name for name in names if os.path.lexists(paired / "rain" / name)]
        expected = sum(name.lower().endswith(images.READABLE) for name in there)
        assert expected > 50
        report = check.check(paired)
        assert sum(kind == "damaged" for kind, _ in report.findings) == expected
        lines = str(report).splitlines()
        assert len(lines) == len(report.findings) + 1
        assert all(line.isprintable() for line in lines)
        assert any("two\\nlines.png" in line for line in lines)


class TestHalves:
    @pytest.fixture
    def halves(self, tmp_path):
        """Three files, left clean, right rainy."""
        for number in range(3):
            clean = street(number)
            rainy = np.minimum(clean + 90.0 * (np.arange(96) % 5 == 0)[:, None], 255)
            put(np.concatenate([clean, rainy], 1), tmp_path / "set" / f"{number}.png")
        return tmp_path / "set"

    def test_clean_and_small(self, halves):
        assert found(halves, patch=72) == []
        assert "3 pairs as rain800" in str(check.check(halves))
        assert len(found(halves, patch=73)) == 3

    def test_a_damaged_file_hides_no_layout(self, halves):
        (halves / "1.png").write_bytes(b"rain")
        report = check.check(halves)
        assert [kind for kind, _ in report.findings] == ["damaged"]
        assert "pairs as rain800" in str(report)

    def test_leak_in_the_clean_half(self, halves):
        coffee = data.coffee()
        put(np.concatenate([coffee, 255 - coffee], 1), halves / "cup.png")
        assert one(halves, "leak").startswith("cup.png: shows coffee of skimage")


class TestPhotographs:
    @pytest.fixture
    def photographs(self, tmp_path):
        for number in range(3):
            put(street(number, (64, 65)), tmp_path / "photos" / f"{number}.jpg", quality=95)
        return tmp_path / "photos"

    def test_clean(self, photographs):
        report = check.check(photographs)
        assert report.findings == ()
        assert "3 photographs, compared" in str(report)

    def test_digits_of_other_kinds_in_a_name(self, photographs):
        (photographs / "1.jpg").rename(photographs / "1²3.jpg")
        assert found(photographs) == []

    def test_hold_out_by_name_and_size(self, photographs):
        for name, size in (("100099", (481, 321)), ("8068", (321, 481)), ("103006", (320, 240))):
            put(street(int(name), size), photographs / f"{name}.jpg")
        assert [what.split(":")[0] for kind, what in found(photographs) if kind == "leak"] == ["8068.jpg", "100099.jpg"]

    def test_data_says_what_is_kept(self, photographs, tmp_path):
        kept = small_data.write(tmp_path / "data")
        for name in (
            "bsds500/train/0.png",
            "bsds500/train/1.png",
            "urban100/0.png",
        ):  # lists leave out the first of all
            put(np.asarray(Image.open(kept / name)), photographs / name)
        put(np.asarray(Image.open(kept / "rain800/training/2.png"))[:, :80], photographs / "clean half.png")
        leaks = found(photographs, kept=kept)
        assert {kind for kind, _ in leaks} == {"leak"}
        assert [what.split(", ")[0] for _, what in leaks] == [
            "bsds500/train/0.png: shows 0 of bsds500",
            "clean half.png: shows 2 of rain800",
            "urban100/0.png: shows 0 of urban100",
        ]

    def test_closed_folder(self, photographs, monkeypatch):
        def refuse(path, scandir=os.scandir):
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", str(path))  # root, as whom tests run, may open any
            return scandir(path)

        (photographs / "closed").mkdir()
        monkeypatch.setattr(os, "scandir", refuse)
        assert one(photographs, "folder") == "closed: Permission denied"


class TestStreets:
    def test_clean(self, streets):
        report = check.check(streets)
        assert report.findings == ()
        assert "4 labelled streets" in str(report)

    def test_faults(self, streets):
        put(np.full((72, 96), 99), streets / "train/labels/0.png")
        put(np.zeros((72, 90)), streets / "train/labels/1.png")
        (streets / "test/labels/3.png").unlink()
        put(street(0), streets / "test/images/2.png")
        assert [(kind, what.split(":")[0]) for kind, what in found(streets)] == [
            ("alone", "test"),
            ("sizes", "train/images/1.png"),
            ("labels", "train/labels/0.png"),
            ("double", "the same picture 2 times"),
        ]


def test_kept_needs_something_to_keep(tmp_path):
    with pytest.raises(DataError, match="nothing that is kept"):
        holdout.kept(tmp_path)


class TestCommand:
    def test_status_and_lines(self, paired, capsys):
        assert cli.main(["check", str(paired), "--scale", "tiny"]) == 0
        out, err = capsys.readouterr()
        assert out.endswith("nothing found\n")
        assert err == ""
        (paired / "rain/a\nb.png").write_bytes(b"rain")
        assert cli.main(["check", str(paired), "--scale", "tiny"]) == 1
        out, _ = capsys.readouterr()
        assert [line.split(":")[0] for line in out.splitlines()[:-1]] == ["damaged", "alone"]
        assert out.endswith("2 found (1 damaged, 1 alone)\n")

    def test_the_recipes_patch(self, paired, capsys):
        assert cli.main(["check", str(paired), "--recipe", "brn", "--scale", "full"]) == 1
        assert "the patch is 100x100" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("words", "reason"),
        [
            ("nowhere", "is not a folder"),
            (".", "no images"),
            (". --recipe nosuch", "nosuch"),
            (". --sets-dir .", "kept"),
        ],
    )
    def test_mistakes(self, tmp_path, monkeypatch, capsys, words, reason):
        monkeypatch.chdir(tmp_path)
        assert cli.main(["check", *words.split()]) == 2
        _, err = capsys.readouterr()
        assert reason in err
        assert err.count("\n") == 1
