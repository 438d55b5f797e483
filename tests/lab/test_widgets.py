"""Demonstrations: pictures follow controls, a filmstrip stays, and no exception is lost."""

import base64
import io
import json
import re
import threading

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from derainlib import images
from derainlib.errors import DerainError, ImageError
from derainlib.lab import widgets
from derainlib.lab.pieces import MOST, PIECE, Pieces
from derainlib.lab.widgets import choice, demo, slider, switch


def shade(level: float) -> torch.Tensor:
    return torch.full((3, 16, 16), float(level))


def level(data: bytes) -> float:
    """The shade of a picture."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float).mean() / 255


def move(control: ipywidgets.Widget, value) -> None:
    """What the kernel does when the browser moves a control."""
    control.set_state({"value": value})


def test_picture_follows_the_control():
    live = demo(shade, level=slider(0.0, 1.0, 0.2, step=0.2))
    assert level(live.picture) == pytest.approx(0.2)
    move(live.controls["level"], 0.8)
    assert level(live.picture) == pytest.approx(0.8)


def test_controls_stand_where_they_were_after_trying():
    live = demo(
        lambda level, name, invert: shade(level),
        level=slider(0.0, 1.0, 0.4, step=0.2),
        name=choice({"first": 1, "second": 2}, value=2),
        invert=switch(True),
    )
    assert live.values == {"level": 0.4, "name": 2, "invert": True}
    assert level(live.picture) == pytest.approx(0.4)


def test_text_is_stable_and_page_has_a_picture():
    live = demo(
        lambda level, name, on: shade(level),
        level=slider(0.0, 1.0, 0.5, step=0.1),
        name=choice("ab"),
        on=switch(),
    )
    data = live._repr_mimebundle_()
    assert data["text/plain"] == "Demo(level: 0 … 1; name: a, b; on: off, on)"
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert "application/vnd.jupyter.widget-view+json" in data


def test_filmstrip_shows_the_values_asked_for():
    live = demo(shade, film={"level": [0.0, 1.0]}, level=slider(0.0, 1.0, 0.5, step=0.1))
    strip = np.asarray(live.strip.convert("L"), dtype=float) / 255
    assert strip.shape == (36, 40)
    assert strip[28, 8] == pytest.approx(0, abs=0.02)
    assert strip[28, 32] == pytest.approx(1, abs=0.02)


def test_every_control_is_tried():
    seen = []

    def note(a, b, c):
        seen.append((a, b, c))
        return shade(0)

    demo(note, a=slider(0, 4, 2), b=choice(["x", "y"]), c=switch())
    assert {a for a, _, _ in seen} == {0, 1, 2, 3, 4}
    assert {b for _, b, _ in seen} == {"x", "y"}
    assert {c for _, _, c in seen} == {False, True}
    assert len(seen) == len(set(seen)) == 7  # nothing is drawn twice


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_exception_in_a_callback_reaches_the_cell(name):
    first = {"a": 2, "b": "x", "c": False}

    def fails(**values):
        if values[name] != first[name]:
            raise RuntimeError("broken")
        return shade(0)

    with pytest.raises(RuntimeError, match="broken"):
        demo(fails, a=slider(0, 4, 2), b=choice(["x", "y"]), c=switch())


def test_exception_in_a_live_session_is_shown_and_goes_away():
    def fails_at_three(level):
        if level == 3:
            raise ValueError("too <much> rain")
        return shade(level / 10)

    live = demo(fails_at_three, film={"level": [0, 5]}, level=slider(0, 5, 1))
    with pytest.raises(ValueError, match="too <much> rain"):
        move(live.controls["level"], 3)
    assert live._message.value == "<b>ValueError:</b> too &lt;much&gt; rain"
    move(live.controls["level"], 4)
    assert live._message.value == ""
    assert level(live.picture) == pytest.approx(0.4, abs=0.01)


def test_function_runs_in_inference_mode_on_any_thread():
    modes = []

    def note(level):
        modes.append((torch.is_inference_mode_enabled(), torch.is_grad_enabled()))
        return shade(level)

    live = demo(note, film={"level": [0.0, 1.0]}, level=slider(0.0, 1.0, 0.5, step=0.1))
    other = threading.Thread(target=move, args=(live.controls["level"], 0.7))
    other.start()
    other.join()
    assert modes == [(True, False)] * 4
    assert level(live.picture) == pytest.approx(0.7, abs=0.01)


def test_gradients_where_asked_for():
    def slope(level):
        x = torch.full((3, 16, 16), level, requires_grad=True)
        (x**2).sum().backward()
        return x.grad / 2

    live = demo(slope, gradients=True, level=slider(0.0, 1.0, 0.6, step=0.2))
    assert level(live.picture) == pytest.approx(0.6)
    with pytest.raises(RuntimeError):
        demo(slope, level=slider(0.0, 1.0, 0.6, step=0.2))


def test_threads_draw_one_after_the_other():
    inside, most = [], []

    def slow(level):
        inside.append(level)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.remove(level)
        return shade(level / 100)

    live = demo(slow, film={"level": [0, 100]}, level=slider(0, 100, 50))
    threads = [threading.Thread(target=move, args=(live.controls["level"], value)) for value in range(10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "without controls"),
        ({"film": "other", "level": slider(0, 1, 0)}, "'other' is not among level"),
        ({"level": slider(1, 1, 1)}, "nothing moves level"),
        ({"level": choice(["only"])}, "nothing moves level"),
        ({"level": ipywidgets.Text("x")}, "Text has no known positions"),
    ],
)
def test_useless_demonstration_is_refused(options, message):
    with pytest.raises(DerainError, match=message):
        demo(lambda level: shade(0), **options)


def test_slider_is_whole_only_where_everything_is():
    assert isinstance(slider(0, 4, 2), ipywidgets.IntSlider)
    assert isinstance(slider(0, 4, 2, step=0.5), ipywidgets.FloatSlider)


def test_slider_over_values_that_are_far_apart():
    live = demo(shade, level=widgets.stops([0.0, 0.1, 1.0], label="λ"))
    assert repr(live) == "Demo(level: 0, 0.1, 1)"
    live.controls["level"].set_state({"index": 2})
    assert level(live.picture) == 1
    assert live.controls["level"].description == "λ"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rain.png", "rain.png"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\notes.txt", "notes.txt"),
        ("..", "photograph"),
        ("", "photograph"),
        ("a\0b:c.jpg", "a_b_c.jpg"),
        ("x" * 300 + ".jpg", "x" * 96 + ".jpg"),
        ("雨" * 300 + ".jpg", "雨" * 82 + ".jpg"),  # a name has at most 255 bytes
        ("two\nlines\ud800.png", "two_lines_.png"),
    ],
)
def test_uploaded_file_stays_in_its_folder(name, expected):
    assert widgets._safe(name) == expected
    seen = []
    live = widgets.upload(lambda image: seen.append(image) or image, example=shade(0.4))
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), (255, 255, 255)).save(buffer, format="PNG")
    send(live.controls["photograph"], buffer.getvalue(), name)
    assert seen[-1].mean() == 1


def test_picture_of_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    """A small file can promise a huge picture."""
    monkeypatch.setattr(images, "MAX_PIXELS", 400)
    live = widgets.upload(lambda image: image, example=torch.zeros(3, 16, 16))
    buffer = io.BytesIO()
    Image.new("L", (30, 20)).save(buffer, format="PNG")
    with pytest.raises(ImageError, match="30 x 20 pixels, above the limit"):
        send(live.controls["photograph"], buffer.getvalue())
    assert "above the limit" in live._message.value


def test_upload_has_a_limit_of_its_own_and_does_not_tell_where_it_lay(monkeypatch):
    """What may be read from one's own disk may be too much for a kernel that is served to others."""
    live = widgets.upload(lambda image: image, example=torch.zeros(3, 16, 16))
    buffer = io.BytesIO()
    Image.new("L", (30, 20)).save(buffer, format="PNG")
    monkeypatch.setattr(widgets, "PIXELS", 400)
    monkeypatch.setattr(images, "read", lambda path: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=r"^mine\.png: 30 x 20 pixels, above the 0\.0004 megapixels"):
        send(live.controls["photograph"], buffer.getvalue())


def test_two_readers_do_not_share_a_photograph():
    """Each has a kernel; and within one, two demonstrations keep theirs apart."""
    mine, yours = (widgets.upload(lambda image: image, example=shade(0.4)) for _ in range(2))
    buffer = io.BytesIO()
    Image.new("RGB", (20, 30), (255, 255, 255)).save(buffer, format="PNG")
    send(mine.controls["photograph"], buffer.getvalue())
    assert level(mine.picture) == 1
    assert level(yours.picture) == pytest.approx(0.4, abs=0.01)


def test_before_after_holds_both_pictures():
    live = widgets.before_after(shade(0.0), shade(1.0), ("rainy", "<dry>"), save_as="dry.png")
    data = live._repr_mimebundle_()
    assert data["text/plain"] == "Curtain(rainy | <dry>)"
    for page in (data["text/html"], live._box.children[0].value):
        shown = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([^"]+)"', page)
        assert [name for _, name in shown] == ["rainy", "&lt;dry&gt;"]
        assert [level(base64.b64decode(content)) for content, _ in shown] == pytest.approx([0, 1], abs=0.01)
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("L"))
    assert (strip[28, 8], strip[28, 32]) == (0, 255)
    assert 'download="dry.png"' in live._box.children[1].value
    with pytest.raises(DerainError, match="versions of one photograph"):
        widgets.before_after(shade(0), torch.zeros(3, 8, 8))


def test_zoomed_holds_all_pictures():
    live = widgets.zoomed(shade(0.0), shade(0.5), shade(1.0), names=("rainy", "<dry>", "truth"))
    data = live._repr_mimebundle_()
    assert data["text/plain"] == "Zoomed(rainy | <dry> | truth)"
    for page in (data["text/html"], live._box.children[0].value):
        shown = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([^"]+)"', page)
        assert [name for _, name in shown] == ["rainy", "&lt;dry&gt;", "truth"]
        assert [level(base64.b64decode(content)) for content, _ in shown] == pytest.approx([0, 0.5, 1], abs=0.01)
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == (64, 36)
    assert repr(widgets.zoomed(shade(0), shade(1))) == "Zoomed(rainy | derained)"
    for wrong, message in (([shade(0)] * 4, "4 images and 3 names"), ([shade(0), torch.zeros(3, 8, 8)], "versions")):
        with pytest.raises(DerainError, match=message):
            widgets.zoomed(*wrong)


def test_stored_curtain_is_small():
    wide = torch.rand(3, 60, 1800)
    page = widgets.before_after(wide, wide)._repr_mimebundle_()["text/html"]
    (content, *_) = re.findall(r"base64,([^\"]+)", page)
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (900, 30)


def test_download_holds_the_image():
    link = widgets.download(shade(0.6), "dry.png").value
    data = base64.b64decode(link.split("base64,")[1].split('"')[0])
    assert level(data) == pytest.approx(0.6)
    assert 'download="dry.png"' in link
    with pytest.raises(DerainError, match=r"\.png or \.jpg"):
        widgets.download(shade(0.6), "dry.exe")


def send(control: Pieces, content: bytes, name: str = "mine.png", piece: int = 100, size: int | None = None) -> None:
    """What the page does when a file was chosen."""
    for at in range(0, len(content), piece):
        data = base64.b64encode(content[at : at + piece]).decode()
        told = {"run": 7, "name": name, "size": size or len(content), "at": at, "data": data}
        move(control._wire, json.dumps(told))


def test_upload_takes_the_example_then_the_readers_photograph():
    live = widgets.upload(lambda image: image / 2, example=shade(0.4))
    assert repr(live) == "Demo(photograph: a file)"
    assert level(live.picture) == pytest.approx(0.2, abs=0.01)
    buffer = io.BytesIO()
    Image.new("RGB", (20, 30), (255, 255, 255)).save(buffer, format="PNG")
    assert len(buffer.getvalue()) > 20
    send(live.controls["photograph"], buffer.getvalue(), piece=20)
    assert level(live.picture) == pytest.approx(0.5, abs=0.01)


def test_upload_has_further_controls():
    live = widgets.upload(lambda image, share: share * image, shade(0.5), share=widgets.slider(0.0, 1.0, 1.0, 0.5))
    before = live.picture
    live.controls["share"].value = 0.5
    assert list(live.controls) == ["photograph", "share"]
    assert live.picture != before


def test_upload_says_what_is_wrong_with_a_file():
    live = widgets.upload(lambda image: image, example=shade(0.4))
    with pytest.raises(ImageError):
        send(live.controls["photograph"], b"no image", "../../notes.txt")
    assert "ImageError" in live._message.value
    assert "notes.txt" in live._message.value


def test_pieces_make_a_file():
    control = Pieces("yours")
    send(control, bytes(range(10)), "a <b>", piece=4)
    assert control.value == ("a <b>", bytearray(range(10)))
    assert 'data-taken="7 10">a &lt;b&gt;: 0.0 of 0.0 MB' in control._told.value
    assert not control._wire.trait_metadata("value", "echo_update")


def test_pieces_that_do_not_belong_together_make_none():
    control = Pieces("yours")
    first, second = ({"name": "a", "size": 4, "data": "AAA=", "run": run} for run in (1, 2))
    for piece in (second | {"at": 2}, first | {"at": 0}, second | {"at": 2}, first | {"at": 3}):
        move(control._wire, json.dumps(piece))
        assert control.value is None
    send(control, b"1234", size=MOST + 1)
    assert control.value is None
    assert len(control._content) == 2  # of the first


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        "[" * 100_000,
        "[]",
        "{}",
        {"data": "no base 64!"},
        {"data": 5},
        {"name": 5},
        {"run": "' onclick='"},
        {"size": "9"},
        {"size": True},
        {"at": -1},
        {"at": None},
        {"size": 2},
        {"size": MOST + 1},
        {"data": base64.b64encode(bytes(PIECE + 1)).decode(), "size": MOST},
        {"name": "n" * 2 * PIECE},
    ],
    ids=lambda message: str(message)[:20],
)
def test_message_that_the_page_cannot_have_sent_does_nothing(message):
    """Whoever a widget is served to may send anything."""
    control = Pieces("yours")
    told = {"run": 7, "name": "a", "size": 9, "at": 0, "data": "AAAA"}
    move(control._wire, message if isinstance(message, str) else json.dumps(told | message))
    assert (control.value, len(control._content), control._told.value) == (None, 0, "")


def test_pieces_never_outgrow_what_was_announced():
    control = Pieces("yours")
    send(control, b"1234")
    chosen = control.value
    for size, at in ((4, 4), (8, 4), (8, 0), (12, 4)):  # after the last; of another size; a new file, and another size
        told = {"run": 7, "name": "mine.png", "size": size, "at": at, "data": "AAAAAA=="}
        move(control._wire, json.dumps(told))
        assert control.value is chosen
        assert chosen.content == b"1234"
    assert len(control._content) == 4


def test_name_of_a_file_comes_in_one_line():
    control = Pieces("yours")
    send(control, b"1234", "<b>\n\ud800" + "n" * 1000)
    assert control._told.value.isprintable()
    assert len(control.value.name) == 255


def test_box_of_widgets_is_answered_at_once():
    control = Pieces("yours")
    widgets.at_once(control)
    assert control._wire.comm._reply_subshell_for({}, "a subshell") == "a subshell"


def test_live_curve_draws_at_most_once_a_second(monkeypatch):
    now, drawn = [0.0], []
    monkeypatch.setattr(widgets.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(widgets, "display", lambda figure, display_id: drawn.append(figure) or Handle(drawn))
    curve = widgets.LiveCurve(("loss",))
    for step in range(10):
        now[0] = step * 0.3
        curve({"step": step, "loss": 1 / (step + 1)})
    assert len(drawn) == 3  # at 0.0, 1.2 and 2.4 s
    curve({"step": 10, "psnr": 30.0})
    curve.finish()
    (line,) = drawn[-1].axes[0].lines
    assert line.get_xdata().tolist() == list(range(10))
    assert {repr(figure) for figure in drawn} == {"Picture(loss over steps)"}


class Handle:
    """Stands in for the handle of a displayed output."""

    def __init__(self, drawn: list):
        self.update = drawn.append
