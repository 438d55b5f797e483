"""Live demonstrations: one mechanism for every widget of every notebook.

A control changes → a pure function of the controls' values draws a picture → its PNG bytes become the value
of an image widget. Nothing is printed and nothing is captured, so no exception is swallowed on the way; it
works on whichever thread JupyterLab runs the callback, hence while a cell trains (`at_once`; a page that cannot do
that says so); and the text form of a demonstration does not change from run to run.

Creating a demonstration moves each control through that very path and back again: a broken callback stops the
cell that creates it, in a notebook that is only executed as in one that is used. The pictures seen on the way
become the filmstrip that a page without a kernel shows.

    demo(draw, angle=slider(-60, 60, 10, step=5, label="angle (°)"), style=choice(["light", "heavy"]))
"""

import base64
import html
import io
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath

import ipywidgets
import numpy as np
import torch
from IPython import get_ipython
from IPython.display import display
from PIL import Image
from torch import Tensor

from derainlib.errors import DerainError, ImageError
from derainlib.lab import figures
from derainlib.lab.curtain import LIVE, Curtain
from derainlib.lab.greeting import WAITS, Greeting
from derainlib.lab.pieces import File, Pieces
from derainlib.lab.zoom import Zoomed

_CHOSEN = (ipywidgets.Dropdown, ipywidgets.SelectionSlider)
_WIDE = (ipywidgets.IntSlider, ipywidgets.FloatSlider, ipywidgets.SelectionSlider, ipywidgets.Text)
PIXELS = 50_000_000
"""Pixels of an uploaded photograph at most: with 2 GB of memory, a kernel that is served to others survives it."""
_REMEMBERED = 64  # pictures that a demonstration keeps, so that moving back costs nothing
_QUICK = 0.15  # seconds; a picture drawn faster follows the mouse, a slower one waits for its release


def slider(low: float, high: float, value: float, step: float = 1, label: str = "") -> ipywidgets.Widget:
    """A slider from `low` to `high`; over whole numbers if `low`, `high`, `value` and `step` all are.

    Args:
        low, high: the ends, both included.
        value: where it stands at first.
        step: between two positions.
        label: its name for the reader, with the unit; the name of the argument where left out.
    """
    whole = all(isinstance(number, int) for number in (low, high, value, step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(value=value, min=low, max=high, step=step, description=label)


def choice(options: Sequence | Mapping[str, object], value=None, label: str = "") -> ipywidgets.Dropdown:
    """A list to choose from; a mapping leads from what the reader sees to what the function gets."""
    values = list(options.values() if isinstance(options, Mapping) else options)
    return ipywidgets.Dropdown(options=options, value=values[0] if value is None else value, description=label)


def switch(value: bool = False, label: str = "") -> ipywidgets.Checkbox:
    """A box to tick."""
    return ipywidgets.Checkbox(value=value, description=label, indent=False)


def stops(values: Sequence[float], value: float | None = None, label: str = "") -> ipywidgets.SelectionSlider:
    """A slider over these values alone, however far apart they are."""
    shown = [(f"{each:g}", each) for each in values]
    first = values[0] if value is None else value
    return ipywidgets.SelectionSlider(options=shown, value=first, description=label)


def words(value: str, label: str = "") -> ipywidgets.Text:
    """A line to write on; Enter, or leaving it, hands it over."""
    return ipywidgets.Text(value, description=label, continuous_update=False)


def at_once(*widgets: ipywidgets.Widget) -> None:
    """Let the kernel answer what a reader does to these widgets while a cell runs, from the first move on.

    JupyterLab sends it to a thread of its own, a subshell. But ipykernel (7.4) passes it on to the thread that last
    wrote to the widget: at first that is the one which made it, and which runs the cell. From here on the browser
    decides.

    Args:
        widgets: those that a reader moves, presses or fills, or boxes of them; `Demo` has done it for its controls.
    """
    for widget in widgets:
        at_once(*getattr(widget, "children", ()))
        widget.comm._reply_subshell_for = lambda data, asked: asked


class Demo:
    """A picture that follows its controls, and that leaves a filmstrip where no kernel runs.

    Args:
        function: called with the value of each control by name; returns a figure, a Pillow image, an image
            tensor, or PNG bytes. It must be pure, the same values give the same picture: whatever is random
            comes from a generator that the function itself seeds.
        controls: by argument name: made by `slider`, `choice`, `switch`, or any ipywidget with a `value`.
        film: the control whose values the filmstrip shows (the first one where left out), or a mapping from
            its name to the values.
        gradients: the function differentiates; else it runs in inference mode.
        below: further widgets, under the picture.

    Raises:
        DerainError: no control, `film` names none, or its values never move it.
        Exception: whatever `function` raises while the controls are tried.

    Attributes:
        controls: the widgets by name; setting a `value` moves the picture.
        strip: the filmstrip, a Pillow image.
    """

    def __init__(
        self,
        function: Callable[..., object],
        controls: Mapping[str, ipywidgets.Widget],
        film: str | Mapping[str, Sequence] | None = None,
        gradients: bool = False,
        below: Sequence[ipywidgets.Widget] = (),
    ):
        self.function, self.controls, self.gradients = function, dict(controls), gradients
        filmed, values = self._filmed(film)
        self._seen: dict[tuple, bytes] = {}
        natural = ipywidgets.Layout(max_width="100%", align_self="flex-start")
        self._image = ipywidgets.Image(format="png", layout=natural)
        self._message, self._note = ipywidgets.HTML(), ipywidgets.HTML(WAITS if waits() else "")
        self._turn = threading.Lock()  # the last move decides what is shown, on however many threads they come
        greeting = Greeting(self._say)
        at_once(*self.controls.values(), greeting)
        for name, control in self.controls.items():
            dress(control, name)
            control.observe(self._follow, names="value")
        started = time.perf_counter()
        self._draw()
        quick = time.perf_counter() - started < _QUICK
        for control in self.controls.values():
            if control.has_trait("continuous_update"):
                control.continuous_update = quick
        for name in self.controls.keys() - {filmed}:
            self._move(name, [value for value in _positions(self.controls[name]) if value != self.values[name]][:1])
        self.strip = figures.filmstrip(*zip(*self._move(filmed, values), strict=True))
        row = ipywidgets.Box([*self.controls.values()], layout=ipywidgets.Layout(flex_flow="row wrap"))
        self._box = ipywidgets.VBox([row, self._note, self._message, self._image, *below, greeting])
        self._box.add_class("demonstration")

    @property
    def picture(self) -> bytes:
        """The PNG file shown at present."""
        return self._image.value

    @property
    def values(self) -> dict[str, object]:
        """The present value of each control."""
        return {name: control.value for name, control in self.controls.items()}

    def __repr__(self) -> str:
        return f"Demo({'; '.join(f'{name}: {_range(control)}' for name, control in self.controls.items())})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, object]:
        live = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        return {"text/plain": repr(self), LIVE: live} | figures.stored(self.strip)

    def _follow(self, change) -> None:
        """Redraw. An exception is shown and raised: Jupyter only logs what a browser's message causes."""
        self._say()
        try:
            self._draw()
        except Exception as error:
            self._message.value = f"<b>{type(error).__name__}:</b> {html.escape(str(error))}"
            raise
        self._message.value = ""

    def _say(self) -> None:
        """Tell the reader whether this page waits."""
        self._note.value = WAITS if waits() else ""

    def _draw(self) -> None:
        with self._turn:
            values = self.values
            key = tuple(values.values()) if all(map(_hashable, values.values())) else None
            data = self._seen.get(key)
            if data is None:
                with torch.inference_mode(not self.gradients), torch.set_grad_enabled(self.gradients):
                    data = figures.png(self.function(**values))
            if key is not None:
                self._seen[key] = data
                if len(self._seen) > _REMEMBERED:
                    del self._seen[next(iter(self._seen))]
            self._image.value = data

    def _move(self, name: str, values: Sequence) -> list[tuple[bytes, str]]:
        """Take a control along `values` and back, as a reader would; return pictures and captions."""
        control, seen = self.controls[name], []
        start = control.value
        if all(value == start for value in values):
            raise DerainError(f"nothing moves {name}: give it two positions, or the filmstrip other values")
        for value in values:
            control.value = value
            seen.append((self.picture, f"{control.description}: {_written(control)}"))
        control.value = start
        return seen

    def _filmed(self, film: str | Mapping[str, Sequence] | None) -> tuple[str, Sequence]:
        if not self.controls:
            raise DerainError("a demonstration without controls: show its figure instead")
        name = next(iter(film if isinstance(film, Mapping) else self.controls)) if not isinstance(film, str) else film
        if name not in self.controls:
            raise DerainError(f"film names no control: {name!r} is not among {', '.join(self.controls)}")
        return name, film[name] if isinstance(film, Mapping) else _positions(self.controls[name])


def demo(
    function: Callable[..., object],
    film: str | Mapping[str, Sequence] | None = None,
    gradients: bool = False,
    below: Sequence[ipywidgets.Widget] = (),
    **controls: ipywidgets.Widget,
) -> Demo:
    """A live demonstration, its controls given by the names of the function's arguments: see `Demo`."""
    return Demo(function, controls, film, gradients, below)


def before_after(
    before: Tensor | np.ndarray,
    after: Tensor | np.ndarray,
    names: tuple[str, str] = ("rainy", "derained"),
    save_as: str | None = None,
) -> Curtain:
    """Two versions of a photograph, and a line on it to drag, which uncovers one under the other; and a zoom.

    Args:
        before, after: (3, H, W) or a batch of one, in [0, 1], of equal size.
        names: what is left and right of the line.
        save_as: the file under which a link offers `after` for download; no link where left out.

    Raises:
        DerainError: the sizes differ.
    """
    return Curtain(_versions(before, after), names, [download(after, save_as)] if save_as else [])


def zoomed(*images: Tensor | np.ndarray, names: Sequence[str] = ("rainy", "derained", "truth")) -> Zoomed:
    """Versions of a photograph side by side, enlarged and moved together by wheel, hand or keys.

    Args:
        images: (3, H, W) or batches of one, in [0, 1], of equal size.
        names: of the images, in their order; the first ones of the usual three where left out.

    Raises:
        DerainError: the sizes differ, or there are more images than names.
    """
    if not 0 < len(images) <= len(names):
        raise DerainError(f"{len(images)} images and {len(names)} names: give a name for each image")
    return Zoomed(_versions(*images), names[: len(images)])


def download(image: Tensor | np.ndarray, name: str) -> ipywidgets.HTML:
    """A link that saves an image to the reader's own machine; for `below` of a demonstration.

    Args:
        image: (3, H, W) or a batch of one, in [0, 1].
        name: of the file, ending with .png or .jpg.

    Raises:
        DerainError: another ending.
    """
    kind = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"}.get(PurePath(name).suffix.lower())
    if kind is None:
        raise DerainError(f"{name!r} cannot be offered for download: end its name with .png or .jpg")
    data = base64.b64encode(_file(image, kind)).decode()
    return ipywidgets.HTML(f'<a download="{html.escape(name)}" href="data:image/{kind};base64,{data}">save {name}</a>')


def upload(function: Callable[..., object], example: Tensor, **controls: ipywidgets.Widget) -> Demo:
    """A button to bring a photograph of one's own, of any size; below it, what `function` makes of it.

    Args:
        function: from an image (1, 3, H, W) in [0, 1], and the controls' values by name, to a figure or an image.
        example: (3, H, W) or a batch of one: the photograph until another is chosen.
        controls: further ones beside the button, as `demo` takes them.

    A file that is no photograph, or one of more than `PIXELS`, leaves a line in place of the picture.
    """
    # Trying the demonstration out takes the example in the way of a file that was chosen.
    shown = File("the example", bytearray(_file(example, "png")))

    def process(photograph: File | None, **values) -> object:
        file = photograph or shown
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, _safe(file.name))
            path.write_bytes(file.content)
            return function(_uploaded(path)[None], **values)

    return demo(process, film={"photograph": [shown]}, photograph=Pieces("your photograph"), **controls)


class LiveCurve:
    """Watches a training run: called with each record, it redraws curves under the cell, at most once a
    second.

    Args:
        keys: the numbers of a record to draw, each in axes of its own; a record without one is skipped there.
        every: seconds between two drawings.
    """

    def __init__(self, keys: Sequence[str] = ("loss", "psnr"), every: float = 1.0):
        self.keys, self.every = tuple(keys), every
        self.records: list[dict[str, float]] = []
        self._handle = None
        self._drawn = -float("inf")

    def __call__(self, record: Mapping[str, float]) -> None:
        """Take a record: "step" and some of the keys, by name."""
        self.records.append(dict(record))
        if time.monotonic() - self._drawn >= self.every:
            self.finish()

    def finish(self) -> None:
        """Draw every record seen so far; the last drawing is what the notebook stores."""
        size = (4 * len(self.keys), 2.8)
        picture, axes = figures.canvas(1, len(self.keys), size, f"{', '.join(self.keys)} over steps", squeeze=False)
        for ax, key in zip(axes[0], self.keys, strict=True):
            points = [(record["step"], record[key]) for record in self.records if key in record]
            figures.lines({key: ([step for step, _ in points], [value for _, value in points])}, "step", key, ax=ax)
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)
        self._drawn = time.monotonic()


def waits() -> bool:
    """Whether the page has the kernel do one thing after the other, by the message that is being answered."""
    header = getattr(get_ipython(), "get_parent", dict)().get("header", {})
    if header.get("msg_type") == "comm_msg":
        return not header.get("subshell_id")
    return bool(header) and "subshell_id" not in header  # a page that knows of subshells names one, or none


def dress(control: ipywidgets.Widget, name: str) -> None:
    """Give a control its label, whole, and its width: the argument's name where it has no label of its own."""
    control.description = control.description or name.replace("_", " ")
    if control.has_trait("style") and control.style.has_trait("description_width"):
        control.style.description_width = "initial"
    if isinstance(control, _WIDE):
        control.layout = ipywidgets.Layout(width="450px", max_width="100%")


def _positions(control: ipywidgets.Widget) -> list:
    """Values that show what a control does: five along a slider, the first six of a list, off and on."""
    if isinstance(control, ipywidgets.IntSlider | ipywidgets.FloatSlider):
        steps = round((control.max - control.min) / control.step)
        ends = sorted({round(steps * part / 4) for part in range(5)})
        return [type(control.value)(control.min + control.step * step) for step in ends]
    if isinstance(control, _CHOSEN):
        return [value for _, value in control._options_full][:6]
    if isinstance(control, ipywidgets.Checkbox):
        return [False, True]
    raise DerainError(f"{type(control).__name__} has no known positions: name some in `film`")


def _range(control: ipywidgets.Widget) -> str:
    if control.has_trait("max"):
        return f"{control.min:g} … {control.max:g}"
    if isinstance(control, _CHOSEN):
        return ", ".join(label for label, _ in control._options_full)
    return {ipywidgets.Checkbox: "off, on", Pieces: "a file"}.get(type(control), "any")


def _written(control: ipywidgets.Widget) -> str:
    if isinstance(control, Pieces):
        return control.value.name
    if isinstance(control, ipywidgets.Checkbox):
        return "on" if control.value else "off"
    return control.label if isinstance(control, ipywidgets.Dropdown) else f"{control.value:g}"


def _safe(name: str) -> str:
    """A file's name without folders, or anything else that could lead out of one; at most 250 bytes."""
    last = re.sub(r"[^\w. -]", "_", re.split(r"[/\\]", name)[-1])[-100:]
    return last.encode()[-250:].decode(errors="ignore").strip(". ") or "photograph"


def _uploaded(path: Path) -> Tensor:
    """A photograph from elsewhere, (3, H, W) in [0, 1]; refused before it is decoded where it has too many pixels.

    Raises:
        ImageError: as `images.read`, or above `PIXELS`; the line names the file, not where it lies.
    """
    from derainlib import images

    try:
        height, width = images.header(path).size
        if height * width > PIXELS:
            large = f"{width} x {height} pixels, above the {PIXELS / 1e6:g} megapixels that this page takes"
            raise ImageError(f"{path}: {large}: choose a smaller one")
        return images.read(path)
    except ImageError as error:
        raise ImageError(str(error).replace(f"{path.parent}{os.sep}", "", 1)) from None


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _versions(*images: Tensor | np.ndarray) -> list[Image.Image]:
    """Images as pictures of one size."""
    pictures = [_image(image) for image in images]
    if len({picture.size for picture in pictures}) > 1:
        sizes = " and ".join(str(picture.size) for picture in pictures)
        raise DerainError(f"{sizes} pixels: give versions of one photograph")
    return pictures


def _image(image: Tensor | np.ndarray) -> Image.Image:
    return Image.fromarray((figures.pixels(image) * 255).round().astype(np.uint8)).convert("RGB")


def _file(image: Tensor | np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    _image(image).save(buffer, format=kind, quality=95)
    return buffer.getvalue()
