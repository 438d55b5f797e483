"""Files in, tensors out, files out: every format, every bad file, every kind of thing that holds an image."""

import io
import itertools
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from derainlib import images
from derainlib.errors import ImageError
from tests.hostile_files import HOSTILE, PHOTO, chunk, encoded, png

SIXTEEN = np.random.default_rng(2).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
ALPHA = np.random.default_rng(3).integers(0, 65536, (20, 30, 1), dtype=np.uint16)


def channels_last(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy()


def saved(folder: Path, image: Image.Image, name: str, **options) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


# --- reading ----------------------------------------------------------------------------------------------------------


class TestHostile:
    def test_the_table_is_long_enough(self):
        assert len(HOSTILE) >= 40
        assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)

    @pytest.mark.parametrize("hostile", HOSTILE, ids=lambda h: ascii(h.name)[:40])
    def test_one_line_with_path_and_reason(self, hostile, tmp_path, capfd):
        path = tmp_path / hostile.name
        hostile.make(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageError) as caught:
                images.read(path)
        message = str(caught.value)
        assert message.isprintable(), "more than one line"
        shown = str(path) if str(path).isprintable() else ascii(str(path))
        assert message.startswith(f"{shown}: ")
        assert hostile.words in message.removeprefix(f"{shown}: ")
        assert caught.value.__cause__ is None, "a stack of the decoder's"
        assert caught.value.__context__ is None, "a stack of the decoder's"
        assert capfd.readouterr() == ("", "")

    def test_a_limit_is_checked_before_anything_is_decoded(self, tmp_path, monkeypatch):
        path = saved(tmp_path, Image.fromarray(PHOTO), "photo.png")
        monkeypatch.setattr(images, "MAX_PIXELS", 48 * 64 - 1)
        monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
        with pytest.raises(ImageError, match=r"64 x 48 pixels, above the limit"):
            images.read(path)

    @pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
    def test_a_closed_file(self, tmp_path):
        path = saved(tmp_path, Image.fromarray(PHOTO), "photo.png")
        path.chmod(0)
        with pytest.raises(ImageError, match="Permission denied"):
            images.read(path)

    def test_warnings_and_logs_are_as_before_afterwards(self, tmp_path):
        before = list(warnings.filters), logging.getLogger("PIL").level
        with pytest.raises(ImageError):
            images.read(tmp_path / "missing.png")
        assert (list(warnings.filters), logging.getLogger("PIL").level) == before


class TestFormats:
    """What comes out is what another route computes from the same pixels."""

    @pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "ppm", "gif", "jp2"])
    def test_eight_bits_without_loss(self, suffix, tmp_path):
        image = Image.fromarray(PHOTO)
        image = image.quantize(64) if suffix == "gif" else image
        options = {"lossless": True} if suffix == "webp" else {"irreversible": False} if suffix == "jp2" else {}
        found = images.read(saved(tmp_path, image, f"photo.{suffix}", **options))
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        assert np.array_equal(channels_last(found), np.asarray(image.convert("RGB"), np.float32) / 255)

    @pytest.mark.parametrize("suffix", ["jpg", "avif", "webp"])
    def test_eight_bits_with_loss(self, suffix, tmp_path):
        path = saved(tmp_path, Image.fromarray(PHOTO), f"photo.{suffix}")
        assert np.array_equal(channels_last(images.read(path)), np.asarray(Image.open(path)).astype(np.float32) / 255)

    def test_the_content_decides_not_the_ending(self, tmp_path):
        path = tmp_path / "photo.jpg"
        path.write_bytes(encoded("PNG"))
        assert np.array_equal(channels_last(images.read(path)), PHOTO.astype(np.float32) / 255)

    def test_a_path_may_be_text(self, tmp_path):
        path = saved(tmp_path, Image.fromarray(PHOTO), "photo.png")
        assert torch.equal(images.read(str(path)), images.read(path))

    @pytest.mark.parametrize(
        ("suffix", "mode"),
        [
            *itertools.product(["png"], ["1", "L", "LA", "P", "RGB", "RGBA"]),
            *itertools.product(["tif"], ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"]),
            *itertools.product(["jpg"], ["1", "L", "RGB", "CMYK", "YCbCr"]),
        ],
    )
    def test_modes(self, suffix, mode, tmp_path):
        image = Image.fromarray(PHOTO)
        image = image.convert("RGBA").convert(mode) if mode in ("LA", "PA") else image.convert(mode)
        if mode == "RGBA":
            image.putalpha(Image.fromarray(PHOTO[..., 0]))
        path = saved(tmp_path, image, f"photo.{suffix}")
        values = np.asarray(Image.open(path).convert("RGBA"), np.float64) / 255
        colour, alpha = values[..., :3], values[..., 3:]
        assert channels_last(images.read(path)) == pytest.approx(colour * alpha + 1 - alpha, abs=1e-6)

    @pytest.mark.parametrize(("mode", "key", "other"), [("L", 7, 0), ("RGB", (7, 7, 7), (7, 7, 0)), ("1", 255, 0)])
    def test_a_transparent_colour_becomes_white(self, mode, key, other, tmp_path):
        image = Image.new(mode, (20, 20), key)
        image.putpixel((0, 0), other)
        found = images.read(saved(tmp_path, image, "keyed.png", transparency=key))
        assert found[:, 1:].eq(1).all()
        assert found[:, 0, 0].tolist() == (torch.tensor([7, 7, 0] if mode == "RGB" else [0] * 3) / 255).tolist()

    def test_a_palette_with_several_transparencies(self, tmp_path):
        image = Image.fromarray(PHOTO[..., 0] // 100, "P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
        found = images.read(saved(tmp_path, image, "palette.png", transparency=bytes([0, 128, 255])))
        expected = np.array([[1, 1, 1], [1 - 128 / 255, 1, 1 - 128 / 255], [0, 0, 1]])[PHOTO[..., 0] // 100]
        assert channels_last(found) == pytest.approx(expected, abs=1e-6)

    def test_cmyk_jpeg_is_not_inverted(self, tmp_path):
        path = saved(tmp_path, Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "red.jpg", quality=100)
        assert images.read(path).mean((1, 2)).tolist() == pytest.approx([1, 0, 0], abs=0.02)

    @pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
    def test_of_several_pictures_the_first(self, suffix, tmp_path):
        colours = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime", "blue")]
        options = {"lossless": True} if suffix == "webp" else {}
        path = saved(tmp_path, colours[0], f"film.{suffix}", save_all=True, append_images=colours[1:], **options)
        assert images.read(path).mean((1, 2)).tolist() == [1, 0, 0]

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_turns_it_upright(self, suffix, orientation, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = saved(tmp_path, Image.fromarray(PHOTO), f"turned.{suffix}", exif=exif)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(path)), np.float32) / 255
        found = channels_last(images.read(path))
        assert found.shape == ((64, 48, 3) if orientation > 4 else (48, 64, 3))
        assert np.array_equal(found, upright)

    def test_a_big_tiff(self, tmp_path):
        tifffile.imwrite(tmp_path / "photo.tif", PHOTO, bigtiff=True, photometric="rgb")
        assert np.array_equal(channels_last(images.read(tmp_path / "photo.tif")), PHOTO.astype(np.float32) / 255)
        assert images.header(tmp_path / "photo.tif").size == PHOTO.shape[:2]

    def test_a_damaged_exif_block_does_no_harm(self, tmp_path):
        path = saved(tmp_path, Image.fromarray(PHOTO), "photo.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\1")
        assert images.read(path).shape == (3, 48, 64)

    def test_a_damaged_icc_profile_is_ignored(self, tmp_path):
        path = saved(tmp_path, Image.fromarray(PHOTO), "photo.png", icc_profile=b"no profile at all")
        assert np.array_equal(channels_last(images.read(path)), PHOTO.astype(np.float32) / 255)


class TestSixteenBitsAndFloats:
    def expected(self, values, alpha=None):
        values = values / 65535
        return values if alpha is None else values * (alpha / 65535) + 1 - alpha / 65535

    def png(self, folder, values, colour, between=b""):
        rows = values.astype(">u2").view(np.uint8).reshape(len(values), -1)
        path = folder / "sixteen.png"
        path.write_bytes(png(30, 20, 16, colour, np.insert(rows, 0, 0, 1).tobytes(), between))
        return path

    def test_grey_png(self, tmp_path):
        found = images.read(self.png(tmp_path, SIXTEEN[..., :1], 0))
        assert channels_last(found) == pytest.approx(self.expected(SIXTEEN[..., :1].repeat(3, -1)), abs=1e-6)

    def test_colour_png(self, tmp_path):
        found = images.read(self.png(tmp_path, SIXTEEN, 2))
        assert channels_last(found) == pytest.approx(self.expected(SIXTEEN), abs=1e-6)

    def test_colour_and_alpha_png(self, tmp_path):
        found = images.read(self.png(tmp_path, np.concatenate([SIXTEEN, ALPHA], -1), 6))
        assert channels_last(found) == pytest.approx(self.expected(SIXTEEN, ALPHA), abs=1e-6)

    def test_grey_and_alpha_png_keeps_eight_bits(self, tmp_path):
        found = images.read(self.png(tmp_path, np.concatenate([SIXTEEN[..., :1], ALPHA], -1), 4))
        assert channels_last(found) == pytest.approx(self.expected(SIXTEEN[..., :1].repeat(3, -1), ALPHA), abs=0.01)

    @pytest.mark.parametrize("colour", [0, 2])
    def test_a_transparent_colour(self, colour, tmp_path):
        values = SIXTEEN if colour else SIXTEEN[..., :1]
        key = chunk(b"tRNS", values[3, 4].astype(">u2").tobytes())
        found = channels_last(images.read(self.png(tmp_path, values, colour, key)))
        expected = self.expected(values.repeat(3 // values.shape[-1], -1))
        expected[(values == values[3, 4]).all(-1)] = 1
        assert found == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_colour_tiff(self, byteorder, compression, planar, tmp_path):
        values = SIXTEEN if planar == "contig" else np.moveaxis(SIXTEEN, -1, 0)
        options = {"byteorder": byteorder, "compression": compression, "planarconfig": planar}
        tifffile.imwrite(tmp_path / "sixteen.tif", values, photometric="rgb", **options)
        found = channels_last(images.read(tmp_path / "sixteen.tif"))
        assert found == pytest.approx(self.expected(SIXTEEN), abs=1e-6)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("values", [SIXTEEN, SIXTEEN.astype(np.float32) / 65535], ids=["uint16", "float32"])
    def test_turned_tiff(self, orientation, values, tmp_path):
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / "turned.tif", values, photometric="rgb", extratags=tag, metadata=None)
        exif = Image.Exif()
        exif[0x0112] = orientation
        low = io.BytesIO(encoded("PNG", Image.fromarray((SIXTEEN >> 8).astype(np.uint8)), exif=exif))
        upright = np.asarray(ImageOps.exif_transpose(Image.open(low)))
        assert channels_last(images.read(tmp_path / "turned.tif")) == pytest.approx(upright / 255, abs=1 / 128)

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("planes", [1, 3, 4])
    def test_float_tiff(self, dtype, planes, tmp_path):
        values = np.concatenate([SIXTEEN, ALPHA], -1)[..., :planes].squeeze() / 65535
        options = {"photometric": "minisblack" if planes == 1 else "rgb"}
        options |= {"extrasamples": ["unassalpha"]} if planes == 4 else {}
        tifffile.imwrite(tmp_path / "float.tif", values.astype(dtype), **options)
        expected = values[..., None].repeat(3, -1) if planes == 1 else values[..., :3]
        expected = expected if planes < 4 else expected * values[..., 3:] + 1 - values[..., 3:]
        tolerance = 1e-3 if dtype == np.float16 else 1e-6
        assert channels_last(images.read(tmp_path / "float.tif")) == pytest.approx(expected, abs=tolerance)


# --- writing ----------------------------------------------------------------------------------------------------------


class TestWrite:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
    def test_eight_bits_come_back_exactly(self, suffix, tmp_path):
        image = torch.from_numpy(PHOTO).permute(2, 0, 1) / 255
        images.write(image, tmp_path / f"photo{suffix}")
        assert torch.equal(images.read(tmp_path / f"photo{suffix}"), image)

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_sixteen_bits_come_back_exactly(self, suffix, tmp_path):
        image = torch.from_numpy(SIXTEEN.astype(np.float32)).permute(2, 0, 1) / 65535
        images.write(image[None], tmp_path / f"photo{suffix}", bits=16)
        assert torch.equal(images.read(tmp_path / f"photo{suffix}"), image)

    @pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
    def test_with_loss_it_stays_close(self, suffix, tmp_path):
        image = torch.linspace(0, 1, 64).expand(3, 48, 64)
        images.write(image, tmp_path / f"photo{suffix}")
        assert (images.read(tmp_path / f"photo{suffix}") - image).abs().max() < 0.03

    def test_clips_and_rounds_to_the_nearest(self, tmp_path):
        values = [-3.0, 0.0, 0.49 / 255, 0.51 / 255, 100.49 / 255, 100.51 / 255, 1.0, 7.0]
        images.write(torch.tensor(values).expand(3, 2, 8), tmp_path / "steps.png")
        assert np.asarray(Image.open(tmp_path / "steps.png"))[0, :, 0].tolist() == [0, 0, 0, 1, 100, 101, 255, 255]

    def test_replaces_what_is_there(self, tmp_path):
        (tmp_path / "photo.png").write_text("old")
        images.write(torch.rand(3, 8, 8), tmp_path / "photo.png")
        assert images.read(tmp_path / "photo.png").shape == (3, 8, 8)
        assert os.listdir(tmp_path) == ["photo.png"]

    @pytest.mark.parametrize(
        ("name", "bits", "words"),
        [
            ("photo", 8, "ending"),
            ("photo.gif", 8, "ending"),
            ("photo.png", 12, "8 or 16 bits"),
            ("photo.jpg", 16, "only PNG and TIFF"),
            ("missing/photo.png", 8, "no folder"),
            ("taken.png", 8, "a folder; name the file in it"),
            ("file/photo.png", 8, "no folder"),
            ("n" * 300 + ".png", 8, "too long"),
            ("null\0.png", 8, "null"),
        ],
        ids=lambda value: ascii(value)[:20],
    )
    def test_refuses_a_target(self, name, bits, words, tmp_path):
        (tmp_path / "taken.png").mkdir()
        (tmp_path / "file").write_text("")
        with pytest.raises(ImageError, match=words) as caught:
            images.write(torch.rand(3, 8, 8), tmp_path / name, bits)
        assert str(caught.value).isprintable()
        assert sorted(os.listdir(tmp_path)) == ["file", "taken.png"]

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (torch.zeros(3, 8, 8, dtype=torch.uint8), "float"),
            (np.zeros((3, 8, 8)), "float tensor"),
            (torch.rand(8, 8), "shape"),
            (torch.rand(1, 8, 8), "shape"),
            (torch.rand(2, 3, 8, 8), "shape"),
            (torch.rand(3, 0, 8), "shape"),
            (torch.full((3, 8, 8), torch.nan), "NaN"),
        ],
        ids=["uint8", "array", "no channels", "one channel", "two images", "empty", "nan"],
    )
    def test_refuses_what_is_no_image(self, image, words, tmp_path):
        with pytest.raises(ImageError, match=words) as caught:
            images.write(image, tmp_path / "photo.png")
        assert str(tmp_path / "photo.png") in str(caught.value)
        assert os.listdir(tmp_path) == []

    def test_more_pixels_than_the_format_holds(self, tmp_path):
        with pytest.raises(ImageError, match="cannot be written"):
            images.write(torch.zeros(3, 1, 70_000), tmp_path / "wide.jpg")
        assert os.listdir(tmp_path) == []

    def test_a_full_disk_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        images.write(torch.zeros(3, 8, 8), tmp_path / "photo.png")
        monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(ImageError, match=r"photo\.png: cannot be written: No space left"):
            images.write(torch.ones(3, 8, 8), tmp_path / "photo.png")
        assert os.listdir(tmp_path) == ["photo.png"]
        assert images.read(tmp_path / "photo.png").max() == 0


# --- whatever holds an image ------------------------------------------------------------------------------------------

sides = st.integers(16, 40)
unit = st.floats(0, 1, width=16)


@st.composite
def arrays(draw):
    shape = (draw(sides), draw(sides), *draw(st.sampled_from([(), (3,), (4,)])))
    dtype = np.dtype(draw(st.sampled_from(["u1", "<u2", ">u2", "f2", "f4", ">f4", "f8"])))
    return draw(hnp.arrays(dtype, shape, elements=unit if dtype.kind == "f" else None))


@st.composite
def tensors(draw):
    shape = (*draw(st.sampled_from([(), (1,), (2,)])), 3, draw(sides), draw(sides))
    dtype = draw(st.sampled_from([torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64]))
    values = torch.rand(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 1000))))
    return (values * 255).to(dtype) if dtype == torch.uint8 else values.to(dtype)


class TestToTensor:
    @settings(max_examples=60, deadline=None)
    @given(arrays())
    def test_arrays_there_and_back(self, array):
        tensor, back = images.to_tensor(array)
        assert tensor.shape == (1, 3, *array.shape[:2])
        assert tensor.dtype == torch.float32
        assert 0 <= tensor.min() <= tensor.max() <= 1
        found = back(tensor)
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        scale = 1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
        assert np.abs(found.astype(np.float64) - array.astype(np.float64)).max() <= (2e-7 * scale if scale == 1 else 0)

    @settings(max_examples=40, deadline=None)
    @given(tensors())
    def test_tensors_there_and_back(self, image):
        tensor, back = images.to_tensor(image)
        assert tensor.shape == (1, *image.shape)[-4:]
        assert tensor.dtype == torch.float32
        found = back(tensor)
        assert (found.shape, found.dtype) == (image.shape, image.dtype)
        assert (found.double() - image.double()).abs().max() <= 1e-7

    def test_an_array_means_what_the_file_means(self, tmp_path):
        path = saved(tmp_path, Image.fromarray(PHOTO), "photo.png")
        from_path, from_pil, from_array = (images.to_tensor(x)[0] for x in (path, Image.open(path), PHOTO))
        assert torch.equal(from_path, from_pil)
        assert torch.equal(from_path, from_array)

    def test_paths_and_pil_images_give_pil_images(self, tmp_path):
        path = saved(tmp_path, Image.fromarray(PHOTO), "photo.png")
        for image in (path, str(path), Image.open(path)):
            tensor, back = images.to_tensor(image)
            assert np.array_equal(np.asarray(back(tensor)), PHOTO)

    def test_a_pil_image_is_turned_and_its_alpha_kept_apart(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        file = io.BytesIO(encoded("PNG", Image.new("RGBA", (20, 30), (0, 0, 0, 0)), exif=exif))
        tensor, back = images.to_tensor(Image.open(file))
        assert tensor.shape == (1, 3, 20, 30)
        assert tensor.eq(0).all()
        assert back(tensor).getextrema() == ((0, 0),) * 4

    def test_alpha_is_handed_back_and_the_colours_are_not_touched_by_it(self):
        array = np.dstack([PHOTO, PHOTO[..., :1]])
        tensor, back = images.to_tensor(array)
        found = back(torch.zeros_like(tensor))
        assert np.array_equal(channels_last(tensor[0]), PHOTO.astype(np.float32) / 255)
        assert np.array_equal(found[..., 3], PHOTO[..., 0])
        assert found[..., :3].max() == 0

    def test_grey_comes_back_as_the_mean(self):
        tensor, back = images.to_tensor(np.zeros((16, 16), np.uint8))
        tensor[:, 0], tensor[:, 1] = 0.6, 0.3
        assert np.unique(back(tensor)).tolist() == [round(0.3 * 255)]

    def test_whole_numbers_are_clipped_on_the_way_back(self):
        for image in (np.zeros((16, 16, 3), np.uint8), torch.zeros(3, 16, 16, dtype=torch.uint8)):
            _, back = images.to_tensor(image)
            found = np.asarray(back(torch.full((1, 3, 16, 16), 1.7)))
            assert found.min() == found.max() == 255

    def test_the_input_is_left_alone(self):
        array, tensor = PHOTO.astype(np.float32) / 255, torch.rand(3, 16, 16)
        before = array.copy(), tensor.clone()
        for image in (array, tensor):
            found, back = images.to_tensor(image)
            back(found)
        assert np.array_equal(array, before[0])
        assert torch.equal(tensor, before[1])

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (None, "NoneType"),
            (3.5, "float"),
            ([[1, 2]], "list"),
            (np.zeros((16, 16, 2), np.uint8), r"\(16, 16, 2\)"),
            (np.zeros((3, 16, 20), np.uint8), "colours last"),
            (np.zeros((1, 16, 16, 3), np.uint8), r"\(1, 16, 16, 3\)"),
            (np.zeros((0, 16, 3), np.uint8), r"\(0, 16, 3\)"),
            (np.zeros(16, np.uint8), r"\(16,\)"),
            (np.zeros((16, 16, 3), np.int64), "int64"),
            (np.zeros((16, 16, 3), bool), "bool"),
            (np.full((16, 16, 3), 200.0), "divide by 255"),
            (np.full((16, 16, 3), -0.5), r"\[0, 1\]"),
            (np.full((16, 16, 3), np.nan), "NaN"),
            (np.zeros((15, 16, 3), np.uint8), "16 x 15 pixels"),
            (torch.zeros(16, 16), r"\(16, 16\)"),
            (torch.zeros(1, 16, 16), r"\(1, 16, 16\)"),
            (torch.zeros(16, 20, 3), "colours first"),
            (torch.zeros(0, 3, 16, 16), r"\(0, 3, 16, 16\)"),
            (torch.zeros(3, 16, 16, dtype=torch.int64), "int64"),
            (torch.full((3, 16, 16), 255.0), "divide by 255"),
            (torch.full((3, 16, 16), torch.inf), "infinite"),
            (torch.zeros(3, 16, 8), "8 x 16 pixels"),
            (Image.new("RGB", (20, 8)), "20 x 8 pixels"),
            (Image.new("I", (20, 20)), "PIL image of mode I: 32-bit"),
            (Image.open(io.BytesIO(encoded("PNG")[:500])), "PIL image of mode RGB: damaged"),
        ],
        ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:20],
    )
    def test_refuses(self, image, words):
        with pytest.raises(ImageError, match=words) as caught:
            images.to_tensor(image)
        assert str(caught.value).isprintable()

    def test_a_small_file_is_named(self, tmp_path):
        path = saved(tmp_path, Image.new("RGB", (8, 20)), "small.png")
        with pytest.raises(ImageError, match=r"small\.png: 8 x 20 pixels; at least 16 x 16"):
            images.to_tensor(path)
