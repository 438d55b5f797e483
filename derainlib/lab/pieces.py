"""A file of the reader's own, of any size: it comes in pieces.

A Jupyter server takes no message above 10 MB: a larger one, as `ipywidgets.FileUpload` would send for a photograph of
a good camera, ends the page's connection without a word. Here the page cuts the file, and sends a piece when the one
before has arrived; what has arrived is told to page and reader alike. Plain HTML, as `derainlib.lab.curtain`: the
pieces travel through an unseen text field.
"""

import base64
import html
import json
from typing import NamedTuple

import ipywidgets
import traitlets

PIECE = 3_000_000
"""Bytes of a piece, 4 MB in base 64."""

MOST = 200_000_000
"""Bytes of a file; the page refuses a larger one before it sends anything."""

_LONGEST = 255
"""Characters of a name that are kept, its last ones."""

_PAGE = """<label>{label} <input type="file" accept="image/*" onchange="(async input => {{
const box = input.closest('.pieces'), wire = box.querySelector('textarea'), file = input.files[0];
if (!file) return;
const say = text => box.querySelector('output').textContent = text;
if (file.size > {most}) return say(`${{file.name}} has ${{Math.round(file.size / 1e6)}} MB, more than {megabytes}: `
  + 'choose a smaller one');
const run = Date.now(), pause = () => new Promise(go => setTimeout(go, 20));
for (let at = 0; at === 0 || at &lt; file.size; at += {piece}) {{
  const bytes = new Uint8Array(await file.slice(at, at + {piece}).arrayBuffer());
  let text = '';
  for (let i = 0; i &lt; bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  if (at === 0) say(file.name + ' …');
  wire.value = JSON.stringify({{run, name: file.name, size: file.size, at, data: btoa(text)}});
  wire.dispatchEvent(new Event('change', {{bubbles: true}}));
  while (!box.querySelector(`[data-taken='${{run}} ${{at + bytes.length}}']`)) {{
    if (!box.isConnected || input.files[0] !== file) return;
    await pause();
  }}
}}
say('');
input.value = '';
}})(this)"></label> <output></output>"""


class File(NamedTuple):
    """A file that a reader chose."""

    name: str
    content: bytearray


class _Piece(NamedTuple):
    run: int
    """When the file was chosen, which tells its pieces from another's."""
    name: str
    size: int
    """Bytes of the whole file."""
    at: int
    """Where in the file it belongs."""
    content: bytes


def _piece(text: str) -> _Piece | None:
    """What a message holds, if the page can have sent it: whoever a widget is served to may send anything."""
    if len(text) > 2 * PIECE:  # above base 64 of a piece: not even parsed
        return None
    try:
        told = json.loads(text)
        piece = _Piece(*(told[key] for key in _Piece._fields[:-1]), base64.b64decode(told["data"], validate=True))
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if [type(value) for value in piece[:-1]] != [int, str, int, int]:
        return None
    fits = len(piece.content) <= PIECE and 0 <= piece.at <= piece.at + len(piece.content) <= piece.size <= MOST
    return piece._replace(name=piece.name[-_LONGEST:]) if fits else None


class _Wire(ipywidgets.Textarea):
    value = traitlets.Unicode().tag(sync=True, echo_update=False)  # what came is not sent back


class Pieces(ipywidgets.VBox):
    """A button for a file, usable as a control of a demonstration.

    Args:
        description: the button's name for the reader.

    Attributes:
        value: the `File` that was chosen last and has arrived; None before.
    """

    value = traitlets.Any()
    description = traitlets.Unicode()

    def __init__(self, description: str):
        self._wire, self._told = _Wire(continuous_update=False), ipywidgets.HTML()
        self._wire.layout.display = "none"
        self._content, self._begun = bytearray(), None
        page = _PAGE.format(label=html.escape(description), most=MOST, megabytes=MOST // 10**6, piece=PIECE)
        super().__init__([ipywidgets.HTML(page), self._wire, self._told], description=description)
        self.add_class("pieces")
        self._wire.observe(self._take, names="value")

    def _take(self, change) -> None:
        """A piece arrived: it is laid beside those before it, if it belongs there; the last one completes the file."""
        piece = _piece(change["new"])
        if piece is None:
            return
        file = piece.run, piece.name, piece.size
        if piece.at == 0:
            self._content, self._begun = bytearray(), file
        if file != self._begun or piece.at != len(self._content):
            return
        self._content += piece.content
        done = len(self._content)
        name = html.escape(piece.name if piece.name.isprintable() else ascii(piece.name))
        text = f"{name}: {done / 1e6:.1f} of {piece.size / 1e6:.1f} MB"
        self._told.value = f'<span role="status" data-taken="{piece.run} {done}">{text}</span>'
        if done == piece.size:
            content, self._content, self._begun = self._content, bytearray(), None  # nothing is added to it any more
            self.value = File(piece.name, content)
