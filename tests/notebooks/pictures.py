"""A plug-in for nbval, which compares texts only: the pictures of each cell must look like those that it stores.

Both are seen from afar: shrunk, so that anti-aliasing, JPEG and another CPU's rounding vanish, and each pixel may lie
anywhere within the range of its neighbours in the other, so that letters may have another form or stand a little aside.
What is left is averaged over tiles of the size of a word or two, in brightness and in two differences of colours: a
curve elsewhere, another colour map, exchanged panels or another exposure fill a tile; a letter does not.

    python -m pytest -p tests.notebooks.pictures --nbval notebooks/07_srn_brn.ipynb
"""

import base64
import io
import re
from itertools import chain

import numpy as np
import pytest
from nbformat import NotebookNode
from PIL import Image
from scipy import ndimage

SHRUNK, NEIGHBOURS, TILE = 3, 3, 16
"""Pixels of the picture that make one from afar (along a side); of those, how far a neighbour may be, and a tile."""

BRIGHTNESS, COLOUR = 0.025, 0.018
"""The most that a tile may differ by, of a range of 1."""

EMBEDDED = r"data:image/\w+;base64,([\w+/=]+)"
"""A picture within HTML."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Runs a cell as nbval does, but for pictures within its texts, then looks at all its pictures."""
    item.parent.sanitize_patterns[EMBEDDED] = "a picture"
    seen, listen = Seen(), item.parent.get_kernel_message
    item.parent.get_kernel_message = lambda *given, **named: seen.note(listen(*given, **named))
    try:
        yield
    finally:
        item.parent.get_kernel_message = listen
    if problem := compare(stored(item.cell), list(chain.from_iterable(seen.pictures.values()))):
        item.raise_cell_error(f"Cell pictures differ: {problem}")


class Seen:
    """The pictures among the messages of a kernel, each as it was drawn last (nbval keeps it as it was drawn first)."""

    def __init__(self):
        self.pictures: dict[str, list[bytes]] = {}

    def note(self, message: dict) -> dict:
        """Takes the message, and gives it on."""
        content = message["content"]
        if message["msg_type"] in ("display_data", "execute_result", "update_display_data"):
            place = content.get("transient", {}).get("display_id", message["header"]["msg_id"])
            if found := pictures(content):
                self.pictures[place] = found
        return message


def stored(cell: NotebookNode) -> list[bytes]:
    """The pictures among the outputs of a cell."""
    return [data for output in cell.outputs for data in pictures(output)]


def pictures(output: dict) -> list[bytes]:
    """The PNG and JPEG files in an output, those within its HTML last."""
    found = output.get("data", {})
    files = [found[kind] for kind in ("image/png", "image/jpeg") if kind in found]
    return list(map(base64.b64decode, files + re.findall(EMBEDDED, found.get("text/html", ""))))


def compare(stored: list[bytes], fresh: list[bytes]) -> str:
    """In what the pictures of a cell differ from the stored ones, in a line; nothing if they look alike."""
    if len(stored) != len(fresh):
        return f"{len(fresh)} were drawn, {len(stored)} are stored"
    found = (difference(old, new) for old, new in zip(stored, fresh, strict=True))
    return "; ".join(f"picture {number}: {text}" for number, text in enumerate(found, 1) if text)


def difference(stored: bytes, fresh: bytes) -> str:
    """In what a picture differs from the stored one, in a line; nothing if they look alike."""
    old, new = (Image.open(io.BytesIO(data)).convert("RGB") for data in (stored, fresh))
    # Of another size it may be, for a JPEG is no wider than a page; not of other proportions.
    if abs(new.height - old.height * new.width / old.width) > max(1, new.height / 100):
        return f"{new.width} x {new.height} pixels, not {old.width} x {old.height}"
    size = [max(1, round(side / SHRUNK)) for side in old.size]
    old, new = from_afar(old, size), from_afar(new, size)
    tiles = averages(np.maximum(outside(old, new), outside(new, old)))
    brightness, colour = tiles[0].max(), tiles[1:].max()
    if brightness <= BRIGHTNESS and colour <= COLOUR:
        return ""
    return f"a part differs by {brightness:.3f} in brightness (at most {BRIGHTNESS}), {colour:.3f} in colour ({COLOUR})"


def from_afar(image: Image.Image, size: list[int]) -> np.ndarray:
    """Brightness, and red and blue beyond it: (3, H, W)."""
    pixels = np.asarray(image.resize(size, Image.BOX), dtype=np.float32) / 255
    brightness = pixels @ LUMA
    return np.stack([brightness, pixels[..., 0] - brightness, pixels[..., 2] - brightness])


def outside(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far each value lies outside of what its neighbours have in the other image."""
    around = (1, NEIGHBOURS, NEIGHBOURS)
    low, high = ndimage.minimum_filter(other, around), ndimage.maximum_filter(other, around)
    return np.maximum(image - high, 0) + np.maximum(low - image, 0)


def averages(values: np.ndarray) -> np.ndarray:
    """Means over tiles of equal size, about `TILE` wide and high: (3, rows, columns)."""
    columns, rows = (max(1, round(side / TILE)) for side in (values.shape[2], values.shape[1]))
    return np.stack([np.asarray(Image.fromarray(plane).resize((columns, rows), Image.BOX)) for plane in values])
