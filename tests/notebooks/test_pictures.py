"""A wrong picture is seen; another font, a letter aside, a coarser JPEG and rounding are forgiven."""

import base64
import io

import matplotlib
import numpy as np
import pytest
import skimage
from PIL import Image, ImageEnhance, ImageFilter

from derainlib.lab import figures
from tests.notebooks import pictures

STEPS = np.linspace(0, 10, 200)
HEIGHTS = np.array([3, 5, 4.2, 1, 2.7])


def curves(sign=1, offset=0.0, width=1.5, count=3) -> bytes:
    """Damped waves; what is asked for happens to the first."""
    picture, ax = figures.canvas(1, 1, (5, 3))
    for number in range(count):
        wave = np.exp(-STEPS / 3) * np.sin(STEPS + number)
        ax.plot(STEPS, wave if number else sign * wave + offset, lw=width, label=f"curve {number}")
    ax.legend()
    ax.set(xlabel="step of 1000", ylabel="learning rate", title="What a network learns")
    return drawn(picture)


def panels(order=(0, 1, 2), gain=1.0) -> bytes:
    scenes = [skimage.data.astronaut()[:400, :400], skimage.data.coffee()[:, :400], skimage.data.chelsea()]
    scenes = [np.clip(scenes[i] / 255 * gain, 0, 1) for i in order]
    return drawn(figures.show(scenes, ["rainy, 23.1 dB", "clean", "derained"], width=2.5))


def maps(palette="viridis", sign=1, noise=0.0) -> bytes:
    random = np.random.default_rng(0)
    values = skimage.filters.gaussian(random.normal(size=(60, 80)), 4)
    values = values / np.abs(values).max() + noise * random.normal(size=values.shape)
    picture, axes = figures.canvas(1, 2, (7, 3))
    figures.heat(axes[0], np.abs(values), "loss", "1", limit=1)
    figures.heat(axes[1], sign * values, "gradient", "1", signed=True, limit=1)
    axes[0].images[0].set_cmap(palette)
    return drawn(picture)


def bars(heights=HEIGHTS) -> bytes:
    picture, ax = figures.canvas(1, 1, (6, 3))
    ax.barh(range(len(heights)), heights)
    ax.set(yticks=range(len(heights)), yticklabels=[f"menet, row {i}" for i in range(len(heights))], xlabel="PSNR (dB)")
    return drawn(picture)


def drawn(picture: figures.Picture) -> bytes:
    file = io.BytesIO()
    picture.savefig(file, format="png")
    return file.getvalue()


def photograph(change=lambda image: image, quality=95, subsampling=0) -> bytes:
    file, image = io.BytesIO(), Image.fromarray(skimage.data.astronaut()).resize((900, 900))
    change(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def moved(image: Image.Image, right: int) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, 0), fillcolor="white")


def grainy(image: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(scale=3, size=(*image.size, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def styled(draw, **settings) -> bytes:
    """A picture drawn with other settings of Matplotlib."""
    with matplotlib.rc_context({name.replace("__", "."): value for name, value in settings.items()}):
        return draw()


FORGIVEN = {
    "nothing": lambda: (curves(), curves()),
    "a font": lambda: (curves(), styled(curves, font__family="DejaVu Serif")),
    "the font of titles": lambda: (panels(), styled(panels, font__family="DejaVu Serif")),
    "the font of a map": lambda: (maps(), styled(maps, font__family="DejaVu Serif")),
    "another release's letters": lambda: (curves(), styled(curves, text__hinting="none")),
    "no anti-aliasing": lambda: (curves(), styled(curves, text__antialiased=False, lines__antialiased=False)),
    "a label that stands higher": lambda: (curves(), styled(curves, axes__labelpad=5, axes__titlepad=7)),
    "a line a tenth wider": lambda: (curves(), curves(width=1.65)),
    "a bar half a per cent longer": lambda: (bars(), bars(HEIGHTS * 1.005)),
    "one per cent of noise in a map": lambda: (maps(), maps(noise=0.01)),
    "a coarser JPEG": lambda: (photograph(), photograph(quality=88)),
    "a JPEG with fewer colours": lambda: (photograph(), photograph(quality=88, subsampling=2)),
    "some grain": lambda: (photograph(), photograph(grainy)),
    "another size": lambda: (curves(), photograph(lambda image: opened(curves()).resize((450, 270)))),
    "a pixel": lambda: (photograph(), photograph(lambda image: moved(image, 1))),
}

SEEN = {
    "a wrong sign in a curve": lambda: (curves(), curves(sign=-1)),
    "a wrong sign of the only curve": lambda: (curves(count=1), curves(-1, count=1)),
    "a curve a little higher": lambda: (curves(), curves(offset=0.1)),
    "a lost curve": lambda: (curves(), curves(count=2)),
    "exchanged panels": lambda: (panels(), panels((1, 0, 2))),
    "exchanged bars": lambda: (bars(), bars(HEIGHTS[::-1])),
    "one longer bar": lambda: (bars(), bars(HEIGHTS * [1, 1, 1, 1.3, 1])),
    "another colour map": lambda: (maps(), maps("magma")),
    "a similar colour map": lambda: (maps(), maps("cividis")),
    "a wrong sign in a map": lambda: (maps(), maps(sign=-1)),
    "brighter panels": lambda: (panels(), panels(gain=1.05)),
    "a brighter photograph": lambda: (photograph(), photograph(lambda i: ImageEnhance.Brightness(i).enhance(1.05))),
    "a paler photograph": lambda: (photograph(), photograph(lambda image: ImageEnhance.Color(image).enhance(0.8))),
    "a blurred photograph": lambda: (photograph(), photograph(lambda i: i.filter(ImageFilter.GaussianBlur(4)))),
    "a photograph aside": lambda: (photograph(), photograph(lambda image: moved(image, 12))),
    "other proportions": lambda: (photograph(), photograph(lambda image: image.resize((880, 900)))),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGIVEN.values(), ids=FORGIVEN)
def test_what_another_machine_draws_is_forgiven(case):
    assert pictures.difference(*case()) == ""


@pytest.mark.parametrize("case", SEEN.values(), ids=SEEN)
def test_wrong_picture_is_seen(case):
    stored, fresh = case()
    assert pictures.difference(stored, fresh)
    assert pictures.difference(fresh, stored)


def test_lost_picture_is_seen():
    assert pictures.compare([curves()], []) == "0 were drawn, 1 are stored"


def test_each_picture_is_compared_with_its_own():
    problem = pictures.compare([curves(), bars()], [curves(), bars(HEIGHTS[::-1])])
    assert problem.startswith("picture 2: a part differs by ")


def message(kind: str, data: bytes, place: str | None = None) -> dict:
    shown = {"data": {"image/png": pictures.base64.b64encode(data).decode()}}
    header = {"msg_id": str(len(data))}
    return {
        "msg_type": kind,
        "header": header,
        "content": shown | {"transient": {"display_id": place} if place else {}},
    }


def test_picture_that_is_drawn_again_counts_as_it_was_last():
    """As `LiveCurve` draws while a network trains, and as a notebook stores it."""
    seen = pictures.Seen()
    for one in (message("display_data", b"first", "curve"), message("execute_result", b"still")):
        assert seen.note(one) is one
    seen.note(message("update_display_data", b"last of all", "curve"))
    seen.note({"msg_type": "stream", "content": {"text": "done"}})
    assert list(seen.pictures.values()) == [[b"last of all"], [b"still"]]


def test_pictures_within_a_page_are_found():
    page = f'<b>rainy</b> <img src="data:image/png;base64,{base64.b64encode(b"one").decode()}"> <img src="else.png">'
    output = {"data": {"text/html": page, "image/jpeg": base64.b64encode(b"strip").decode()}}
    assert pictures.pictures(output) == [b"strip", b"one"]
