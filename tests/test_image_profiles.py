"""What a photograph has besides its numbers: colour profile, EXIF, alpha; from the source into the result."""

import io
import sys
import warnings

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps

from derainlib import image_profiles, images
from derainlib.errors import ImageError
from tests import icc
from tests.hostile_files import PHOTO

RAMP = np.stack(np.meshgrid(*[np.linspace(110, 190, 24, dtype=np.uint8)] * 2), -1)
MUTED = np.dstack([RAMP, RAMP[::-1, :, 0] // 2 + 80])
"""Colours that sRGB has too."""
TURNED, DATE, GPS = 6, "2024:05:17 08:30:00", {1: "N", 2: (48.0, 8.0, 14.5), 3: "E", 4: (11.0, 34.0, 31.5)}


def floats(image: torch.Tensor) -> np.ndarray:
    return image.squeeze(0).permute(1, 2, 0).numpy()


def exif() -> Image.Exif:
    made = Image.Exif()
    made[0x0112], made[271], made[272], made[306], made[282] = TURNED, "Maker", "Model", DATE, 300.0
    made[0x8769] = {0x9003: DATE, 0xA001: 65535, 0xA002: 64, 0xA003: 48}
    made[0x8825] = GPS
    return made


def put(folder, name, values=PHOTO, mode=None, **options):
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(folder / name, **options)
    return folder / name


def there_and_back(source, target, bits=8, keep=False):
    image, extras = images.photograph(source)
    return images.write(image, target, bits, extras, keep)


# --- colour profiles --------------------------------------------------------------------------------------------------


class TestIntoSRGB:
    @pytest.mark.parametrize("profile", [icc.P3, icc.ADOBE], ids=["P3", "Adobe"])
    @pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
    def test_eight_bits(self, profile, suffix, tmp_path):
        options = {"lossless": True} if suffix == "webp" else {}
        path = put(tmp_path, f"wide.{suffix}", icc_profile=profile, **options)
        expected = icc.by_hand(Image.open(path), profile)
        assert np.array_equal(floats(images.read(path)), expected.astype(np.float32) / 255)
        assert np.abs(expected.astype(int) - np.asarray(Image.open(path))).max() > 20, "the profile says something"
        assert torch.equal(images.to_tensor(Image.open(path))[0][0], images.read(path))

    @pytest.mark.parametrize("profile", [icc.P3, icc.ADOBE, icc.LIKE_SRGB], ids=["P3", "Adobe", "sRGB"])
    def test_deep_colour_keeps_its_depth(self, profile, tmp_path):
        fine = np.linspace(20_000, 21_000, 24 * 24).round().astype(np.uint16).reshape(24, 24, 1).repeat(3, -1)
        tifffile.imwrite(tmp_path / "fine.tif", fine, photometric="rgb", iccprofile=profile)
        found = floats(images.read(tmp_path / "fine.tif"))
        coarse = icc.by_hand(Image.fromarray((fine / 257).round().astype(np.uint8)), profile) / 255
        assert np.abs(found - coarse).max() < 1.6 / 255
        assert len(np.unique(found[..., 1])) > 500, "eight bits have five steps there"

    @pytest.mark.parametrize("profile", [icc.P3, icc.ADOBE], ids=["P3", "Adobe"])
    def test_floats_and_bytes_agree(self, profile):
        exact = image_profiles.convert(MUTED.astype(np.float32) / 255, profile, image_profiles.srgb())
        assert np.abs(exact * 255 - icc.by_hand(Image.fromarray(MUTED), profile)).max() < 0.6

    @pytest.mark.parametrize("mode", ["L", "LA"])
    def test_grey(self, mode, tmp_path):
        path = put(tmp_path, "grey.png", PHOTO, mode, icc_profile=icc.GREY)
        expected = icc.by_hand(Image.open(path).convert("L"), icc.GREY)
        assert np.array_equal(floats(images.read(path)), expected.astype(np.float32) / 255)
        assert np.abs(expected[..., 0].astype(int) - np.asarray(Image.open(path).convert("L"))).max() > 5

    def test_deep_grey(self):
        deep = image_profiles.convert(RAMP[..., 0].astype(np.uint16) * 257, icc.GREY, image_profiles.srgb())
        assert deep.dtype == np.uint16
        assert np.abs(deep / 257 - icc.by_hand(Image.fromarray(RAMP[..., 0]), icc.GREY)).max() < 0.6

    @pytest.mark.parametrize("suffix", ["jpg", "tif"])
    def test_inks(self, suffix, tmp_path):
        path = put(tmp_path, f"inks.{suffix}", PHOTO, "CMYK", icc_profile=icc.CMYK)
        expected = icc.by_hand(Image.open(path), icc.CMYK)
        assert np.array_equal(floats(images.read(path)), expected.astype(np.float32) / 255)

    def test_a_profile_of_srgb_changes_nothing(self, tmp_path):
        for profile in (icc.LIKE_SRGB, image_profiles.srgb()):
            path = put(tmp_path, "same.png", icc_profile=profile)
            assert np.array_equal(floats(images.read(path)), PHOTO.astype(np.float32) / 255)
            assert there_and_back(path, tmp_path / "out.png") == ""
            assert Image.open(tmp_path / "out.png").info["icc_profile"] == profile

    @pytest.mark.parametrize(
        ("profile", "mode", "words"),
        [
            (b"no profile at all", None, "damaged"),
            (icc.P3[:150], None, "damaged"),
            (icc.P3[:128] + b"\xff" * 200, None, "damaged"),
            (icc.CMYK, None, "CMYK colours, which the picture has not"),
            (icc.GREY, None, "GRAY colours, which the picture has not"),
            (icc.P3, "CMYK", "RGB colours, which the picture has not"),
            (icc.P3.replace(b"RGB ", b"HSV "), None, "HSV colours"),
        ],
        ids=lambda value: str(value)[:12],
    )
    def test_a_useless_profile_is_ignored_with_one_line(self, profile, mode, words, tmp_path, capfd):
        plain, path = put(tmp_path, "plain.tif", mode=mode), put(tmp_path, "bad.tif", mode=mode, icc_profile=profile)
        with warnings.catch_warnings(action="error"):
            assert torch.equal(images.read(path), images.read(plain))
            line = there_and_back(path, tmp_path / "out.png", keep=True)
        assert line.startswith(str(tmp_path / "out.png"))
        assert words in line
        assert line.isprintable()
        assert "icc_profile" not in Image.open(tmp_path / "out.png").info
        assert capfd.readouterr() == ("", "")

    def test_random_profiles_never_crash(self, tmp_path):
        random = np.random.default_rng(0)
        for base in (icc.P3, icc.ADOBE, icc.GREY):
            for _ in range(30):
                data = bytearray(base)
                for at in random.integers(0, len(data), 8):
                    data[at] = random.integers(256)
                values = (PHOTO if base != icc.GREY else PHOTO[..., 0]).astype(np.float32) / 255
                for pixels in (values, (values * 255).astype(np.uint8)):
                    try:
                        found = image_profiles.convert(pixels, bytes(data), image_profiles.srgb())
                    except ImageError:
                        continue
                    assert np.isfinite(found).all()
                    assert found.shape == PHOTO.shape


class TestProfileOfTheResult:
    @pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
    def test_srgb_by_default(self, suffix, tmp_path):
        assert there_and_back(put(tmp_path, "wide.png", icc_profile=icc.P3), tmp_path / f"out.{suffix}") == ""
        held = ImageCms.ImageCmsProfile(io.BytesIO(Image.open(tmp_path / f"out.{suffix}").info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(held)

    def test_nothing_is_embedded_for_a_source_without(self, tmp_path):
        assert there_and_back(put(tmp_path, "plain.png"), tmp_path / "out.png", keep=True) == ""
        assert "icc_profile" not in Image.open(tmp_path / "out.png").info

    @pytest.mark.parametrize("profile", [icc.P3, icc.ADOBE], ids=["P3", "Adobe"])
    @pytest.mark.parametrize(("suffix", "bits"), [("png", 8), ("tif", 8), ("png", 16), ("tif", 16)])
    def test_there_and_back(self, profile, suffix, bits, tmp_path):
        path = put(tmp_path, "wide.png", MUTED, icc_profile=profile)
        assert there_and_back(path, tmp_path / f"out.{suffix}", bits, keep=True) == ""
        out = tifffile.imread(tmp_path / "out.tif") if suffix == "tif" else np.asarray(Image.open(tmp_path / "out.png"))
        levels = out / 257 if out.dtype == np.uint16 else out.astype(float)
        assert np.abs(levels - MUTED).max() <= 2
        assert images.photograph(tmp_path / f"out.{suffix}")[1].profile == profile
        assert torch.allclose(images.read(tmp_path / f"out.{suffix}"), images.read(path), atol=2 / 255)

    def test_what_cannot_be_embedded_is_said(self, tmp_path):
        grey = put(tmp_path, "grey.png", PHOTO, "L", icc_profile=icc.GREY)
        assert "GRAY colour profile cannot be embedded" in there_and_back(grey, tmp_path / "out.png", keep=True)
        assert there_and_back(grey, tmp_path / "out.png") == ""
        wide = put(tmp_path, "wide.png", icc_profile=icc.P3)
        assert "profile cannot be embedded" in there_and_back(wide, tmp_path / "out.bmp", keep=True)
        assert there_and_back(wide, tmp_path / "out.bmp") == ""

    def test_the_same_bytes_each_time(self):
        first = image_profiles.srgb()
        image_profiles.srgb.cache_clear()
        assert image_profiles.srgb() == first


# --- EXIF -------------------------------------------------------------------------------------------------------------


class TestExif:
    @pytest.mark.parametrize("source", ["jpg", "png", "webp", "tif"])
    @pytest.mark.parametrize(
        ("target", "bits"), [("jpg", 8), ("png", 8), ("webp", 8), ("tif", 8), ("png", 16), ("tif", 16)]
    )
    def test_date_place_and_camera_are_kept_and_it_is_turned_once(self, source, target, bits, tmp_path):
        path, out = put(tmp_path, f"photo.{source}", exif=exif().tobytes()), tmp_path / f"out.{target}"
        assert there_and_back(path, out, bits) == ""
        found = Image.open(out).getexif()
        assert (found[271], found[272], found[306]) == ("Maker", "Model", DATE)
        assert found.get_ifd(0x8769)[0x9003] == DATE
        assert {tag: found.get_ifd(0x8825)[tag] for tag in GPS} == GPS
        assert not {0xA001, 0xA002, 0xA003} & found.get_ifd(0x8769).keys()
        assert found.get(0x0112, 1) == 1
        upright = ImageOps.exif_transpose(Image.open(path))
        assert Image.open(out).size == upright.size == (48, 64)
        if target in ("png", "tif"):
            assert np.array_equal((floats(images.read(out)) * 255).round(), np.asarray(upright))

    def test_what_cannot_hold_it_says_so(self, tmp_path):
        line = there_and_back(put(tmp_path, "photo.jpg", exif=exif().tobytes()), tmp_path / "out.bmp")
        assert line.startswith(f"{tmp_path / 'out.bmp'}: ")
        assert "EXIF (date, place, camera): left out" in line

    def test_too_much_for_a_jpeg(self, tmp_path):
        much = exif()
        much[270] = "rain " * 20_000
        path = put(tmp_path, "photo.png", exif=much.tobytes())
        assert "left out" in there_and_back(path, tmp_path / "out.jpg")
        assert there_and_back(path, tmp_path / "out.webp") == ""

    def test_what_cannot_be_kept_leaves_the_orientation(self, tmp_path, monkeypatch):
        path = put(tmp_path, "photo.jpg", exif=exif().tobytes())
        monkeypatch.setattr(Image.Exif, "get_ifd", lambda *args: 1 / 0)
        assert (
            there_and_back(path, tmp_path / "out.png")
            == f"{tmp_path / 'out.png'}: the source's EXIF is damaged: left out"
        )
        assert Image.open(tmp_path / "out.png").size == (48, 64)

    def test_only_an_orientation_leaves_nothing(self, tmp_path):
        only = Image.Exif()
        only[0x0112] = TURNED
        assert there_and_back(put(tmp_path, "photo.jpg", exif=only), tmp_path / "out.bmp") == ""

    def test_a_tiff_that_pillow_cannot_read(self, tmp_path):
        values = PHOTO.astype(np.float32) / 255
        tifffile.imwrite(tmp_path / "float.tif", values, photometric="rgb", datetime="2024:05:17 08:30:00")
        assert "EXIF is not read" in there_and_back(tmp_path / "float.tif", tmp_path / "out.png")

    def test_derained_paths_and_pil_images_have_it(self, tmp_path):
        path = put(tmp_path, "photo.jpg", exif=exif().tobytes())
        for image in (path, Image.open(path)):
            tensor, back = images.to_tensor(image)
            assert back(tensor).getexif()[306] == DATE
            assert back(tensor).getexif().get(0x0112, 1) == 1


# --- alpha ------------------------------------------------------------------------------------------------------------

WITH_ALPHA = np.dstack([PHOTO, PHOTO[::-1, :, 0]])


class TestAlpha:
    @pytest.mark.parametrize("target", ["png", "tif"])
    @pytest.mark.parametrize("bits", [8, 16])
    def test_kept(self, target, bits, tmp_path):
        path, out = put(tmp_path, "clear.png", WITH_ALPHA, exif=exif().tobytes()), tmp_path / f"out.{target}"
        assert there_and_back(path, out, bits) == ""
        upright = np.rot90(WITH_ALPHA, -1).astype(np.float32) / 255
        found, extras = images.photograph(out)
        assert floats(found) == pytest.approx(upright[..., :3], abs=1e-6)
        assert extras.alpha[0].numpy() == pytest.approx(upright[..., 3], abs=1e-6)

    def test_webp_keeps_it(self, tmp_path):
        assert there_and_back(put(tmp_path, "clear.png", WITH_ALPHA), tmp_path / "out.webp") == ""
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out.webp"))[..., 3], WITH_ALPHA[..., 3])

    def test_lost_is_laid_over_white_and_said(self, tmp_path):
        path = put(tmp_path, "clear.png", WITH_ALPHA)
        assert "laid over white" in there_and_back(path, tmp_path / "out.bmp")
        assert torch.allclose(images.read(tmp_path / "out.bmp"), images.read(path), atol=0.51 / 255)

    def test_opaque_is_no_loss(self, tmp_path):
        opaque = np.dstack([PHOTO, np.full((48, 64), 255, np.uint8)])
        assert there_and_back(put(tmp_path, "opaque.png", opaque), tmp_path / "out.jpg") == ""

    def test_pil_images_have_it_again(self, tmp_path):
        for image in (Image.fromarray(WITH_ALPHA), put(tmp_path, "clear.png", WITH_ALPHA)):
            tensor, back = images.to_tensor(image)
            assert np.array_equal(np.asarray(back(tensor)), WITH_ALPHA)


# --- formats of phones and cameras ------------------------------------------------------------------------------------


class TestHeic:
    def test_the_extra_is_named_where_it_is_missing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        (tmp_path / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
        with pytest.raises(ImageError, match=r"phone\.jpg: a HEIC photo; `pip install 'derainlib\[heif\]'`") as caught:
            images.read(tmp_path / "phone.jpg")
        assert str(caught.value).isprintable()

    def test_read_turned_once_with_profile_exif_and_alpha(self, tmp_path):
        pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
        image = pillow_heif.from_pillow(Image.fromarray(np.kron(WITH_ALPHA[:20, :24], np.ones((8, 8, 1), np.uint8))))
        image.save(tmp_path / "phone.heic", quality=-1, exif=exif().tobytes(), icc_profile=icc.P3)
        found, extras = images.photograph(tmp_path / "phone.heic")
        expected = np.rot90(icc.by_hand(Image.fromarray(PHOTO[:20, :24]), icc.P3), -1)
        centres = floats(found)[4::8, 4::8] * 255
        assert centres.shape == expected.shape
        assert np.abs(centres - expected).mean() < 3
        assert extras.alpha.shape == (1, 192, 160)
        assert extras.profile == icc.P3
        assert there_and_back(tmp_path / "phone.heic", tmp_path / "out.png") == ""
        held = Image.open(tmp_path / "out.png").getexif()
        assert (held[306], held.get(0x0112, 1)) == (DATE, 1)
