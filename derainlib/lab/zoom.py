"""Pictures side by side that are enlarged and moved together: the same corner of each stands in each frame.

Plain HTML in the page alone, for the reasons of `derainlib.lab.curtain`. The three range inputs below the pictures are
the state: keys and screen readers use them as they are, the wheel and the hand move them, and CSS lays every picture
as they stand. The wheel enlarges what was clicked; else it goes on scrolling the page, which a picture that lies in
its way would otherwise hold up.
"""

import html
from collections.abc import Iterable

from derainlib.lab.curtain import Frame

LARGEST = 16
"""The most that a picture is enlarged."""

_STYLE = """
.zoomed { margin: 0; display: inline-block; width: 100%; font: 13px sans-serif }
.zoomed section { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(200px, 100%), 1fr)); gap: 8px;
  max-width: calc(var(--across-all) * 1px); cursor: grab; touch-action: none }
.zoomed section:focus-visible { outline: 3px solid #4c9aff }
.zoomed section > div > div { overflow: hidden; line-height: 0; border-radius: 3px }
.zoomed img { width: 100%; transform: scale(var(--zoom)); pointer-events: none;
  transform-origin: calc(var(--right) * 1%) calc(var(--down) * 1%) }
.zoomed p { margin: 4px 0 0; display: flex; flex-wrap: wrap; gap: 4px 16px }
.zoomed label { display: flex; align-items: center; gap: 8px; white-space: nowrap }
"""

_PAGE = """<style>{style}</style>
<figure class="zoomed" style="--zoom: 1; --right: 50; --down: 50; --across-all: {across}"
onkeydown="event.stopPropagation()"
oninput="for (const part of this.querySelectorAll('input')) this.style.setProperty('--' + part.name, part.value)">
<section tabindex="0" role="group" aria-label="{names}: + and - enlarge, arrow keys move" onpointerdown="
this.focus(); this.setPointerCapture(event.pointerId); this.hand = [event.clientX, event.clientY];
event.preventDefault()"
onpointermove="if (!event.buttons || !this.hand) return;
const [zoom, right, down] = this.closest('figure').querySelectorAll('input');
const frame = this.querySelector('img').parentNode, free = Math.max(zoom.value - 1, 0.01) / 100;
right.value -= (event.clientX - this.hand[0]) / frame.offsetWidth / free;
down.value -= (event.clientY - this.hand[1]) / frame.offsetHeight / free;
this.hand = [event.clientX, event.clientY]; this.closest('figure').oninput()"
onwheel="if (!this.matches(':focus')) return;
event.preventDefault();
const [zoom, right, down] = this.closest('figure').querySelectorAll('input'), old = +zoom.value;
const frame = [...this.querySelectorAll('img')].map(img => img.parentNode.getBoundingClientRect()).find(box =>
event.clientX &lt;= box.right &amp;&amp; event.clientY &lt;= box.bottom);
if (!frame) return;
zoom.value = old * 2 ** (-event.deltaY / 400);
const free = 1 - 1 / zoom.value, keep = (part, at) => {{
if (free > 0) part.value = (+part.value + (at - part.value) / old - at / zoom.value) / free; }};
keep(right, 100 * (event.clientX - frame.left) / frame.width);
keep(down, 100 * (event.clientY - frame.top) / frame.height);
this.closest('figure').oninput()"
onkeydown="const step = {{'+': [0, 0.5], '-': [0, -0.5], ArrowLeft: [1, -5], ArrowRight: [1, 5], ArrowUp: [2, -5],
ArrowDown: [2, 5]}}[event.key];
if (!step) return;
event.preventDefault();
const part = this.closest('figure').querySelectorAll('input')[step[0]];
part.value = +part.value + step[1]; this.closest('figure').oninput()">
{pictures}</section>
<p><label>zoom <input type="range" name="zoom" min="1" max="{largest}" step="any" value="1"
aria-label="zoom, of all pictures"></label>
<label>left to right <input type="range" name="right" min="0" max="100" step="any" value="50"></label>
<label>top to bottom <input type="range" name="down" min="0" max="100" step="any" value="50"></label></p></figure>"""

_PICTURE = '<div><div><img src="{address}" alt="{name}" width="{share:.0f}%"></div><span>{name}</span></div>'


class Zoomed(Frame):
    """Pictures that are enlarged together: see the module's docstring."""

    def _page(self, addresses: Iterable[str]) -> str:
        names = list(map(html.escape, self.names))
        share = 99 / len(names)
        parts = (
            _PICTURE.format(address=address, name=name, share=share)
            for address, name in zip(addresses, names, strict=True)
        )
        # No picture wider than it is: what is enlarged beyond its pixels is not seen better.
        across = sum(picture.width + 8 for picture in self._pictures)
        return _PAGE.format(
            style=_STYLE, names=", ".join(names), pictures="\n".join(parts), across=across, largest=LARGEST
        )
