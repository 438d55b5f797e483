"""Pictures with one look: images side by side, labelled maps, curves, filmstrips.

Every figure is drawn on Matplotlib's Agg canvas without pyplot, whose global state does not survive the
threads on which JupyterLab runs callbacks. A notebook stores photographs as JPEG and graphs as PNG, so that it
stays small without spoiling either; the text form of a figure names what it shows, so a test can compare it.
"""

import base64
import io
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from derainlib.errors import DerainError

LIMIT = 200_000
"""The most bytes that a stored picture may have."""

WIDEST = 900
"""The most pixels from left to right of a stored picture."""

_JPEG = {"format": "JPEG", "quality": 88, "subsampling": 0, "optimize": True, "progressive": True}
_DRAWING = threading.RLock()  # Matplotlib does not draw on two threads at once, and a cell may run beside a callback
_GRAPH = 2  # a picture whose PNG is not that much larger than its JPEG is a graph: flat, with sharp edges

PALETTE = seaborn.color_palette("colorblind")
"""Ten colours that colour-blind readers can tell apart."""

COLOURS = {
    "rainy": PALETTE[0],
    "clean": PALETTE[2],
    "rain": PALETTE[1],
    "derained": PALETTE[4],
    "other": PALETTE[7],
}
"""The colour of each quantity, the same in every notebook."""

_FONT = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))

# Set once, when a notebook imports this module, and never inside a callback: rcParams are global to all
# threads.
matplotlib.rcParams.update(seaborn.axes_style("ticks") | seaborn.plotting_context("notebook", font_scale=0.85))
matplotlib.rcParams.update(
    {
        "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.dpi": 100,
        "legend.frameon": False,
        "savefig.dpi": 100,
    }
)


class Picture(Figure):
    """A figure that shows itself in a notebook without pyplot, as `stored` has it.

    Args:
        summary: the figure in words; its text form, hence what a test of the stored notebook compares.
        options: what `matplotlib.figure.Figure` takes.
    """

    def __init__(self, *args, summary: str = "", **options):
        super().__init__(*args, **{"layout": "constrained"} | options)
        FigureCanvasAgg(self)
        self.summary = summary

    def __repr__(self) -> str:
        return f"Picture({self.summary or ' | '.join(filter(None, (axes.get_title() for axes in self.axes)))})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return stored(self) | {"text/plain": repr(self)}


def canvas(
    rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None, summary: str = "", **options
) -> tuple[Picture, Axes | np.ndarray]:
    """An empty figure and its axes, as `matplotlib.pyplot.subplots` gives them, but without pyplot.

    Args:
        rows, columns: how many axes.
        size: width and height in inches, at 100 pixels an inch; 3.2 x 2.6 for each axes where left out.
        summary: the figure in words; the titles of its axes where left out.
        options: what `Figure.subplots` takes (`sharex`, `squeeze`, `width_ratios` …).

    Returns:
        the figure and its axes (one `Axes`, or an array of them).
    """
    figure = Picture(figsize=size or (3.2 * columns, 2.6 * rows), summary=summary)
    return figure, figure.subplots(rows, columns, **options)


def png(picture) -> bytes:
    """A picture as the bytes of a PNG file.

    Args:
        picture: a figure, a Pillow image, an image tensor or array (see `pixels`), or PNG bytes.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Figure):
        # No metadata: the file must not change with the version or the day it was drawn.
        with _DRAWING:
            return _written(lambda file: picture.savefig(file, format="png", metadata={"Software": None}))
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(_bytes(picture))
    return _written(lambda file: image.save(file, format="PNG", optimize=True))


def jpeg(picture) -> bytes:
    """A picture as the bytes of a JPEG file, with its colours at full size (4:4:4), `WIDEST` pixels wide at most.

    Args:
        picture: what `png` takes.
    """
    image = _fitted(picture)
    return _written(lambda file: image.save(file, **_JPEG))


def stored(picture) -> dict[str, str]:
    """A picture as a notebook stores it: a graph as PNG of 256 colours, which it hardly exceeds, a photograph as JPEG.

    What is a graph is seen by size: flat colours make a small PNG, grain and texture a large one.

    Args:
        picture: what `png` takes.

    Returns:
        one entry, from the MIME type to the file in base 64.
    """
    drawn = _fitted(picture)
    kind, data = "jpeg", jpeg(drawn)
    if len(png(drawn)) < _GRAPH * len(data):
        kind, data = "png", png(_indexed(drawn))
    return {f"image/{kind}": base64.b64encode(data).decode()}


def _indexed(image: Image.Image) -> Image.Image:
    """The image in 256 colours, each the commonest of those that it stands for: white stays white."""
    small = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    colours = np.asarray(image.convert("RGB"), dtype=np.int64) @ (1 << 16, 1 << 8, 1)
    found, counts = np.unique((np.asarray(small, dtype=np.int64) << 24) + colours, return_counts=True)
    found = found[np.argsort(counts, kind="stable")]
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[found >> 24] = found[:, None] >> (16, 8, 0) & 255  # of a repeated index, the last and commonest stays
    small.putpalette(palette.tobytes())
    return small


def pixels(image: Tensor | np.ndarray) -> np.ndarray:
    """An image as Matplotlib and Pillow want it.

    Args:
        image: (3, H, W), (1, H, W) or (H, W), or a batch of one of these, on any device; (H, W, 3) arrays
            pass through.

    Returns:
        float32 (H, W, 3) for colour and (H, W) for one channel, clamped to [0, 1].

    Raises:
        DerainError: the shape is none of these.
    """
    array = image.detach().float().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype == np.uint8:
        array = array / np.float32(255)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise DerainError(f"an image of shape {tuple(image.shape)} cannot be shown: give one (3, H, W) or (1, H, W)")
    return array.astype(np.float32).clip(0, 1)


def place(ax: Axes, image: Tensor | np.ndarray, title: str = "") -> None:
    """Put an image into axes, under its title and without ticks.

    Args:
        ax: where to draw.
        image: in [0, 1], of any shape that `pixels` takes.
        title: over the image.
    """
    ax.imshow(pixels(image), cmap="gray", vmin=0, vmax=1)
    ax.set_title(title)
    ax.set_axis_off()


def place_each(axes: Iterable[Axes], images: Mapping[str, Tensor | np.ndarray]) -> None:
    """Put images into the first of some axes, each under its title.

    Args:
        axes: as many as there are images, or more.
        images: from the title to the image, as `place` takes it.
    """
    for ax, (title, image) in zip(axes, images.items(), strict=False):
        place(ax, image, title)


def show(images, titles: Sequence[str] | None = None, columns: int | None = None, width: float = 2.2) -> Picture:
    """Images side by side, each with its title.

    Args:
        images: one image, a batch (N, C, H, W), a sequence of images, or a mapping from title to image, each
            in [0, 1].
        titles: a title for each image.
        columns: images in a row; all of them where left out.
        width: of each image in inches, at 100 pixels an inch.

    Returns:
        the figure.

    Raises:
        DerainError: as many titles as images are needed.
    """
    if isinstance(images, Mapping):
        titles, images = list(images), list(images.values())
    elif isinstance(images, Tensor | np.ndarray):
        images = list(images) if images.ndim == 4 else [images]
    images = [pixels(image) for image in images]
    titles = [""] * len(images) if titles is None else list(titles)
    if not images or len(titles) != len(images):
        raise DerainError(f"{len(titles)} titles for {len(images)} images: give one title for each image")
    columns = min(columns or len(images), len(images))
    rows = -(-len(images) // columns)
    tallest = max(image.shape[0] / image.shape[1] for image in images)
    figure, axes = canvas(rows, columns, (width * columns, (width * tallest + 0.3) * rows), squeeze=False)
    for ax in axes.flat[len(images) :]:
        ax.set_axis_off()
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        place(ax, image, title)
    return figure


def grid(rows: Mapping[str, Sequence], columns: Sequence[str] | None = None, width: float = 1.7) -> Picture:
    """A table of images: a named row for each entry, with titles over the columns.

    Args:
        rows: from the row's name to its images, each in [0, 1]; every row has the same number.
        columns: a title for each column.
        width: of each image in inches, at 100 pixels an inch.

    Returns:
        the figure.

    Raises:
        DerainError: the rows differ in length, or the titles do not fit.
    """
    counts = {len(images) for images in rows.values()} | ({len(columns)} if columns else set())
    if len(counts) != 1:
        raise DerainError(f"rows and titles of {sorted(counts)} images: give the same number in every row")
    names, count = list(rows), counts.pop()
    table = {name: [pixels(image) for image in images] for name, images in rows.items()}
    tallest = max(image.shape[0] / image.shape[1] for images in table.values() for image in images)
    size = (width * count + 0.3, (width * tallest + 0.05) * len(names) + 0.3)
    summary = f"{', '.join(names)}: {' | '.join(columns or [str(count)])}"
    figure, axes = canvas(len(names), count, size, summary=summary, squeeze=False)
    for name, line in zip(names, axes, strict=True):
        for ax, image in zip(line, table[name], strict=True):
            ax.imshow(image, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        line[0].set_ylabel(name)
    for ax, title in zip(axes[0], columns or (), strict=False):
        ax.set_title(title)
    return figure


def heat(
    ax: Axes,
    values: Tensor | np.ndarray,
    title: str,
    label: str,
    signed: bool = False,
    limit: float | None = None,
) -> None:
    """Draw a map with its labelled colour bar.

    Args:
        ax: where to draw.
        values: (H, W), or with leading axes of length one.
        title: over the map.
        label: of the colour bar, with the unit.
        signed: colours run from −limit (blue) over 0 (white) to limit (red); else from 0 (dark) to limit
            (bright).
        limit: the value of the last colour; the largest magnitude in `values` where left out.
    """
    array = (
        values.detach().float().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=np.float32)
    )
    array = array.reshape(array.shape[-2:])
    limit = limit or float(np.abs(array).max()) or 1.0
    image = ax.imshow(array, cmap="vlag" if signed else "viridis", vmin=-limit if signed else 0, vmax=limit)
    ax.set_title(title)
    ax.set_axis_off()
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)


def lines(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    size: tuple[float, float] = (5, 3),
    marker: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Curves with labelled axes and, where there are several, a legend.

    Args:
        curves: from a curve's name to its x and y values.
        x, y: labels of the axes, with units.
        size: width and height in inches.
        marker: of each point, as Matplotlib names them.
        ax: where to draw; a new figure where left out.

    Returns:
        the figure.
    """
    if ax is None:
        _, ax = canvas(size=size, summary=f"{y} over {x}: {', '.join(curves)}")
    for name, (across, up) in curves.items():
        alone = "o" if len(across) == 1 else ""  # or a line of one point would not be seen
        ax.plot(across, up, marker=marker or alone, label=name)
    ax.set(xlabel=x, ylabel=y)
    if len(curves) > 1:
        ax.legend()
    return ax.figure


def differences(ax: Axes, found: Mapping[str, Mapping], label: str) -> None:
    """Rows of a study: each mean difference with its interval, and below it a small dot for each seed.

    Args:
        ax: where to draw.
        found: from a row's name to its difference as `derainlib.studies` reports it: "mean", "low", "high", and where
            there are seeds, "by_seed".
        label: of the axis, with the unit.
    """
    for y, one in enumerate(found.values()):
        bar = [[one["mean"] - one["low"]], [one["high"] - one["mean"]]]
        ax.errorbar(one["mean"], y, xerr=bar, fmt="o", capsize=4, color=COLOURS["derained"])
        seeds = one.get("by_seed", ())
        ax.plot(seeds, [y + 0.25] * len(seeds), ".", color=COLOURS["other"])
    ax.axvline(0, color="black", lw=1)
    ax.grid(axis="y", alpha=0.4)
    ax.set(xlabel=label, yticks=range(len(found)), yticklabels=list(found), ylim=(len(found) - 0.5, -0.5))


def filmstrip(frames: Iterable[bytes], captions: Iterable[str], width: int = WIDEST) -> Image.Image:
    """Several pictures as one, each under its caption: what a widget shows as its control moves.

    Args:
        frames: PNG files of equal proportions.
        captions: the text over each.
        width: of the result in pixels, at most.

    Returns:
        an RGB image, its frames in rows.
    """
    images = [_opened(frame) for frame in frames]
    captions, gap, line = list(captions), 8, 20
    # As many in a row as fit without shrinking text beyond reading.
    columns = max(1, min(len(images), int((width + gap) // (min(0.6 * images[0].width, 420) + gap))))
    across = min(images[0].width, (width - gap * (columns - 1)) // columns)
    scaled = [image.resize((across, round(image.height * across / image.width)), Image.LANCZOS) for image in images]
    high = max(image.height for image in scaled) + line
    rows = -(-len(images) // columns)
    strip = Image.new("RGB", (columns * (across + gap) - gap, rows * (high + gap) - gap), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.truetype(_FONT, 13)
    for number, (image, caption) in enumerate(zip(scaled, captions, strict=True)):
        left, top = number % columns * (across + gap), number // columns * (high + gap)
        draw.text((left + across / 2, top + line / 2), caption, fill="black", font=font, anchor="mm")
        strip.paste(image, (left, top + line))
    return strip


def _bytes(image: Tensor | np.ndarray) -> np.ndarray:
    return (pixels(image) * 255).round().astype(np.uint8)


def _fitted(picture) -> Image.Image:
    """What `png` takes as an RGB image, made smaller where it is wider than `WIDEST`."""
    image = picture.convert("RGB") if isinstance(picture, Image.Image) else _opened(png(picture))
    if image.width <= WIDEST:
        return image
    return image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.LANCZOS)


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _written(save: Callable[[io.BytesIO], object]) -> bytes:
    """What `save` writes into a file."""
    file = io.BytesIO()
    save(file)
    return file.getvalue()
