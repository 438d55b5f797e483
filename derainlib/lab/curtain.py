"""Two versions of a photograph, one under the other, and a line between them that a hand drags.

Everything happens in the page, so the line follows the hand whatever the kernel does, and where there is none: in an
exported page, or on the site. Plain HTML rather than anywidget, whose state would have to be stored, and whose scripts
fetched, before a page without a kernel moves anything. A range input of the browser's own lies unseen over the picture:
it gives dragging, touch, arrow keys, focus and what a screen reader says; CSS uncovers one picture under the other.
Nothing but inline handlers acts, so that copies do not disturb each other. Where a page lets neither style nor handler
pass, as JupyterLab before a stored notebook is trusted, the two pictures stand side by side.
"""

import base64
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import ipywidgets
from PIL import Image

from derainlib.lab import figures

LIVE = "application/vnd.jupyter.widget-view+json"
"""The MIME type by which a page finds a widget of the kernel."""

_STYLE = """
.curtain { max-width: 100%; margin: 0; display: inline-block }
.curtain div { position: relative; overflow: hidden; line-height: 0; border-radius: 3px }
.curtain img { width: auto; max-width: 100%; transform: scale(var(--zoom)); transform-origin: var(--cut) var(--y) }
.curtain img + img { position: absolute; inset: 0; width: 100%; height: 100%; clip-path: inset(0 0 0 var(--cut)) }
.curtain div input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize;
  appearance: none; touch-action: pan-y }
.curtain div input::-webkit-slider-thumb { appearance: none; width: 1px; height: 100% }
.curtain div input::-moz-range-thumb { width: 1px; height: 100%; border: 0 }
.curtain hr { position: absolute; top: 0; bottom: 0; left: var(--cut); width: 2px; margin: 0 0 0 -1px; border: 0;
  background: white; box-shadow: 0 0 2px black; pointer-events: none }
.curtain input:focus-visible + hr { outline: 3px solid #4c9aff }
.curtain b { position: absolute; top: 6px; padding: 2px 6px; border-radius: 3px; font: 13px sans-serif; color: white;
  background: rgb(0 0 0 / 60%); pointer-events: none }
.curtain b:first-of-type { left: 6px } .curtain b:last-of-type { right: 6px }
.curtain label { display: flex; align-items: center; gap: 8px; margin-top: 4px; font: 13px sans-serif }
"""

_PAGE = """<style>{style}</style>
<figure class="curtain" style="--cut: 50%; --y: 50%; --zoom: 1" onkeydown="event.stopPropagation()">
<div><img src="{before}" alt="{left}" width="49%"> <img src="{after}" alt="{right}" width="49%">
<b>{left}</b> <b>{right}</b>
<input type="range" min="0" max="100" step="any" value="50" aria-label="line between {left} and {right} (%)"
oninput="this.closest('figure').style.setProperty('--cut', this.value + '%')"
onpointermove="event.buttons &amp;&amp;
this.closest('figure').style.setProperty('--y', 100 * event.offsetY / this.offsetHeight + '%')"><hr></div>
<label>zoom <input type="range" min="1" max="8" step="0.5" value="1" aria-label="zoom, at the line"
oninput="this.closest('figure').style.setProperty('--zoom', this.value)"></label></figure>"""
"""The page has the arrow keys to itself: JupyterLab would take them to the next cell."""


class Frame(ABC):
    """Pictures that a page moves by itself; where it cannot, they stand side by side.

    Args:
        pictures: RGB, of one size.
        names: of the pictures.
        below: widgets under them, where a kernel runs.
    """

    def __init__(self, pictures: Sequence[Image.Image], names: Sequence[str], below: Sequence[ipywidgets.Widget] = ()):
        self.names, self._pictures = tuple(names), tuple(pictures)
        full = (_address("image/jpeg", base64.b64encode(_fine(picture)).decode()) for picture in self._pictures)
        self._box = ipywidgets.VBox([ipywidgets.HTML(self._page(full)), *below])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({' | '.join(self.names)})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, object]:
        live = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        small = (_address(*item) for picture in self._pictures for item in figures.stored(picture).items())
        strip = figures.filmstrip(map(figures.png, self._pictures), self.names)
        return {"text/plain": repr(self), LIVE: live, "text/html": self._page(small)} | figures.stored(strip)

    @abstractmethod
    def _page(self, addresses: Iterable[str]) -> str:
        """The frame as HTML, its pictures where these addresses say."""


class Curtain(Frame):
    """Two pictures in one frame: see the module's docstring."""

    def _page(self, addresses: Iterable[str]) -> str:
        (before, after), (left, right) = addresses, map(html.escape, self.names)
        return _PAGE.format(style=_STYLE, before=before, after=after, left=left, right=right)


def _fine(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _address(kind: str, content: str) -> str:
    """A file in base 64 as an address that a page holds itself."""
    return f"data:{kind};base64,{content}"
