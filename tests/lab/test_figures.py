"""Figures: small, labelled, of one look, drawn without pyplot."""

import base64
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from derainlib.data import samples
from derainlib.errors import DerainError
from derainlib.lab import figures


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((3, 4, 5), (4, 5, 3)),
        ((1, 3, 4, 5), (4, 5, 3)),
        ((1, 4, 5), (4, 5)),
        ((1, 1, 4, 5), (4, 5)),
        ((4, 5), (4, 5)),
        ((4, 5, 3), (4, 5, 3)),
    ],
)
def test_pixels_have_the_shape_that_is_drawn(shape, result):
    assert figures.pixels(torch.zeros(shape)).shape == result


@pytest.mark.parametrize("shape", [(5,), (2, 4, 5), (2, 3, 4, 5)])
def test_pixels_refuse_what_is_no_image(shape):
    with pytest.raises(DerainError, match="cannot be shown"):
        figures.pixels(torch.zeros(shape))


def test_pixels_keep_channels_and_clamp():
    image = torch.zeros(3, 1, 2)
    image[0, 0, 1], image[1, 0, 0] = 2.0, -1.0
    np.testing.assert_array_equal(figures.pixels(image), [[[0, 0, 0], [1, 0, 0]]])
    np.testing.assert_allclose(figures.pixels(np.array([[51, 255]], np.uint8)), [[0.2, 1.0]])


def test_png_of_an_image_has_its_pixels():
    image = torch.rand(3, 7, 9)
    back = np.asarray(opened(figures.png(image)), dtype=np.float32) / 255
    np.testing.assert_allclose(back, image.permute(1, 2, 0), atol=0.5 / 255 + 1e-6)


def test_png_bytes_are_left_as_they_are():
    data = figures.png(torch.zeros(3, 8, 8))
    assert figures.png(data) is data


def psnr(data: bytes, truth: Image.Image) -> float:
    """Of a file, against what was to be stored."""
    off = np.asarray(opened(data).convert("RGB"), dtype=float) - np.asarray(truth, dtype=float)
    return 10 * np.log10(255**2 / np.square(off).mean())


def drawing(figure: figures.Picture) -> Image.Image:
    """A figure as pixels; drawn once, since Matplotlib's layout settles only in the second drawing."""
    return opened(figures.png(figure)).convert("RGB")


def held(picture) -> tuple[str, bytes]:
    """What a notebook stores: MIME type and file."""
    ((kind, text),) = figures.stored(picture).items()
    return kind, base64.b64decode(text)


@pytest.mark.parametrize("kind", ["light", "heavy"])
def test_photograph_is_stored_as_jpeg_and_keeps_its_colours(kind):
    photograph = samples.load(f"chelsea-{kind}").rainy
    drawn = drawing(figures.show({"rainy": photograph}, width=photograph.shape[-1] / 100))
    mime, data = held(drawn)
    assert mime == "image/jpeg"
    assert len(data) < len(figures.png(drawn)) / 2
    assert opened(data).layer[0][1:3] == opened(data).layer[1][1:3] == (1, 1)  # 4:4:4: brightness and colour alike
    assert psnr(data, drawn) >= 38
    assert len(np.unique(np.asarray(opened(data)).reshape(-1, 3), axis=0)) > 10_000


def test_photograph_beside_a_curve_keeps_both():
    _, (left, right) = figures.canvas(1, 2, size=(6.4, 2.6))
    figures.place(left, samples.load("chelsea-light").rainy)
    drawn = drawing(figures.lines({"rain": (range(9), range(9))}, "step", "rain (mm)", ax=right))
    mime, data = held(drawn)
    assert mime == "image/jpeg"
    assert psnr(data, drawn) >= 38


def test_graph_is_stored_as_png_and_looks_the_same():
    drawn = drawing(figures.lines({"a": (range(9), range(9)), "b": (range(9), [4] * 9)}, "step", "PSNR (dB)"))
    mime, data = held(drawn)
    assert mime == "image/png"
    assert len(data) < len(figures.png(drawn)) / 2
    assert psnr(data, drawn) >= 42
    assert opened(data).convert("RGB").getpixel((0, 0)) == (255, 255, 255)  # paper stays white


def test_picture_is_no_wider_than_a_page():
    wide = figures.lines({"a": (range(9), range(9))}, "step", "PSNR (dB)", size=(14, 2))
    mime, data = held(wide)
    assert (mime, opened(data).width) == ("image/png", figures.WIDEST)
    wide = opened(figures.jpeg(torch.rand(3, 10, 1800)))
    assert wide.size == (figures.WIDEST, 5)
    assert opened(figures.jpeg(torch.rand(3, 7, 40))).size == (40, 7)


def test_same_figure_gives_same_bytes():
    first, second = (figures.png(figures.show(torch.ones(3, 20, 20) / 2, ["grey"])) for _ in range(2))
    assert first == second


def test_place_shows_image_and_title_without_ticks():
    _, ax = figures.canvas()
    figures.place(ax, torch.full((1, 1, 4, 5), 0.25), "a quarter")
    (shown,) = ax.images
    assert (ax.get_title(), ax.axison, shown.get_clim()) == ("a quarter", False, (0, 1))
    np.testing.assert_array_equal(shown.get_array(), np.full((4, 5), 0.25))


def test_images_are_placed_into_the_first_axes():
    _, axes = figures.canvas(1, 3)
    figures.place_each(axes, {"one": torch.zeros(1, 4, 5), "other": torch.ones(3, 4, 5)})
    assert [(ax.get_title(), len(ax.images)) for ax in axes] == [("one", 1), ("other", 1), ("", 0)]


def test_show_accepts_mapping_batch_and_list():
    image = torch.zeros(3, 8, 8)
    assert repr(figures.show({"one": image, "two": image})) == "Picture(one | two)"
    assert len(figures.show(torch.zeros(5, 3, 8, 8)).axes) == 5
    assert len(figures.show([image] * 3, ["a", "b", "c"], columns=2).axes) == 4
    with pytest.raises(DerainError, match="1 titles for 2 images"):
        figures.show([image, image], ["one"])


def test_grid_names_rows_and_columns():
    image = torch.zeros(1, 8, 8)
    figure = figures.grid({"SRN": [image, image], "BRN": [image, image]}, ["t = 1", "t = 6"])
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == ["SRN", "BRN"]
    assert [ax.get_title() for ax in figure.axes[:2]] == ["t = 1", "t = 6"]
    with pytest.raises(DerainError, match="same number in every row"):
        figures.grid({"SRN": [image, image], "BRN": [image]})


@pytest.mark.parametrize(("signed", "limits"), [(True, (-3, 3)), (False, (0, 3))])
def test_heat_has_a_labelled_bar_and_symmetric_colours(signed, limits):
    figure, ax = figures.canvas()
    figures.heat(ax, torch.tensor([[-3.0, 1.0]]), "error", "difference (dB)", signed)
    assert ax.images[0].get_clim() == limits
    assert figure.axes[1].get_ylabel() == "difference (dB)"


def test_lines_are_labelled():
    figure = figures.lines({"a": ([1, 2], [3, 4]), "b": ([1, 2], [4, 3])}, "step", "PSNR (dB)")
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "PSNR (dB)")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_a_single_point_is_seen():
    (ax,) = figures.lines({"one": ([5], [3.0]), "two": ([5, 6], [3.0, 4.0])}, "step", "PSNR (dB)").axes
    assert [line.get_marker() for line in ax.lines] == ["o", ""]


def test_differences_stand_where_they_are():
    found = {
        "first": {"mean": 0.5, "low": 0.2, "high": 1.0, "by_seed": [0.25, 0.75]},
        "second": {"mean": -1.0, "low": -2.0, "high": -0.5},
    }
    _, ax = figures.canvas()
    figures.differences(ax, found, "PSNR (dB)")
    bars = [container.lines[2][0].get_segments()[0].tolist() for container in ax.containers]
    assert bars == [[[0.2, 0], [1.0, 0]], [[-2.0, 1], [-0.5, 1]]]
    dots = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "."]
    assert dots == [[[0.25, 0.25], [0.75, 0.25]], []]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["first", "second"]
    assert ax.get_ylim() == (1.5, -0.5)  # the first row on top
    assert ax.get_xlabel() == "PSNR (dB)"


def test_filmstrip_holds_every_frame_under_its_caption():
    colours = [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)]
    frames = [figures.png(torch.tensor(colour)[:, None, None].expand(3, 40, 40)) for colour in colours]
    strip = np.asarray(figures.filmstrip(frames, ["r", "g", "b"]))
    assert strip.shape == (60, 136, 3)
    for number, colour in enumerate(colours):
        np.testing.assert_allclose(strip[40, 20 + 48 * number] / 255, colour, atol=0.02)


def test_figure_shows_itself_without_pyplot():
    code = (
        "import sys; from derainlib.lab import figures; f = figures.show({'grey': [[0.5] * 8] * 8});"
        "print(sorted(f._repr_mimebundle_())); import matplotlib._pylab_helpers as h; print(len(h.Gcf.figs))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == ["['image/png', 'text/plain']", "0"]
